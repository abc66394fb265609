"""Lines for a terminal: the total adds up, members are named, files that exist are listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from celljury.report.page import FILES, files_text, member_lines, members_text, outcome, summary_text

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
    assert lines[-1] == "Cell Ontology 2026-03-26. Tier: none. No error rate is promised."


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
    assert text[-1] == "The jury: jury"
    listed = [line.split()[0] for line in text[1:-1]]
    assert listed == [name for name, _ in FILES if (run.folder / name).exists()]
    assert "calls.parquet" in listed
    assert "query.celljury.h5ad" not in listed


def test_outcome_is_plain_values(run: Run) -> None:
    found = outcome(run)
    assert (found["n_cells"], found["n_review"]) == (8, 5)
    assert found["members"] == {"a": "present", "b": "present", "c": "not installed"}
    assert sum(term["n_cells"] for term in found["terms"]) == 8
    assert found["terms"][-1] == {"term": "", "label": "(unresolved)", "n_cells": 2}
