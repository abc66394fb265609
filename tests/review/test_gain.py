"""Expected gain of a look: the worked table in bits, and what holds for any votes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.ontology.load import ontology_from_edges
from celljury.reduce import Reduced
from celljury.review.gain import LEAST, expected_gain

LABELS = {"T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "B cell"}
# Bits: cell 0, T cell log2(5/3) = 0.737, the others log2(5) = 2.322.
ONTOLOGY = ontology_from_edges(LABELS, {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"]})
LEAF, T = 2.322, 0.737


def rows(*cells: tuple[str, str, float, int]) -> Reduced:
    """Cells given as call, top term, support and votes cast."""
    n = len(cells)
    none: dict[str, Any] = {name: np.zeros(n, np.float32) for name in Reduced.__slots__}
    index = [[ONTOLOGY.index(name) if name else -1 for name in cell[:2]] for cell in cells]
    call, top = np.array(index, np.int32).reshape(n, 2).T
    return Reduced(
        **none
        | {
            "term": call,
            "top_term": top,
            "support": np.array([cell[2] for cell in cells], np.float32),
            "n_votes": np.array([cell[3] for cell in cells], np.int16),
        }
    )


@pytest.mark.parametrize(
    ("cell", "bits"),
    [
        pytest.param(("T:2", "T:3", 1.0, 3), LEAF - T, id="bits_given_up_by_a_call_above_the_top_term"),
        pytest.param(("T:3", "T:3", 0.75, 3), LEAF / 4, id="bits_that_may_be_wrong"),
        pytest.param(("T:2", "T:3", 0.5, 3), LEAF - T + T / 2, id="both"),
        pytest.param(("", "T:3", 0.0, 3), LEAF, id="no_call_counts_with_all_bits_of_the_top_term"),
        pytest.param(("T:3", "T:2", 1.0, 3), LEAST, id="a_call_below_the_top_term_gives_nothing_up"),
        pytest.param(("T:3", "T:3", 1.0, 3), LEAST, id="a_sure_call_keeps_a_little"),
        pytest.param(("", "T:1", 0.0, 3), LEAST, id="all_voted_for_a_term_that_says_nothing"),
    ],
)
def test_bits(cell: tuple[str, str, float, int], bits: float) -> None:
    assert expected_gain(rows(cell), ONTOLOGY) == pytest.approx([bits], abs=1e-3)


def test_where_nobody_voted_a_label_gives_what_labels_give_on_average() -> None:
    found = expected_gain(rows(("", "", 0, 0), ("T:3", "T:3", 1, 3), ("T:2", "T:2", 1, 3)), ONTOLOGY)
    assert found[0] == pytest.approx((LEAF + T) / 2, abs=1e-3)
    (alone,) = expected_gain(rows(("", "", 0, 0)), ONTOLOGY)
    assert alone == pytest.approx(ONTOLOGY.ic.mean())


TERMS = st.sampled_from(["", *LABELS])
CELLS = st.tuples(TERMS, TERMS, st.floats(0, 1, width=32), st.integers(0, 6))


@given(st.lists(CELLS, min_size=1, max_size=8))
def test_never_below_the_least_and_never_above_what_terms_hold_twice(cells: list[tuple[str, str, float, int]]) -> None:
    found = expected_gain(rows(*cells), ONTOLOGY)
    assert found.shape == (len(cells),)
    assert ((found >= LEAST) & (found <= 2 * ONTOLOGY.ic.max())).all()


@given(TERMS, TERMS, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_less_support_never_gains_less(call: str, top: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    less, more = expected_gain(rows((call, top, high, 3), (call, top, low, 3)), ONTOLOGY)
    assert less <= more
