"""`celljury report` as it is typed: help, outcome in words and as JSON, and one clear message for every mistake."""

from __future__ import annotations

import json
import shutil
import webbrowser
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import typer
from review_pack import made_run
from typer.testing import CliRunner

from celljury.api import vote
from celljury.cli_report import EXAMPLES, report

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
app.command(epilog=EXAMPLES)(report)


@app.callback()
def root() -> None:
    """With a callback the command keeps its name."""


def celljury(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    made_run(folder, n_cells=600, n_items=12, n_review=80, n_genes=10, n_terms=8, n_samples=2)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


def test_help_shows_examples() -> None:
    said = celljury("report", "--help").stdout
    assert "celljury report run --level cell_class --level term --donor donor" in " ".join(said.split())


def test_outcome_says_the_first_page_and_where_the_report_is(run: Path) -> None:
    done = celljury("report", run, "--no-figures", "--level", "cell_class", "--format", "tsv")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("600 cells, ") for line in lines)
    assert any(line.endswith("80 need review; of these 0 are decided.") for line in lines)
    assert "Tier cell, alpha 0.05: of cells like the held-out ones; nothing is promised of new donors." in lines
    assert f"Report: {run / 'report.html'}" in lines
    assert lines[-1] == f"80 cells wait for a curator: celljury review {run}"
    assert {path.suffix for path in (run / "tables").iterdir()} == {".tsv"}


def test_json_is_one_object_and_nothing_else(run: Path) -> None:
    done = celljury("report", run, "--no-figures", "--level", "cell_class", "--json")
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert found["n_cells"] == 600
    assert sum(found["status"].values()) == 600
    assert [level["level"] for level in found["levels"]] == ["cell_class"]
    assert sum(row["n_cells"] for row in found["levels"][0]["labels"]) == 600
    assert found["written"][-1] == found["page"] == str(run / "report.html")


def test_open_shows_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert celljury("report", run, "--no-figures", "--level", "cell_class", "--format", "tsv", "--open").exit_code == 0
    assert opened == [(run / "report.html").resolve().as_uri()]


def test_no_browser_is_said_and_is_no_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    done = celljury("report", run, "--no-figures", "--level", "cell_class", "--format", "tsv", "--open")
    assert done.exit_code == 0
    assert "open it yourself" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--level", "cell_clas"], "cell_class"),
        (["--level", "tems"], "term"),
        (["--donor", "donor"], "query.celljury.h5ad"),
        (["--format", "docx"], "docx"),
        (["--calls", "final"], "celljury apply"),
    ],
    ids=["level_typo", "term_typo", "donor_without_h5ad", "format", "final_without_decisions"],
)
def test_mistake_in_the_input_is_one_message_and_status_1(run: Path, options: list[str], said: str) -> None:
    done = celljury("report", run, "--no-figures", *options)
    assert done.exit_code == 1
    assert done.stdout == ""
    message = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1
    assert said in message[0]
    assert "Traceback" not in done.stderr
    assert not (run / "report.html").exists()


def test_known_types_are_evaluated_once(tmp_path: Path) -> None:
    # Two of ten cells are T cells that both tools call B cells.
    b, t = "CL:0000236", "CL:0000084"
    table = pd.DataFrame(
        {"cell_id": [f"c{i}" for i in range(10)], "one": [b] * 10, "two": [b] * 10, "truth": [b] * 8 + [t] * 2}
    )
    table.to_csv(tmp_path / "votes.tsv", sep="\t", index=False)
    run = vote(tmp_path / "votes.tsv", ("one", "two"), out=tmp_path / "run").folder
    options = ("--no-figures", "--level", "term", "--truth", "truth", "--query", tmp_path / "votes.tsv")
    assert celljury("report", run, *options, "--level", "typo").exit_code == 1
    assert not (run / "evaluation").exists()
    done = celljury("report", run, *options)
    assert done.exit_code == 0, done.stderr
    first = (run / "evaluation" / "evaluation.json").read_bytes()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "This run beside simpler rules on the same votes" in page
    assert "Accuracy 0.800" in page
    assert celljury("report", run, *options).exit_code == 0
    assert (run / "evaluation" / "evaluation.json").read_bytes() == first
    assert celljury("report", run, *options, "--out", tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "evaluation").exists()


def test_missing_column_names_those_that_are_there(run: Path, tmp_path: Path) -> None:
    names = pd.read_parquet(run / "calls.parquet", columns=["cell_id"])["cell_id"]
    pd.DataFrame({"cell_id": names, "donor": "d1"}).to_csv(tmp_path / "cells.tsv", sep="\t", index=False)
    done = celljury("report", run, "--no-figures", "--donor", "doner", "--query", tmp_path / "cells.tsv")
    assert done.exit_code == 1
    assert "has no column 'doner'" in done.stderr
    assert "donor" in done.stderr.replace("doner", "")


@pytest.mark.parametrize("name", ["", "unfinished.json"])
def test_folder_without_a_finished_run_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "no run"
    folder.mkdir()
    if name:
        (folder / name).write_text("{}")
    done = celljury("report", folder)
    assert done.exit_code == 1
    assert "holds no finished run" in done.stderr


@pytest.mark.parametrize("options", [["--calls", "some"], ["--map", "map.tsv"]], ids=["calls", "map_without_truth"])
def test_mistake_in_the_options_is_status_2(run: Path, options: list[str]) -> None:
    done = celljury("report", run, *options)
    assert done.exit_code == 2
    assert options[0] in done.stderr
