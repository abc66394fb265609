"""Lines for a terminal: the total adds up, members are named, files that exist are listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from celljury.report.page import FILES, files_text, member_lines, members_text, notes_text, outcome, summary_text

if TYPE_CHECKING:
    from celljury.run import Run

B, CD4, CD8, NEURON = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000598"


@pytest.fixture(scope="module")
def run(make_run: Any) -> Run:
    """Eight cells, of which five need review; one of three members is absent."""
    rows = [[B, B, ""]] * 3 + [[CD4, CD8, ""]] * 3 + [[B, NEURON, ""]] + [["", "", ""]]
    return make_run(rows, absent={"c": "not installed"})


def test_table_ends_with_the_sum_of_its_rows(run: Run) -> None:
    lines = summary_text(run)
    assert lines[:5] == [
        "term        label                        cells  depth  agreement  same term  to review",
        "CL:0000236  B cell                           3    6.0       1.00       1.00         0%",
        "CL:0000791  mature alpha-beta T cell         3    7.0       1.00       0.50       100%",
        "            (unresolved)                     2    0.0       0.00       0.25       100%",
        "            all cells                        8                                     62%",
    ]
    assert lines[-2:] == [
        "Cell Ontology 2026-03-26. Tier: none (nothing is promised).",
        "  No error rate is promised.",
    ]


def test_unseen_cells_stand_in_rows_of_their_own(make_run: Any) -> None:
    run = make_run([[B, B, B]] * 3)
    path = run.folder / "tables" / "terms.tsv"
    table = pd.read_csv(path, sep="\t", keep_default_na=False)
    unseen = table.assign(term=f"unseen@{B}", label="unseen, under B cell", n_cells=2, n_unseen=2, n_review=2)
    pd.concat([table, unseen.assign(review_share=1.0)]).to_csv(path, sep="\t", index=False)
    lines = summary_text(run)
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[2].startswith("unseen@CL:0000236 unseen, under B cell")
    assert "unseen@TERM: cells that fit no type of the reference, and are new somewhere below TERM." in lines
    assert (outcome(run)["n_cells"], outcome(run)["n_unseen"]) == (5, 2)


def test_nothing_is_noted_where_there_is_nothing_to_note(run: Run) -> None:
    assert notes_text(run) == []


def test_warnings_come_before_notes(make_run: Any) -> None:
    run = make_run([[B, B, B]])
    record = run.record | {
        "rule": "calibrated",
        "alpha": 0.05,
        "tier": "cluster-t",
        "warnings": ["Half of the cells are unseen."],
        "query": {"batches": ["one", "two"]},
        "calibration": {"unit": "donor", "notes": ["The query is shallow."], "exchangeable": {"unlike": ["two"]}},
    }
    (run.folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    noted = type(run).open(run.folder)
    assert notes_text(noted) == [
        "2 warnings:",
        "  ! 1 of 2 batches are unlike the held-out cells, so no error rate is promised for theirs: two. Why stands below,"
        " with the promise.",
        "  ! Half of the cells are unseen.",
        "Notes:",
        "  The query is shallow.",
        "",
    ]
    said = "Rule: calibrated. Tier: cluster-t (approximate, on average over new donors like the held-out ones). Alpha: 0.05."
    assert summary_text(noted)[-2:] == [f"Cell Ontology 2026-03-26. {said}", "  No error rate is promised."]
    found = outcome(noted)
    assert (found["rule"], found["tier"], found["alpha"]) == ("calibrated", "cluster-t", 0.05)
    assert found["notes"] == ["The query is shallow."]


@pytest.mark.parametrize("n_cells", [1, 1234])
def test_columns_stand_below_each_other(make_run: Any, n_cells: int) -> None:
    lines = summary_text(make_run([[B, B, B]] * n_cells))[:3]
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["all", "cells", f"{n_cells:,}", "0%"]


def test_members_are_named_with_version_or_reason(run: Run) -> None:
    assert members_text(run) == [
        "2 of 3 members present:",
        "  a  present  lib 1.0, 1.5 CPU s",
        "  b  present  lib 1.0, 1.5 CPU s",
        "  c  absent: not installed",
    ]


def test_columns_of_other_tools_have_no_version() -> None:
    lines = member_lines([{"name": "azimuth", "absent": None}, {"name": "b", "absent": None}])
    assert lines == ["  azimuth  present", "  b        present"]


def test_only_files_that_exist_are_listed(run: Run) -> None:
    text = files_text(run, extra={"jury": Path("jury")})
    assert text[0] == f"Files in {run.folder}:"
    assert text[-2:] == ["The jury: jury", f"5 cells wait for a curator: celljury review {run.folder}"]
    listed = [line.split()[0] for line in text[1:-2]]
    assert listed == [name for name, _ in FILES if (run.folder / name).exists()]
    assert "calls.parquet" in listed
    assert "query.celljury.h5ad" not in listed


def test_outcome_is_plain_values(run: Run) -> None:
    found = outcome(run)
    assert (found["n_cells"], found["n_review"]) == (8, 5)
    assert found["members"] == {"a": "present", "b": "present", "c": "not installed"}
    assert sum(term["n_cells"] for term in found["terms"]) == 8
    assert found["terms"][-1] == {"term": "", "label": "(unresolved)", "n_cells": 2}
