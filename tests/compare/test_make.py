"""Runs on disk compared end to end, with the files that are written, and what is refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from celljury.compare import compare_runs
from celljury.compare.lines import page, summary_lines
from celljury.errors import CellsError, InputError, OutputError, UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeRun

# B cell, T cell, CD4 and CD8 alpha-beta T cell, natural killer cell.
B, T, CD4, CD8, NK = "CL:0000236", "CL:0000084", "CL:0000624", "CL:0000625", "CL:0000623"
ROWS = {"c1": (B, B, B), "c2": (CD4, CD4, CD4), "c3": (CD4, CD4, CD8), "c4": (NK, NK, ""), "c5": ("", "", "")}
QUORUM = {"reduce__rule": "quorum", "reduce__quorum": 0.6}


def cells(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder / "cells.parquet").set_index("cell_id")
    return table.astype({name: object for name in table.columns if table[name].dtype == "category"}).fillna("")


def test_run_and_its_copy_differ_in_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(ROWS, name="first")
    shutil.copytree(run, tmp_path / "copy")
    found = compare_runs(run, tmp_path / "copy")
    assert found.n_changed == 0
    assert found.n_by_change["same"] == 5
    assert not any(found.n_by_cause.values())
    assert found.differences == {}
    assert found.term_changes == ()
    assert set(cells(tmp_path / "copy" / "compare" / "first")["why"]) == {""}
    assert "The two records say the same." in summary_lines(found)


def test_what_changed_and_why_of_each_cell(make_run: MakeRun, tmp_path: Path) -> None:
    a = make_run(ROWS, name="a")
    b = make_run(ROWS | {"c1": (B, NK, B), "c5": (T, "", "")}, name="b", **QUORUM)
    found = compare_runs(a, b, out=tmp_path / "out")
    table = cells(tmp_path / "out")
    assert table["change"].to_dict() == {
        "c1": "review", "c2": "same", "c3": "more_specific", "c4": "same", "c5": "now_called",
    }  # fmt: skip
    assert table["why"].to_dict() == {"c1": "votes", "c2": "", "c3": "rule", "c4": "", "c5": "votes"}
    assert table["members"].to_dict() == {"c1": "b", "c2": "", "c3": "", "c4": "", "c5": "a"}
    assert table["how"].to_dict() == {"c1": "replay", "c2": "", "c3": "replay", "c4": "", "c5": "replay"}
    # CD4 and CD8 T cells meet at their parent.
    assert (table.loc["c3", "term_a"], table.loc["c3", "term_b"]) == ("CL:0000791", CD4)
    assert table.loc["c3", "lca"] == "CL:0000791"
    assert found.n_by_cause == {name: n for name, n in found.n_by_cause.items() if not n} | {"votes": 2, "rule": 1}
    assert found.members_by_cause == {"votes": {"a": 1, "b": 1}}
    assert found.differences["settings"] == [("reduce.rule", "auto", "quorum"), ("reduce.quorum", 0.5, 0.6)]


def test_tables_add_up_and_files_hold_one_another(make_run: MakeRun, tmp_path: Path) -> None:
    a = make_run(ROWS | {"gone": (B, B, B)}, name="a")
    b = make_run(ROWS | {"c1": (NK, NK, NK), "new1": (B, B, B), "new2": (T, T, T)}, name="b")
    found = compare_runs(a, b, out=tmp_path / "out")
    assert (found.n_common, found.n_only_a, found.n_only_b) == (5, 1, 2)
    table = cells(tmp_path / "out")
    assert table["change"].value_counts().to_dict() == {"same": 4, "other_branch": 1, "only_in_a": 1, "only_in_b": 2}
    assert table.loc["gone", ["term_a", "term_b", "why"]].tolist() == [B, "", ""]
    moves = pd.read_csv(tmp_path / "out" / "transitions.tsv", sep="\t", keep_default_na=False)
    assert moves["n_cells"].sum() == 5
    terms = pd.read_csv(tmp_path / "out" / "terms.tsv", sep="\t", keep_default_na=False)
    assert (terms["n_cells_a"].sum(), terms["n_cells_b"].sum()) == (6, 7)
    assert terms.set_index("term").loc["", ["status", "n_cells_a", "n_cells_b"]].tolist() == ["unresolved", 1, 1]
    assert terms.set_index("term").loc[NK, ["n_cells_a", "n_cells_b", "net"]].tolist() == [1, 2, 1]
    told = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert told["n_by_change"] == found.n_by_change
    assert told["runs"]["a"]["counted"] == "calls"
    assert (tmp_path / "out" / "compare.md").read_text() == page(found)
    said = "\n".join(summary_lines(found))
    assert "1 cells are only in A" in said
    assert "2 cells are only in B" in said


def test_call_that_its_votes_do_not_give_is_counted_as_not_explained(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run(ROWS, name="a"), make_run(ROWS, name="b")
    table = pq.read_table(b / "calls.parquet")
    terms = table["term"].cast("string").to_pylist()
    table = table.set_column(table.column_names.index("term"), "term", [[NK, *terms[1:]]])
    pq.write_table(table, b / "calls.parquet")
    found = compare_runs(a, b, out=tmp_path / "out")
    assert found.n_by_how == {"replay": 0, "evidence": 0, "not_explained": 1}
    assert cells(tmp_path / "out").loc["c1", ["change", "why", "how"]].tolist() == ["other_branch", "not_explained", ""]
    assert "not at all for 1" in found.replay_note


def test_order_of_cells_does_not_matter(make_run: MakeRun, tmp_path: Path) -> None:
    a = make_run(ROWS, name="a")
    b = make_run(dict(reversed(ROWS.items())) | {"c1": (B, NK, B)}, name="b")
    compare_runs(a, b, out=tmp_path / "out")
    assert cells(tmp_path / "out").index.tolist() == list(ROWS)
    assert cells(tmp_path / "out")["change"].to_dict() == {
        "c1": "more_general", "c2": "same", "c3": "same", "c4": "same", "c5": "same",
    }  # fmt: skip


def test_real_releases(make_run: MakeRun, tmp_path: Path) -> None:
    """The same labels read by CL 2025-02-13 and by CL 2026-03-26."""
    rows = {
        "replaced": ("chandelier cell",) * 3,  # CL:4023083, now CL:4023036
        "moved": ("Bm1 B cell", "Bm1 B cell", "CL:0002056"),  # no longer a fraction F mature B cell
        "same": (B, B, B),
        "voted too": (B, NK, B),
    }
    old = make_run(rows, name="old", ontology__release="2025-02-13", **QUORUM)
    rows["replaced"] = ("CL:4023083",) * 3
    rows["voted too"] = (NK, NK, B)
    new = make_run(rows, name="new", ontology__release="2026-03-26", **QUORUM)
    strict = make_run(rows, name="strict", ontology__release="2026-03-26")
    found = compare_runs(old, new, out=tmp_path / "out")
    table = cells(tmp_path / "out")
    assert table.loc["replaced", ["term_a", "term_b", "change", "why"]].tolist() == [
        "CL:4023083", "CL:4023036", "renamed", "ontology",
    ]  # fmt: skip
    assert table.loc["voted too", ["change", "why", "members"]].tolist() == ["other_branch", "votes", "a"]
    assert table.loc["same", "change"] == "same"
    by_term = {row.term: row for row in found.term_changes}
    assert by_term["CL:0000961"].lost == ("CL:0002056",)
    assert by_term["CL:4023083"].became == "CL:4023036"
    # By all votes, Bm1 B cells met their former ancestor there; now both meet further up.
    first = make_run(rows | {"replaced": (B, B, B)}, name="first", ontology__release="2025-02-13")
    compare_runs(first, strict, out=tmp_path / "strict_out")
    moved = cells(tmp_path / "strict_out").loc["moved"]
    assert (moved["term_a"], moved["change"], moved["why"]) == ("CL:0002056", "more_general", "ontology")
    back = compare_runs(strict, first, out=tmp_path / "back_out")
    assert back.n_by_change["more_specific"] == 1
    assert cells(tmp_path / "back_out").loc["moved", "why"] == "ontology"


def test_curators_decisions_are_counted_where_there_are_any(make_run: MakeRun, tmp_path: Path) -> None:
    from celljury.review.apply import apply_decisions
    from celljury.review.errands import read_sheet, write_sheet

    a = make_run(ROWS, name="a")
    b = make_run(ROWS, name="b")
    sheet = tmp_path / "sheet.tsv"
    write_sheet(b, sheet)
    table = pd.read_csv(sheet, sep="\t", dtype=str, keep_default_na=False)
    table.loc[table["term"] == "CL:0000791", "decision"] = CD4
    table.to_csv(sheet, sep="\t", index=False)
    read_sheet(b, sheet, reviewer="mk")
    apply_decisions(b)
    found = compare_runs(a, b, out=tmp_path / "out")
    changed = cells(tmp_path / "out").loc["c3"]
    assert (changed["term_b"], changed["change"], changed["why"], changed["decided_b"]) == (
        CD4, "more_specific", "curator", True,
    )  # fmt: skip
    assert found.n_changed == 1
    assert compare_runs(a, b, calls="calls", write=False).n_changed == 0
    with pytest.raises(InputError, match=r"has no final\.parquet"):
        compare_runs(a, b, calls="final", write=False)


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        pytest.param(lambda run: (run / "run.json").unlink(), UnreadableFileError, "holds no finished run", id="no_run"),
        pytest.param(
            lambda run: ((run / "run.json").unlink(), (run / "unfinished.json").write_text("{}")),
            UnreadableFileError, "was not finished", id="unfinished_run",
        ),
        pytest.param(
            lambda run: (run / "calls.parquet").unlink(), UnreadableFileError, "has no calls.parquet", id="no_calls"
        ),
        pytest.param(
            lambda run: (run / "calls.parquet").write_bytes(b"x"), UnreadableFileError, "is damaged", id="broken_calls"
        ),
    ],
)  # fmt: skip
def test_what_is_no_run_is_refused(make_run: MakeRun, spoil: Any, error: type[Exception], said: str) -> None:
    a, b = make_run(ROWS, name="a"), make_run(ROWS, name="b")
    spoil(b)
    for first, second in ((a, b), (b, a)):
        with pytest.raises(error, match=said):
            compare_runs(first, second)


def test_the_same_folder_twice_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    a = make_run(ROWS, name="a")
    (tmp_path / "link").symlink_to(a)
    with pytest.raises(InputError, match="given twice"):
        compare_runs(a, tmp_path / "link")


def test_runs_without_a_common_cell_are_refused(make_run: MakeRun) -> None:
    a, b = make_run(ROWS, name="a"), make_run({f"other {k}": v for k, v in ROWS.items()}, name="b")
    with pytest.raises(CellsError, match=r"no cell in common.*'c1'.*'other c1'"):
        compare_runs(a, b)
    assert not (b / "compare").exists()


def test_name_that_occurs_twice_is_refused(make_run: MakeRun) -> None:
    a, b = make_run(ROWS, name="a"), make_run(ROWS, name="b")
    table = pq.read_table(b / "calls.parquet")
    column = table.column_names.index("cell_id")
    pq.write_table(table.set_column(column, "cell_id", [["c1", "c2", "c3", "c1", "c5"]]), b / "calls.parquet")
    with pytest.raises(CellsError, match="'c1' occurs 2 times"):
        compare_runs(a, b)


def test_folder_in_the_way_is_refused_and_an_earlier_comparison_kept(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run(ROWS, name="a"), make_run(ROWS, name="b")
    compare_runs(a, b, out=tmp_path / "out")
    before = (tmp_path / "out" / "compare.json").read_bytes()
    with pytest.raises(OutputError, match="--overwrite replaces it"):
        compare_runs(a, b, out=tmp_path / "out")
    assert (tmp_path / "out" / "compare.json").read_bytes() == before
    compare_runs(a, b, out=tmp_path / "out", overwrite=True)
    with pytest.raises(OutputError, match="one of the runs"):
        compare_runs(a, b, out=a, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(OutputError, match="not celljury's"):
        compare_runs(a, b, out=tmp_path / "mine", overwrite=True)


def test_run_in_which_it_was_written_stays_a_run(make_run: MakeRun) -> None:
    a, b = make_run(ROWS, name="a"), make_run(ROWS, name="b")
    compare_runs(a, b)
    assert (b / "compare" / "a" / "compare.md").is_file()
    assert compare_runs(b, a).n_changed == 0


def test_command(make_run: MakeRun) -> None:
    import typer

    from celljury.cli_compare import compare

    app = typer.Typer()
    app.command()(compare)
    a, b = make_run(ROWS, name="a"), make_run(ROWS | {"c1": (NK, NK, NK)}, name="b")
    done = CliRunner().invoke(app, [str(a), str(b)])
    assert done.exit_code == 0, done.output
    assert "B cell CL:0000236 -> natural killer cell CL:0000623" in done.stdout
    assert "(another branch, " in done.stdout
    told = CliRunner().invoke(app, [str(a), str(b), "--json", "--overwrite"])
    assert json.loads(told.stdout)["n_by_change"]["other_branch"] == 1
    wrong = CliRunner().invoke(app, [str(a), str(b), "--calls", "all"])
    assert wrong.exit_code == 2
    again = CliRunner().invoke(app, [str(a), str(b)])
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
