"""Summary tables: every cell is counted once, at every level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.ontology.slims import load_slim, make_slim
from celljury.report.summary import OTHER, UNRESOLVED, summarize, top_share

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

LEVELS = ["cell_class", "cell_subclass", *(f"depth:{n}" for n in range(1, 7))]
B, CD4, CD8, T, MONO, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000576", "CL:0000598"
COUNTS = ["n_resolved", "n_backed_off", "n_unresolved", "n_unseen"]


@pytest.fixture(scope="module")
def every_term(make_run: Any, cl: CellOntology) -> Run:
    """One cell for each term of the ontology, also outside cell, two cells that nobody voted on and three that split."""
    return make_run([[i] * 3 for i in cl.ids] + [[""] * 3] * 2 + [[B, NEURON, NEURON]] * 3, block=1500)


@pytest.fixture(scope="module")
def small(make_run: Any) -> Run:
    """Ten cells whose table is worked out by hand below."""
    rows = [[B, B, B]] * 4 + [[CD4, CD8, CD8]] * 3 + [[T, T, ""]] + [[B, NEURON, NEURON]] + [["", "", ""]]
    return make_run(rows, block=3)


@pytest.mark.parametrize("level", [None, *LEVELS])
def test_every_cell_is_counted_once_at_every_level(every_term: Run, cl: CellOntology, level: str | None) -> None:
    slim = None if level is None else load_slim(cl, level)
    table = summarize(every_term, cl, slim)
    n_cells = len(cl) + 5
    assert table["n_cells"].sum() == n_cells
    assert table[COUNTS].sum(axis=1).tolist() == table["n_cells"].tolist()
    assert table["fraction"].sum() == pytest.approx(1, abs=1e-6 * len(table))
    assert set(table["level"]) == {level or "term"}
    named = table["term"] != ""
    assert table.loc[named, "term"].is_unique
    calls = every_term.calls
    called = cl.indices(calls["term"].dropna().astype(str).tolist())
    n_other = 0 if slim is None else int((slim.rollup[called] < 0).sum())
    rest = {OTHER: n_other, UNRESOLVED: n_cells - len(called)}
    assert rest[UNRESOLVED] > 5
    if level in ("cell_class", "cell_subclass", "depth:1"):
        assert n_other > 0, "terms outside cell, at the least, have no term of this level above them"
    found = table[~named]
    assert dict(zip(found["label"], found["n_cells"], strict=True)) == {k: n for k, n in rest.items() if n}
    assert not named.tolist()[-1]
    assert named.tolist() == sorted(named, reverse=True), "what has no term stands last"


@pytest.mark.parametrize("level", LEVELS)
def test_cells_stand_under_a_term_at_or_above_their_call(every_term: Run, cl: CellOntology, level: str) -> None:
    """Counted anew from the calls, one by one."""
    slim = load_slim(cl, level)
    called = cl.indices(every_term.calls["term"].dropna().astype(str).tolist())
    place = slim.rollup[called]
    assert cl.is_ancestor(place[place >= 0], called[place >= 0]).all()
    expected = {cl.ids[i]: n for i, n in zip(*np.unique(place[place >= 0], return_counts=True), strict=True)}
    table = summarize(every_term, cl, slim)
    table = table[table["term"] != ""]
    assert dict(zip(table["term"], table["n_cells"], strict=True)) == expected


def test_hand_worked_table(small: Run, cl: CellOntology) -> None:
    table = summarize(small, cl, load_slim(cl, "cell_subclass")).set_index("label")
    assert table.index.tolist() == ["B cell", "T cell", UNRESOLVED]
    assert table["n_cells"].tolist() == [4, 4, 2]
    assert table["fraction"].tolist() == [0.4, 0.4, 0.2]
    assert table["n_resolved"].tolist() == [4, 1, 0]
    assert table["n_backed_off"].tolist() == [0, 3, 0]
    assert table["n_unresolved"].tolist() == [0, 0, 2]
    assert table["n_review"].tolist() == [0, 3, 2]
    assert table["review_share"].tolist() == [0, 0.75, 1]
    assert table["mean_agreement"].tolist() == [1, 1, 0]
    # 2/3 on one term in three cells and all of two votes in one; 2/3 and nothing.
    assert table["mean_top_share"].tolist() == pytest.approx([1, 0.75, 1 / 3], abs=1e-4)
    mature, t_cell = (int(cl.depth[cl.index(i)]) for i in ("CL:0000791", T))
    assert table["mean_depth"].tolist()[1] == pytest.approx((3 * mature + t_cell) / 4)


def test_terms_as_called(small: Run, cl: CellOntology) -> None:
    table = summarize(small, cl, None)
    assert table[["term", "n_cells"]].to_numpy().tolist() == [[B, 4], ["CL:0000791", 3], [T, 1], ["", 2]]
    assert table["term"].tolist()[-1] == ""


def test_calls_above_the_level_are_other(small: Run, cl: CellOntology) -> None:
    table = summarize(small, cl, make_slim(cl, [CD4, B], name="mine"))
    assert table[["level", "label", "n_cells"]].to_numpy().tolist() == [
        ["mine", "B cell", 4], ["mine", OTHER, 4], ["mine", UNRESOLVED, 2],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        pytest.param([[B, B, B]], ["B cell"], id="one_cell"),
        pytest.param([["", "", ""], [B, NEURON, B]], [UNRESOLVED], id="no_call_at_all"),
    ],
)
def test_small_runs(make_run: Any, cl: CellOntology, rows: list[list[str]], labels: list[str]) -> None:
    for slim in (None, load_slim(cl, "cell_class"), load_slim(cl, "depth:6")):
        table = summarize(make_run(rows), cl, slim)
        assert table["n_cells"].sum() == len(rows)
        if slim is None:
            assert table["label"].tolist() == labels


def test_numbers_are_numbers(every_term: Run, cl: CellOntology) -> None:
    table = summarize(every_term, cl, load_slim(cl, "cell_subclass"))
    assert not table.isna().any().any()
    assert all(pd.api.types.is_integer_dtype(table[name]) for name in ("n_cells", "n_review", *COUNTS))
    assert table["review_share"].between(0, 1).all()
    assert table["mean_agreement"].between(0, 1).all()


@pytest.mark.parametrize(
    ("row", "share"),
    [
        pytest.param([B, B, B], 1, id="all_on_one"),
        pytest.param([B, B, CD4], 2 / 3, id="two_of_three"),
        pytest.param([B, CD4, MONO], 1 / 3, id="all_different"),
        pytest.param([B, "", ""], 1, id="one_vote"),
        pytest.param([T, CD4, ""], 0.5, id="a_line_is_not_one_term"),
        pytest.param(["", "", ""], 0, id="no_vote"),
    ],
)
def test_top_share(make_run: Any, row: list[str], share: float) -> None:
    # The second cell lies in a part of its own.
    found = top_share(make_run([[B, B, CD4], row], block=1))
    assert found.tolist() == pytest.approx([2 / 3, share])
    assert found.dtype == np.float32
