from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celljury.ontology import patterns
from celljury.ontology.patterns import distinct_rows

tables = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-1, 3))


@given(tables)
def test_distinct_rows_index_back_to_every_row(rows: np.ndarray) -> None:
    first, which = distinct_rows(rows)
    assert (rows[first][which] == rows).all()
    assert len(np.unique(rows[first], axis=0)) == len(first) == len(np.unique(rows, axis=0))


@pytest.mark.parametrize("limit", [1, 40, np.iinfo(np.int64).max], ids=["every_column", "some_columns", "never"])
def test_renumbering_before_an_overflow_changes_nothing(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "CODE_LIMIT", limit)
    rows = np.random.default_rng(0).integers(-1, 3, (500, 6)).astype(np.int32)
    first, which = distinct_rows(rows)
    assert len(first) == len(np.unique(rows, axis=0))
    assert (rows[first][which] == rows).all()


def test_wide_rows_of_large_numbers_do_not_overflow() -> None:
    rows = np.random.default_rng(0).integers(-1, 2**31 - 2, (50, 40)).astype(np.int32)
    first, which = distinct_rows(np.vstack([rows, rows]))
    assert len(first) == 50
    assert (which[:50] == which[50:]).all()
