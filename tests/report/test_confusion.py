"""Known types against calls at a level: by hand, sums checked, and every cell in one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.report.confusion import NOT_KNOWN, confusion_rows, confusion_tables
from celljury.report.counted import Counted
from celljury.report.levels import load_levels
from celljury.report.tally import OTHER, UNRESOLVED, UNSEEN
from celljury.truth import Truth

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

B, CD4, CD8, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000540"
HEMATOPOIETIC, NEURAL = "CL:0000988", "CL:0002319"
ROWS = [[B, B, B]] * 4 + [[CD4, CD4, CD4]] * 3 + [[B, NEURON, NEURON]] * 2
KNOWN = [B, B, CD4, "", CD4, CD8, NEURON, NEURON, B]


def truth_of(cl: CellOntology, terms: list[str]) -> Truth:
    return Truth("x.h5ad", "cell_type", np.array([cl.index(i) if i else -1 for i in terms], np.int32), (), None, ())


def counted(run: Run, cl: CellOntology) -> Counted:
    return Counted(run, cl, len(run.calls), "calls", ())


def test_confusion_by_hand(make_run: Any, cl: CellOntology) -> None:
    run = make_run(ROWS)
    (level,) = load_levels(cl, ("term",))
    rows = confusion_rows(counted(run, cl), level, truth_of(cl, KNOWN))
    b, cd4, cd8, neuron = (cl.index(i) for i in (B, CD4, CD8, NEURON))
    assert {(r.truth, r.called): r.n_cells for r in rows.itertuples()} == {
        (b, b): 2, (cd4, b): 1, (NOT_KNOWN, b): 1, (cd4, cd4): 1, (cd8, cd4): 1, (neuron, cd4): 1,
        (neuron, UNRESOLVED): 1, (b, UNRESOLVED): 1,
    }  # fmt: skip
    (table,) = confusion_tables(counted(run, cl), [level], truth_of(cl, KNOWN))
    assert table.name == "confusion_term"
    assert [column.name for column in table.columns] == table.rows.columns.tolist()
    last = table.rows.groupby("true_label", sort=False).tail(1)
    assert last["called_label"].eq("all").all()
    assert last["n_cells"].sum() == 9
    assert last["true_label"].tolist()[-1] == "(not known)"
    body = table.rows[table.rows["called_label"] != "all"]
    assert body["n_cells"].sum() == 9
    np.testing.assert_allclose(body.groupby("true_label")["share"].sum(), 1)
    assert body.loc[body["same"] == "yes", "n_cells"].sum() == 3
    assert "Of 8 cells with a known type 3 are of one term of the level in both; 9 cells in all." in table.about


def test_level_is_that_of_truth_and_call(make_run: Any, cl: CellOntology) -> None:
    """At the level of cell classes a CD8 T cell called CD4 T cell is a hematopoietic cell in both."""
    run = make_run(ROWS)
    (level,) = load_levels(cl, ("cell_class",))
    assert level.slim is not None
    rows = confusion_rows(counted(run, cl), level, truth_of(cl, KNOWN))
    assert set(rows["truth"]) <= {int(level.slim.rollup[cl.index(i)]) for i in (B, NEURON)} | {NOT_KNOWN}
    both = rows[(rows["truth"] == cl.index(HEMATOPOIETIC)) & (rows["called"] == cl.index(HEMATOPOIETIC))]
    assert both["n_cells"].sum() == 5


def test_type_outside_the_level_is_other_and_not_lost(make_run: Any, cl: CellOntology, tmp_path: Any) -> None:
    file = tmp_path / "t.txt"
    file.write_text("CL:0000084\n")
    (level,) = load_levels(cl, (str(file),))
    rows = confusion_rows(counted(make_run(ROWS), cl), level, truth_of(cl, KNOWN))
    assert set(rows["truth"]) == {cl.index("CL:0000084"), OTHER, NOT_KNOWN}
    assert rows["n_cells"].sum() == len(ROWS)


def test_unseen_cells_are_no_cells_of_their_node(make_run: Any, cl: CellOntology) -> None:
    run = make_run([[B, B, B]] * 3)
    calls = pd.read_parquet(run.calls_path)
    calls["status"] = ["unseen", "resolved", "unseen"]
    calls.to_parquet(run.calls_path)
    (level,) = load_levels(cl, ("term",))
    rows = confusion_rows(counted(run, cl), level, truth_of(cl, [B, B, B]))
    assert dict(zip(rows["called"], rows["n_cells"], strict=True)) == {UNSEEN: 2, cl.index(B): 1}


def test_truth_of_other_cells_is_refused(make_run: Any, cl: CellOntology) -> None:
    with pytest.raises(ValueError, match="of 2 cells, the run has 9"):
        confusion_tables(counted(make_run(ROWS), cl), load_levels(cl, ("term",)), truth_of(cl, [B, B]))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda rows: rows.iloc[:-1], id="row_lost"),
        pytest.param(lambda rows: rows.assign(truth=rows["truth"].to_numpy()[::-1]), id="cells_of_another_type"),
        pytest.param(lambda rows: rows.assign(called=None), id="no_place"),
    ],
)
def test_sums_are_checked_as_it_runs(
    make_run: Any, cl: CellOntology, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    answer, run = Counted.query, make_run(ROWS)
    monkeypatch.setattr(
        Counted, "query", lambda self, sql, **tables: spoil(answer(self, f"{sql} ORDER BY ALL", **tables))
    )
    (level,) = load_levels(cl, ("term",))
    with pytest.raises(RuntimeError):
        confusion_rows(counted(run, cl), level, truth_of(cl, KNOWN))
