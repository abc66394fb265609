"""Tables of the members: by hand, and equal to a count of cells one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.report.counted import Counted
from celljury.report.figure_agreement import agreement_drawing
from celljury.report.member_agreement import agreement_of
from celljury.report.member_tables import member_tables
from celljury.report.vote_patterns import VotePatterns, pattern_rows, vote_patterns

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.table import Table
    from celljury.run import Run

B, CD4, CD8, T, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000540"
IDS = (B, CD4, CD8, T, NEURON)


def counted(run: Run, cl: CellOntology) -> Counted:
    return Counted(run, cl, len(run.calls), "calls", ())


def tables(run: Run, cl: CellOntology) -> dict[str, Table]:
    return {table.name: table for table in member_tables(counted(run, cl))}


def test_pairs_by_hand(make_run: Any, cl: CellOntology) -> None:
    """Calls: lymphocyte, B cell, mature alpha-beta T cell, T cell, and none."""
    run = make_run([[B, B, CD4], [B, B, B], [CD4, CD8, ""], [T, T, ""], ["", "", ""]])
    rows = tables(run, cl)["member_agreement"].rows
    assert rows.to_dict("records") == [
        {"a": "call", "b": "a", "n_both": 4, "same": 0.5, "compatible": 1.0},
        {"a": "call", "b": "b", "n_both": 4, "same": 0.5, "compatible": 1.0},
        {"a": "call", "b": "c", "n_both": 2, "same": 0.5, "compatible": 1.0},
        {"a": "a", "b": "b", "n_both": 4, "same": 0.75, "compatible": 0.75},
        {"a": "a", "b": "c", "n_both": 2, "same": 0.5, "compatible": 0.5},
        {"a": "b", "b": "c", "n_both": 2, "same": 0.5, "compatible": 0.5},
    ]


def test_compatible_is_one_at_or_below_the_other(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[T, CD4, ""], [CD4, T, ""], [B, CD4, ""], [T, T, ""]])
    row = tables(run, cl)["member_agreement"].rows.set_index(["a", "b"]).loc[("a", "b")]
    assert (row["same"], row["compatible"]) == (0.25, 0.75)


def test_members_by_hand(make_run: Any, cl: CellOntology) -> None:
    """Calls by a quorum of 0.6: CD4 T cell, B cell, B cell, neuron."""
    run = make_run([[T, CD4, CD4], [B, B, CD4], [B, "", ""], [B, NEURON, NEURON]], rule="quorum", quorum=0.6)
    assert run.calls["term"].astype(str).tolist() == [CD4, B, B, NEURON]
    rows = tables(run, cl)["members"].rows
    expected = pd.DataFrame(
        {
            "member": ["a", "b", "c"], "n_votes": [4, 3, 3], "n_abstained": [0, 1, 1], "n_both": [4, 3, 3],
            "same": [2 / 4, 1, 2 / 3], "at_or_below": [2 / 4, 1, 2 / 3], "above": [1 / 4, 0, 0], "apart": [1 / 4, 0, 1 / 3],
        }
    )  # fmt: skip
    pd.testing.assert_frame_equal(rows[list(expected)], expected)


def test_mean_support_leaves_out_cells_without_a_vote_or_call(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, B]] * 2 + [[B, "", B], ["", "", ""]])
    rows = tables(run, cl)["members"].rows.set_index("member")
    calls = pd.read_parquet(run.calls_path)
    for name in "abc":
        assert rows.loc[name, "mean_support"] == pytest.approx(calls[f"support_{name}"].mean())


def test_absent_member_is_named_with_its_reason(make_run: Any, cl: CellOntology) -> None:
    table = tables(make_run([[B, B, ""]], absent={"c": "not installed"}), cl)["members"]
    assert table.rows["member"].tolist() == ["a", "b"]
    assert "c took no part: not installed." in table.notes


def test_member_that_never_votes_has_no_shares(make_run: Any, cl: CellOntology) -> None:
    rows = tables(make_run([[B, B, ""]] * 2), cl)["members"].rows.set_index("member")
    assert rows.loc["c", "n_votes"] == 0
    assert rows.loc["c", ["same", "at_or_below", "above", "apart", "mean_support"]].isna().all()


def test_columns_are_explained_and_there(make_run: Any, cl: CellOntology) -> None:
    for table in member_tables(counted(make_run([[B, CD4, ""]]), cl)):
        assert [column.name for column in table.columns] == table.rows.columns.tolist()


pattern = st.tuples(
    st.lists(st.integers(-1, 4), min_size=3, max_size=3), st.integers(-1, 4), st.booleans(), st.integers(1, 4)
)


@given(st.lists(pattern, min_size=1, max_size=8))
def test_patterns_count_as_cells_do(cl: CellOntology, rows: list[tuple[list[int], int, bool, int]]) -> None:
    votes, call, unseen, n_cells = zip(*rows, strict=True)
    found = agreement_of(
        VotePatterns(
            ("a", "b", "c"),
            IDS,
            np.array(votes, np.int32),
            np.array(call, np.int32),
            np.array(unseen),
            np.array(n_cells),
        ),
        cl,
    )
    cells = [([-1 if u else c, *v]) for v, c, u, n in rows for _ in range(n)]
    for i in range(4):
        for j in range(4):
            both = [(row[i], row[j]) for row in cells if row[i] >= 0 and row[j] >= 0]
            same = sum(a == b for a, b in both)
            holds = [
                bool(
                    cl.is_ancestor(cl.index(IDS[a]), cl.index(IDS[b]))
                    | cl.is_ancestor(cl.index(IDS[b]), cl.index(IDS[a]))
                )
                for a, b in both
            ]
            assert found.n_both[i, j] == len(both)
            if both:
                assert found.same[i, j] == pytest.approx(same / len(both))
                assert found.compatible[i, j] == pytest.approx(sum(holds) / len(both))
            else:
                assert np.isnan(found.same[i, j])


def test_order_of_rows_changes_nothing(make_run: Any, cl: CellOntology) -> None:
    rows = [[B, B, CD4], [CD4, CD8, ""], [T, T, B], [B, B, B]] * 3
    one, other = (vote_patterns(counted(make_run(some), cl)) for some in (rows, rows[::-1]))
    for name in ("votes", "call", "unseen", "n_cells"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_names_of_members_may_be_anything() -> None:
    rows = pd.DataFrame({"term": [B], "status": ["resolved"], 'vote_my "own" label': [CD4], "n_cells": [3]})
    assert pattern_rows(rows, ['my "own" label']).votes.tolist() == [[1]]


def test_drawn_numbers_are_the_tables(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, CD4], [B, B, B], [CD4, CD8, ""], [T, T, ""]])
    found = agreement_of(vote_patterns(counted(run, cl)), cl)
    drawing = agreement_drawing(found, 4)
    assert drawing is not None
    said = [text.get_text() for text in drawing.figure.axes[0].texts]
    first = said.index("the same term")
    # Row names, heads of columns, then the numbers row by row.
    assert said[first + 9 : first + 9 + 4] == ["100", "50.0", "50.0", "50.0"]
    assert "Same term as the call: a 50 %, b 50 %, c 50 %." in drawing.alt
