"""From votes to calls: distinct patterns, blocks and bands, each holding every cell once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.ontology.slims import make_slim
from celljury.report.counted import Counted
from celljury.report.figure_flow import flow_drawing
from celljury.report.figure_stack import OTHER, OTHER_TERMS, UNRESOLVED, UNSEEN
from celljury.report.vote_flows import ABSTAINED, MAX_MEMBERS, flows_of
from celljury.report.vote_patterns import VotePatterns, vote_patterns

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology

B, CD4, CD8, T, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000540"
IDS = (B, CD4, CD8, T, NEURON)


def patterns(rows: list[tuple[list[int], int, bool, int]]) -> VotePatterns:
    """Votes, call, whether unseen, cells; numbers are places in `IDS`."""
    votes, call, unseen, n_cells = zip(*rows, strict=True)
    return VotePatterns(
        tuple("abcdefghij"[: len(votes[0])]), IDS, np.array(votes, np.int32), np.array(call, np.int32),
        np.array(unseen, bool), np.array(n_cells, np.int64),
    )  # fmt: skip


def test_patterns_are_those_of_the_calls(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, B]] * 3 + [[B, "", CD4]] * 2 + [["", "", ""]], absent={"c": "not installed"})
    counted = Counted(run, cl, 6, "calls", ())
    found = vote_patterns(counted)
    assert found.members == ("a", "b")
    named = [
        (*(found.ids[v] if v >= 0 else "" for v in votes), found.ids[call] if call >= 0 else "", int(n))
        for votes, call, n in zip(found.votes.tolist(), found.call.tolist(), found.n_cells, strict=True)
    ]
    assert sorted(named) == [("", "", "", 1), (B, "", "CL:0000542", 2), (B, B, B, 3)]


def test_flows_by_hand(cl: CellOntology) -> None:
    found = patterns([([0, 0], 0, False, 6), ([1, 0], -1, False, 3), ([-1, 1], 1, True, 1)])
    flows = flows_of(found, cl, None)
    b, cd4 = cl.index(B), cl.index(CD4)
    assert flows.columns == ("a", "b", "call")
    assert flows.places == (b, cd4, UNRESOLVED, UNSEEN, ABSTAINED)
    assert flows.blocks.tolist() == [[6, 3, 0, 0, 1], [9, 1, 0, 0, 0], [6, 0, 3, 1, 0]]
    assert flows.bands[0, 1, 0, 2] == 3, "CD4 for a, B for b, unresolved"
    assert flows.bands[1, 0, 2, 2] == 3
    assert flows.bands[0, 4, 1, 3] == 1


def test_level_rolls_votes_and_calls_up_alike(cl: CellOntology) -> None:
    found = patterns([([1, 2], 3, False, 4), ([4, 1], -1, False, 2)])
    slim = make_slim(cl, [T], name="t")
    flows = flows_of(found, cl, slim.rollup)
    assert flows.places == (cl.index(T), OTHER, UNRESOLVED)
    assert flows.blocks.tolist() == [[4, 2, 0], [6, 0, 0], [4, 0, 2]]


def test_terms_beyond_ten_are_one_block(cl: CellOntology) -> None:
    terms = cl.descendants(cl.index(T))[:14].tolist()
    votes = np.arange(14, dtype=np.int32)[:, None]
    found = VotePatterns(
        ("a",), tuple(cl.ids[t] for t in terms), votes, votes[:, 0], np.zeros(14, bool), np.arange(20, 6, -1)
    )
    flows = flows_of(found, cl, None)
    assert flows.places == (*terms[:10], OTHER_TERMS)
    assert flows.blocks[:, -1].tolist() == [10 + 9 + 8 + 7] * 2


def test_members_with_fewest_votes_have_no_column(cl: CellOntology) -> None:
    votes = [[0] * 8, [-1, 0, 0, -1, 0, 0, 0, 0]]
    found = patterns([*((row, 0, False, 5) for row in votes), ([1] * 8, 1, False, 2)])
    flows = flows_of(found, cl, None)
    assert flows.columns == ("b", "c", "e", "f", "g", "h", "call")
    assert len(flows.columns) == MAX_MEMBERS + 1
    assert flows.left_out == ("a", "d")
    drawing = flow_drawing(flows, name="x", level="terms", source="")
    assert drawing is not None
    assert "Not drawn, for room: a, d." in drawing.about


pattern = st.tuples(
    st.lists(st.integers(-1, 4), min_size=3, max_size=3), st.integers(-1, 4), st.booleans(), st.integers(1, 500)
)


@given(st.lists(pattern, min_size=1, max_size=30))
def test_every_cell_is_in_one_block_of_each_column_and_one_band_between_two(
    cl: CellOntology, rows: list[tuple[list[int], int, bool, int]]
) -> None:
    flows = flows_of(patterns(rows), cl, None)
    n = sum(row[3] for row in rows)
    assert flows.n_cells == n
    assert flows.blocks.sum(axis=1).tolist() == [n] * 4
    for i, bands in enumerate(flows.bands):
        np.testing.assert_array_equal(bands.sum(axis=(1, 2)), flows.blocks[i])
        np.testing.assert_array_equal(bands.sum(axis=(0, 2)), flows.blocks[i + 1])
        np.testing.assert_array_equal(bands.sum(axis=(0, 1)), flows.blocks[-1])


def test_blocks_are_drawn_to_scale_and_bands_fill_them(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, B]] * 5 + [[CD4, CD4, CD8]] * 3 + [[B, NEURON, ""]] * 2)
    counted = Counted(run, cl, 10, "calls", ())
    flows = flows_of(vote_patterns(counted), cl, None)
    calls = pd.read_parquet(run.calls_path)
    for column, places in zip((*(f"vote_{m}" for m in "abc"), "term"), flows.blocks, strict=True):
        counts = calls[column].astype(object).value_counts()
        assert {i: int(n) for i, n in counts.items()} == {
            cl.ids[p]: int(n) for p, n in zip(flows.places, places, strict=True) if p >= 0 and n
        }
    drawing = flow_drawing(flows, name="alluvial_term", level="terms", source="CL of a day.")
    assert drawing is not None
    panel = drawing.figure.axes[0]
    heights = sorted(patch.get_height() for patch in panel.patches)
    blocks = np.sort(flows.blocks[flows.blocks > 0])
    np.testing.assert_allclose(np.array(heights) / heights[-1], blocks / blocks[-1], atol=1e-9)
    (first, *_) = panel.collections
    # Each path begins at p and comes back at p + size.
    sizes = [path.vertices[7, 1] - path.vertices[0, 1] for path in first.get_paths()]
    assert sum(sizes) == pytest.approx(sum(patch.get_height() for patch in panel.patches) / 4)


def test_decisions_of_curators_are_named_as_such(cl: CellOntology) -> None:
    flows = flows_of(patterns([([0], 0, False, 3), ([1], 0, False, 2)]), cl, None, last="final")
    drawing = flow_drawing(flows, name="x", level="called terms", source="")
    assert drawing is not None
    assert drawing.title == "From the votes of one member to the call, with curators' decisions: called terms"
    assert "final" in [text.get_text() for text in drawing.figure.axes[0].texts]


@pytest.mark.parametrize("rows", [[([0], 0, False, 3)], [([1], 1, False, 3), ([1], 1, False, 2)]])
def test_one_block_is_not_drawn(cl: CellOntology, rows: list[tuple[list[int], int, bool, int]]) -> None:
    assert flow_drawing(flows_of(patterns(rows), cl, None), name="x", level="terms", source="") is None
