"""A run against known types: numbers worked by hand on a run of labels, on a jury's run, and on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from celljury.api import annotate, vote
from celljury.errors import (
    BatchError,
    CellsError,
    InputError,
    MissingColumnError,
    UnknownLabelError,
    UnreadableFileError,
)
from celljury.evaluate import evaluate
from celljury.provenance import write_json
from celljury.report.evaluation_page import evaluation_markdown, evaluation_text
from celljury.run import Run

if TYPE_CHECKING:
    from celljury.config import Config
    from celljury.jury import Jury

B, NK, T, CD4, CD8 = "CL:0000236", "CL:0000623", "CL:0000084", "CL:0000624", "CL:0000625"
FILES = ["error_by_depth.png", "error_by_depth.svg", "evaluation.json", "evaluation.md", "per_type.tsv",
         "reliability.png", "reliability.svg", "risk_coverage.png", "risk_coverage.svg"]  # fmt: skip

# Votes of x and y, known type, donor. Calls: B right; B wrong; mature T, CD4 below it; CD4 below the known T; no truth.
ROWS = [
    (B, B, "B cell", "d1"),
    (B, B, "natural killer cell", "d1"),
    (CD4, CD8, "CD4-positive, alpha-beta T cell", "d1"),
    (CD4, CD4, "T cell", "d2"),
    (CD4, CD4, "CD4-positive, alpha-beta T cell", "d2"),
    (B, CD4, "unknown", "d2"),
]


def table() -> pd.DataFrame:
    cells = pd.Index([f"cell{i}" for i in range(len(ROWS))], name="cell_id")
    return pd.DataFrame(ROWS, columns=["x", "y", "known", "donor"], index=cells).assign(own="my type", nobody="")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels as a table and as h5ad, and a run of each; copy a run before a change."""
    folder = tmp_path_factory.mktemp("evaluate")
    table().to_csv(folder / "labels.tsv", sep="\t")
    obs = table().drop(columns="nobody")
    ad.AnnData(np.zeros((len(obs), 1), np.float32), obs=obs).write_h5ad(folder / "labels.h5ad")
    vote(folder / "labels.tsv", ("x", "y"), out=folder / "of_table")
    vote(folder / "labels.h5ad", ("x", "y"), out=folder / "of_h5ad")
    return folder


@pytest.fixture
def run(desk: Path, tmp_path: Path) -> Run:
    """A run of its own to write into."""
    return Run(Path(shutil.copytree(desk / "of_h5ad", tmp_path / "run")))


def change(run: Run, *, record: dict[str, Any] | None = None, **columns: Any) -> Run:
    """Return the run with other columns of calls, and more in its record."""
    calls = run.calls.assign(**columns).reset_index()
    calls.to_parquet(run.calls_path)
    write_json(run.folder / "run.json", run.record | (record or {}))
    return Run(run.folder)


def values(part: dict[str, Any]) -> dict[str, Any]:
    return {name: one["value"] for name, one in part.items() if isinstance(one, dict) and "value" in one}


def test_numbers_of_the_hand_made_run(run: Run) -> None:
    found = evaluate(run, truth="known", n_draws=20)
    truth, calls = found.report["truth"], values(found.report["calls"])
    assert (truth["n_cells"], truth["n_known"], truth["n_types"]) == (6, 5, 4)
    assert calls["accuracy"] == pytest.approx(2 / 5)
    assert calls["at_or_below"] == pytest.approx(3 / 5)
    assert calls["covered_error"] == pytest.approx(2 / 5)
    assert calls["covered_error_lenient"] == pytest.approx(1 / 5)
    assert calls["coverage"] == 1
    assert values(found.report["matches"])["no call"] == 0
    assert {row["term"]: row["n"] for row in found.report["per_type"]} == {B: 1, NK: 1, T: 1, CD4: 2}
    assert found.report["intervals"]["over"] == "cells"


def test_files_are_those_of_the_report(run: Run) -> None:
    found = evaluate(run, truth="known", n_draws=20)
    assert found.folder == run.folder / "evaluation"
    assert sorted(path.name for path in found.folder.iterdir()) == FILES
    assert json.loads((found.folder / "evaluation.json").read_text()) == found.report
    types = pd.read_csv(found.folder / "per_type.tsv", sep="\t")
    assert types["term"].tolist()[0] == CD4
    assert types.loc[0, ["n", "n_called", "n_right"]].tolist() == [2, 2, 1]


def test_baselines_stand_beside_the_run(run: Run) -> None:
    rows = {
        row["name"]: values(row) for row in evaluate(run, truth="known", n_draws=5, figures=False).report["baselines"]
    }
    assert list(rows) == ["member:x", "member:y", "majority", "popv_ancestor", "popv_ancestor_2", "lca", "run"]
    assert rows["member:x"]["accuracy"] == pytest.approx(3 / 5)
    assert rows["member:y"]["accuracy"] == pytest.approx(2 / 5)
    assert rows["lca"] == rows["run"]


def test_donors_are_the_unit_and_set_against_alpha(run: Run) -> None:
    found = evaluate(change(run, record={"alpha": 0.4, "tier": "cluster-t"}), truth="known", donor="donor", n_draws=50)
    donors = found.report["donors"]
    assert found.report["intervals"] | {"n_draws": 0} == {
        "over": "donors", "n_units": 2, "n_draws": 0, "level": 0.95, "seed": 0,
    }  # fmt: skip
    # d1: one of three wrong; d2: one of two.
    assert [(row["donor"], row["n"], row["covered_error"], row["above_alpha"]) for row in donors["rows"]] == [
        ("d1", 3, pytest.approx(1 / 3, abs=1e-6), False),
        ("d2", 2, 0.5, True),
    ]
    assert donors["share_above_alpha"] == 0.5
    assert "50.0% of the donors above it" in "\n".join(evaluation_text(found.report))


def test_no_promise_means_no_donor_above_it(run: Run) -> None:
    report = evaluate(run, truth="known", donor="donor", n_draws=5, figures=False).report
    assert report["donors"]["share_above_alpha"] is None
    assert "promised no error" in "\n".join(evaluation_text(report))


def test_unseen_cells_are_judged(run: Run) -> None:
    status = ["resolved", "unseen", "unseen", "resolved", "resolved", "resolved"]
    term = [B, "CL:0000542", None, CD4, CD4, B]  # NK is caught under lymphocyte, a CD4 T cell wrongly rejected
    changed = change(
        run,
        record={"reference_terms": [B, CD4, CD8]},
        status=status,
        term=term,
        p_seen=[0.9, 0.01, 0.02, 0.5, 0.6, 0.7],
    )
    found = evaluate(changed, truth="known", n_draws=20)
    unseen = found.report["unseen"]
    # T cell lies above CD4 and CD8: its truth cannot tell.
    assert (unseen["n_unseen"], unseen["n_seen"], unseen["n_open"]) == (1, 3, 1)
    assert unseen["types"] == ["natural killer cell"]
    got = values(unseen)
    assert (got["caught"], got["false_unseen"], got["wrong_label"]) == (1, pytest.approx(1 / 3, abs=1e-6), 0)
    assert (got["auroc"], got["fpr_at_95_tpr"]) == (1, 0)
    assert (got["node_right"], got["node_root_only"], got["node_wrong"], got["node_information"]) == (1, 0, 0, 1)
    assert (found.folder / "unseen_roc.png").is_file()
    # The rejected cells have no label, whatever node they name.
    assert found.report["calls"]["coverage"]["value"] == pytest.approx(3 / 5)
    assert "natural killer cell" in "\n".join(evaluation_text(found.report))


def test_without_p_seen_the_section_says_so(run: Run) -> None:
    report = evaluate(
        change(run, record={"reference_terms": [B, CD4, CD8]}), truth="known", n_draws=5, figures=False
    ).report
    assert report["unseen"]["n_unseen"] == 1
    assert "p_seen is empty" in report["unseen"]["absent"]
    assert values(report["unseen"]) == {"wrong_label": 1}


def test_without_reference_types_the_section_says_so(run: Run) -> None:
    report = evaluate(run, truth="known", n_draws=5, figures=False).report
    assert report["unseen"] == {"absent": "which types the reference held is not known; name them with --seen-types"}
    assert "--seen-types" in evaluation_markdown(report)


def test_seen_types_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "types.txt").write_text("B cell\n\nCD4-positive, alpha-beta T cell\nCL:0000625\n")
    report = evaluate(run, truth="known", seen_types=tmp_path / "types.txt", n_draws=5, figures=False).report
    assert report["unseen"]["types"] == ["natural killer cell"]


def test_an_earlier_evaluation_leaves_no_figure_behind(run: Run) -> None:
    folder = evaluate(run, truth="known", n_draws=5).folder
    assert (folder / "reliability.png").is_file()
    evaluate(run, truth="known", n_draws=5, figures=False)
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", "evaluation.md", "per_type.tsv"]


@pytest.mark.parametrize("support", [np.nan, None], ids=["empty", "no_column"])
def test_run_without_support_is_ranked_by_agreement(run: Run, support: float | None) -> None:
    changed = change(run, support=np.float32(np.nan))
    if support is None:
        run.calls.drop(columns="support").reset_index().to_parquet(run.calls_path)
        changed = Run(run.folder)
    report = evaluate(changed, truth="known", n_draws=5, figures=False).report
    assert report["selective"]["ranked_by"] == "agreement"
    assert report["calibration"]["absent"] == "no labelled cell has a support"
    assert evaluation_markdown(report)


def test_run_that_labels_nothing(run: Run) -> None:
    changed = change(run, status="unresolved", term=None, support=np.float32(0))
    report = evaluate(changed, truth="known", n_draws=5, figures=False).report
    assert report["calls"]["covered_error"] == {"value": None, "low": None, "high": None, "n": 0}
    assert report["calls"]["accuracy"]["value"] == 0
    assert "not defined (n = 0)" in "\n".join(evaluation_text(report))


def test_order_of_the_file_does_not_matter(run: Run, desk: Path, tmp_path: Path) -> None:
    table().iloc[::-1].to_csv(tmp_path / "reversed.tsv", sep="\t")
    one = evaluate(run, truth="known", query=desk / "labels.tsv", n_draws=5, figures=False, out=tmp_path / "one").report
    other = evaluate(
        run, truth="known", query=tmp_path / "reversed.tsv", n_draws=5, figures=False, out=tmp_path / "other"
    ).report
    assert one["calls"] == other["calls"]
    assert one["per_type"] == other["per_type"]


def test_jury_run_is_all_right_and_knows_its_reference(
    toy_jury: Jury, toy_query: Path, toy_config: Config, tmp_path: Path
) -> None:
    run = annotate(toy_query, toy_jury, out=tmp_path / "run", config=toy_config, figures=False)
    report = evaluate(run, truth="cell_type", donor="sample", n_draws=20, figures=False).report
    assert values(report["calls"])["accuracy"] == 1
    assert values(report["calls"])["covered_error"] == 0
    assert report["unseen"]["n_seen"] == 60
    assert report["unseen"]["n_unseen"] == 0
    assert {"top_p_0.5", "top_p_0.7", "top_p_0.9"} <= {row["name"] for row in report["baselines"]}
    assert report["intervals"]["over"] == "donors"
    assert "nothing for a score to rank" in "\n".join(evaluation_text(report))


def test_refitted_jury_is_not_believed(toy_jury: Jury, run: Run, tmp_path: Path) -> None:
    shutil.copytree(toy_jury.folder, tmp_path / "jury")
    changed = change(run, record={"jury": {"folder": str(tmp_path / "jury"), "sha256": "of another fit"}})
    assert "absent" in evaluate(changed, truth="known", n_draws=5, figures=False).report["unseen"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        pytest.param({"truth": "nope"}, MissingColumnError, "no column 'nope'.*--truth", id="no_such_column"),
        pytest.param({"donor": "nope"}, MissingColumnError, "no column 'nope'.*--donor", id="no_such_donor_column"),
        pytest.param({"truth": "own"}, UnknownLabelError, "'my type'", id="labels_that_name_no_type"),
        pytest.param({"truth": "nobody"}, CellsError, "names the type of no cell", id="no_known_type"),
        pytest.param({"query": "other.tsv"}, CellsError, "it has 6, the run 6, and 1 of the run's", id="other_cells"),
        pytest.param({"query": "fewer.tsv"}, CellsError, "it has 5, the run 6", id="fewer_cells"),
        pytest.param({"query": "twins.tsv"}, CellsError, "repeat the name", id="twins"),
        pytest.param({"query": None}, UnreadableFileError, "--query.*labels.tsv", id="no_query_to_read"),
        pytest.param({"donor": "half"}, BatchError, "no donor for 1 cell", id="cell_without_a_donor"),
        pytest.param({"seen_types": "gone.txt"}, UnreadableFileError, "gone.txt", id="no_list_of_types"),
        pytest.param({"seen_types": "wrong.txt"}, UnknownLabelError, "'no such cell'", id="list_with_an_unknown_type"),
        pytest.param({"seen_types": "empty.txt"}, InputError, "names no type", id="empty_list_of_types"),
    ],
)
def test_mistakes_are_named(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options, error, says) -> None:
    monkeypatch.chdir(tmp_path)
    labels = table().assign(half=["d1", "", "d1", "d1", "d1", "d1"])
    labels.to_csv("labels.tsv", sep="\t")
    labels.rename(index={"cell0": "stranger"}).to_csv("other.tsv", sep="\t")
    labels.iloc[1:].to_csv("fewer.tsv", sep="\t")
    labels.rename(index={"cell0": "cell1"}).to_csv("twins.tsv", sep="\t")
    Path("wrong.txt").write_text("B cell\nno such cell\n")
    Path("empty.txt").write_text("# nothing\n")
    run = Run(Path(shutil.copytree(desk / "of_table", tmp_path / "run")))
    with pytest.raises(error, match=says):
        evaluate(run, **({"truth": "known", "query": "labels.tsv", "n_draws": 5} | options))
    assert not (run.folder / "evaluation").exists()


def test_another_ontology_is_refused(run: Run) -> None:
    changed = change(run, record={"ontology": run.record["ontology"] | {"sha256": "0"}})
    with pytest.raises(InputError, match="another ontology"):
        evaluate(changed, truth="known")


# The command line -------------------------------------------------------------------------------------------------


def celljury(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from celljury.cli import main; main()", *(str(item) for item in arguments)],
        cwd=cwd, env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_command_prints_table_and_words(run: Run, tmp_path: Path) -> None:
    done = celljury("evaluate", "run", "--truth", "known", "--donor", "donor", "--out", "here", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == "rule accuracy macro F1 at/below error lenient info kept hier. F labelled n".split()
    (own,) = (line.split() for line in lines if line.startswith("this run"))
    assert own[2] == "0.400"
    assert own[-1] == "5"
    assert (
        "5 cells of 4 known types ('known' of run/query.celljury.h5ad); 1 without a known type are left out." in lines
    )
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == FILES
    assert not (run.folder / "evaluation").exists()


@pytest.mark.usefixtures("run")
def test_command_prints_json(tmp_path: Path) -> None:
    done = celljury("evaluate", "run", "--truth", "known", "--no-figures", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"]["accuracy"]["value"] == 0.4


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["run", "--truth", "nope"], "has no column 'nope'", id="no_such_column"),
        pytest.param(["elsewhere", "--truth", "known"], "holds no finished run", id="no_run"),
        pytest.param(["run", "--truth", "known", "--out", "file"], "cannot write to file", id="out_is_a_file"),
    ],
)
def test_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "file").write_text("")
    done = celljury("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
