"""`celljury export` as typed: what it prints, what it refuses, and that nothing that was there is lost."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import anndata as ad
import pytest
import typer
from typer.testing import CliRunner

from celljury.cli_export import export
from celljury.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

app = typer.Typer()
app.command()(export)


def celljury_export(*arguments: object) -> Result:
    return CliRunner().invoke(
        app, [str(word) for word in arguments], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    )


@pytest.fixture(autouse=True)
def no_validator_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "nowhere"))


@pytest.fixture
def own(run: Run, tmp_path: Path) -> Path:
    """A copy of the run that may be written to."""
    shutil.copytree(run.folder, tmp_path / "run")
    return tmp_path / "run"


def test_h5ad_says_what_it_wrote(own: Path, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "out.h5ad"
    done = celljury_export(own, "--to", "h5ad", "--out", out, "--query", query)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}: 400 cells, the calls.\nAll else is from {query}.\n"
    assert ad.read_h5ad(out).n_obs == 400


def test_cellxgene_lists_what_is_missing_and_ends_with_status_1(own: Path, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    done = celljury_export(own, "--to", "cellxgene", "--out", out, "--query", query)
    assert done.exit_code == 1
    assert out.is_file()
    assert "  obs has no assay_ontology_term_id" in done.stdout
    assert "celljury invents none of them" in done.stdout
    assert "unknown: called unseen" in done.stdout
    assert "is written, but the archive would not take it as it is" in done.stderr
    assert (
        celljury_export(own, "--to", "cellxgene", "--out", out, "--query", query, "--no-check", "--overwrite").exit_code
        == 0
    )


def test_json_is_for_programs(own: Path, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    done = celljury_export(own, "--to", "cellxgene", "--out", out, "--query", query, "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert told["taken"] is False
    assert told["n_cells"] == 400
    assert told["cl_release"] == "2026-03-26"
    assert "uns has no title" in told["missing"]
    cas = json.loads(celljury_export(own, "--to", "cas", "--out", tmp_path / "out.json", "--json").stdout)
    assert cas["not_given"][0] == "author_name"
    assert cas["taken"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--to", "loom", "--out", "a.h5ad"], "--to loom: expected cellxgene, cas, h5ad, h5mu", id="wrong_to"),
        pytest.param(["--to", "cas", "--out", "a.json", "--calls", "all"], "expected auto, calls, final", id="wrong_calls"),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--author", "A B"], "--author: only with --to cas", id="author"),
        pytest.param(["--out", "a.h5ad"], "Missing option", id="no_to"),
    ],
)  # fmt: skip
def test_usage(own: Path, arguments: list[str], said: str) -> None:
    done = celljury_export(own, *arguments)
    assert done.exit_code == 2
    assert said in done.output.replace("'--to'", "--to")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--to", "h5ad", "--out", "there.h5ad"], "it is there already; --overwrite replaces it", id="there"),
        pytest.param(["--to", "h5ad", "--out", "query.h5ad", "--overwrite"], "it is the query itself", id="query"),
        pytest.param(["--to", "h5ad", "--out", "link.h5ad", "--overwrite"], "it is the query itself", id="link_to_it"),
        pytest.param(
            ["--to", "h5ad", "--out", "run/query.celljury.h5ad", "--overwrite"], "keeps its own files", id="file_of_the_run"
        ),
        pytest.param(
            ["--to", "cas", "--out", "run/review/pack/x.json", "--overwrite"], "keeps its own files", id="folder_of_the_run"
        ),
        pytest.param(["--to", "cas", "--out", "a.h5ad"], "--to cas writes a .json file", id="suffix"),
        pytest.param(["--to", "h5ad", "--out", "folder.h5ad"], "it is a folder", id="folder"),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--calls", "final"], "celljury review", id="final_without_apply"),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--query", "none.h5ad"], "none.h5ad does not exist", id="no_query"),
        pytest.param(
            ["--to", "h5ad", "--out", "a.h5ad", "--query", "others.h5ad"], "does not hold the run's cells", id="other_cells"
        ),
        pytest.param(
            ["--to", "h5ad", "--out", "a.h5ad", "--query", "fewer.h5ad"], "it has 399, the run 400", id="fewer_cells"
        ),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--query", "twice.h5ad"], "Names must be unique", id="twice"),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--query", "broken.h5ad"], "broken.h5ad cannot be read", id="broken"),
        pytest.param(["--to", "h5ad", "--out", "a.h5ad", "--query", "text.tsv"], "is no h5ad, h5mu or zarr", id="table"),
        pytest.param(
            ["--to", "cellxgene", "--out", "a.h5ad", "--validator", "none"], "pip install cellxgene-schema", id="validator"
        ),
        pytest.param(["--to", "h5mu", "--out", "a.h5mu"], "is no MuData", id="no_mudata"),
    ],
)  # fmt: skip
def test_bad_input(
    own: Path, query: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = ad.read_h5ad(query)
    source[:399].copy().write_h5ad("fewer.h5ad")
    other = source.copy()
    other.obs_names = [f"other {i}" for i in range(400)]
    other.write_h5ad("others.h5ad")
    other.obs_names = [*source.obs_names[:399], source.obs_names[0]]
    with pytest.warns(UserWarning, match="not unique"):
        other.write_h5ad("twice.h5ad")
        other.copy()
    (tmp_path / "there.h5ad").write_text("mine")
    (tmp_path / "text.tsv").write_text("cell_id\tx\n")
    (tmp_path / "broken.h5ad").write_bytes(query.read_bytes()[:3000])
    (tmp_path / "link.h5ad").symlink_to(query)
    (tmp_path / "folder.h5ad").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if "--query" not in arguments:
        arguments = [*arguments, "--query", "query.h5ad"]
    done = celljury_export("run", *arguments)
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert said in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_a_file(own: Path, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    out.write_text("mine")
    assert celljury_export(own, "--to", "h5ad", "--out", out, "--query", query, "--overwrite").exit_code == 0
    assert ad.read_h5ad(out).n_obs == 400


def test_a_file_may_stand_beside_the_runs_own(own: Path, query: Path) -> None:
    assert celljury_export(own, "--to", "h5ad", "--out", own / "exports" / "out.h5ad", "--query", query).exit_code == 0
    Run.open(own)


def test_a_query_that_changed_is_not_taken_for_the_runs(own: Path, query: Path, tmp_path: Path) -> None:
    record = json.loads((own / "run.json").read_text())
    for file, sha, said in (
        (str(query), "0" * 64, "has changed since"),
        (str(tmp_path / "gone.h5ad"), "0" * 64, "is gone"),
        ("AnnData", None, "an object in memory"),
    ):
        record["query"] |= {"file": file, "sha256": sha}
        (own / "run.json").write_text(json.dumps(record))
        done = celljury_export(own, "--to", "h5ad", "--out", tmp_path / "out.h5ad")
        assert done.exit_code == 1
        assert said in done.stderr
        assert "--query" in done.stderr


def test_final_of_another_run_is_not_taken(reviewed: Run, tmp_path: Path, query: Path) -> None:
    import pandas as pd

    shutil.copytree(reviewed.folder, tmp_path / "run")
    final = pd.read_parquet(tmp_path / "run" / "final.parquet")
    final.iloc[::-1].to_parquet(tmp_path / "run" / "final.parquet", index=False)
    done = celljury_export(tmp_path / "run", "--to", "h5ad", "--out", tmp_path / "out.h5ad", "--query", query)
    assert done.exit_code == 1
    assert "celljury apply" in done.stderr


def test_a_validator_without_a_verdict_is_an_error(own: Path, query: Path, tmp_path: Path) -> None:
    program = tmp_path / "cellxgene-schema"
    program.write_text("#!/bin/sh\necho 'no such module'\nexit 1\n")
    program.chmod(0o755)
    out = tmp_path / "out.h5ad"
    done = celljury_export(own, "--to", "cellxgene", "--out", out, "--query", query, "--validator", program)
    assert done.exit_code == 1
    assert "failed with status 1" in done.stderr
    assert "no such module" in done.stderr
    assert out.is_file()
