"""Signs of cells: what stands for "not known", and that a run's parts hold and give back all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.signs import SIGN_COLUMNS, TIERS, Signs

if TYPE_CHECKING:
    from pathlib import Path


def some_signs(n_cells: int, *, seed: int = 0) -> Signs:
    """Return signs of which every field differs from cell to cell, and from "not known"."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, column in Signs.unknown(n_cells).columns().items():
        kind = column.dtype
        columns[name] = rng.random(n_cells) if kind == np.float32 else rng.integers(0, 2, n_cells).astype(kind)
    return Signs.from_columns(columns, n_cells=n_cells)


def test_unknown_is_as_documented() -> None:
    none = Signs.unknown(2)
    shown = {name: getattr(none, name).tolist() for name in Signs.__slots__ if getattr(none, name).dtype != np.float32}
    assert shown == {
        "strange_kind": [-1, -1], "low_quality": [0, 0], "doublet": [False, False], "split_a": [-1, -1],
        "split_b": [-1, -1], "marker": [-1, -1], "tier": [-1, -1], "unlike_batch": [False, False],
    }  # fmt: skip
    floats = [getattr(none, name) for name in Signs.__slots__ if name not in shown]
    assert len(floats) == 12
    assert np.isnan(floats).all()


def test_parts_give_back_every_sign(tmp_path: Path) -> None:
    signs = some_signs(7)
    signs.p_seen[3] = np.nan
    table = pa.table(
        {"cell_id": list("abcdefg"), **{name: pa.array(column) for name, column in signs.columns().items()}}
    )
    pq.write_table(table, tmp_path / "part.parquet")
    read = pq.read_table(tmp_path / "part.parquet").to_pandas()
    again = Signs.from_columns({name: read[name].to_numpy() for name in read}, n_cells=7)
    for name in Signs.__slots__:
        assert np.array_equal(getattr(again, name), getattr(signs, name), equal_nan=name == "p_seen")
        assert getattr(again, name).dtype == getattr(signs, name).dtype
    assert tuple(signs.columns()) == SIGN_COLUMNS


def test_missing_columns_are_not_known() -> None:
    signs = Signs.from_columns({"_sign_tier": np.array([2, 0]), "_term": np.array([5, 5])}, n_cells=2)
    assert [TIERS[t] for t in signs.tier] == ["cluster-t", "none"]
    assert np.isnan(signs.p_seen).all()
    assert len(Signs.from_columns({}, n_cells=3)) == 3


@given(st.lists(st.integers(0, 4), max_size=8))
def test_take_takes_rows_of_every_field(rows: list[int]) -> None:
    signs = some_signs(5)
    taken = signs.take(np.array(rows, np.int64))
    for name in Signs.__slots__:
        assert getattr(taken, name).tolist() == [getattr(signs, name)[i] for i in rows]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("marker", np.zeros(2, np.int16), id="another_length"),
        pytest.param("split_a", np.zeros(3, np.int64), id="another_type"),
        pytest.param("p_seen", np.zeros((3, 1), np.float32), id="another_shape"),
    ],
)
def test_fields_of_another_shape_are_refused(name: str, column: np.ndarray[Any, Any]) -> None:
    fields = {field: getattr(Signs.unknown(3), field) for field in Signs.__slots__} | {name: column}
    with pytest.raises(ValueError, match="signs: expected one value a cell"):
        Signs(**fields)
