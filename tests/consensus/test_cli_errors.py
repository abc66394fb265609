"""What a new user gets wrong, on the real command line: one clear message, status 1, inputs as they were."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad

    from celljury.jury import Jury

LIGHT = ("--engine", "local")


@dataclass(frozen=True)
class Outcome:
    """Exit status and the text of both streams."""

    status: int
    out: str
    err: str


def celljury(*arguments: object, cwd: Path) -> Outcome:
    """Run the command line as a user would, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from celljury.cli import main; main()", *(str(item) for item in arguments)],
        cwd=cwd, env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True, text=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def desk(toy_adata: Any, toy_reference: Path, toy_query: Path, toy_jury: Jury, tmp_path_factory: Any) -> Path:
    """A folder with good and bad inputs. Commands run here and write to ``out``; nothing else may change."""
    desk = tmp_path_factory.mktemp("desk")
    shutil.copyfile(toy_reference, desk / "ref.h5ad")
    shutil.copyfile(toy_query, desk / "query.h5ad")
    shutil.copytree(toy_jury.folder, desk / "jury")

    def write(name: str, adata: ad.AnnData) -> None:
        adata.write_h5ad(desk / name)

    def toy() -> ad.AnnData:
        return toy_adata(n_cells=60, seed=2, prefix="query")

    normalized = toy()
    normalized.X.data = np.log1p(normalized.X.data / 10)
    write("normalized.h5ad", normalized)
    normalized.layers["umi"] = toy().X
    write("umi.h5ad", normalized)
    few = toy()
    few.var_names = [f"G{i}" if i < 12 else f"Other{i}" for i in range(200)]
    write("twelve.h5ad", few)
    labelled = toy()
    labelled.obs["author"] = ["B cell"] * 30 + ["my own type"] * 20 + ["Tregz"] * 10
    labelled.obs["n_counts"] = np.linspace(0, 1, 60)
    labelled.obs["nothing"] = np.nan
    labelled.obs["one"] = "B cell"
    write("labelled.h5ad", labelled)
    twins = toy()
    twins.obs_names = ["AAAC-1", "AAAC-1", *(f"c{i}" for i in range(58))]
    write("twins.h5ad", twins)
    write("empty.h5ad", toy()[:0].copy())
    whole = (desk / "query.h5ad").read_bytes()
    (desk / "truncated.h5ad").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(desk / "jury", desk / "old_jury")
    about = json.loads((desk / "old_jury" / "jury.json").read_text(encoding="utf-8"))
    about["format"], about["versions"]["celljury"] = 99, "9.9"
    (desk / "old_jury" / "jury.json").write_text(json.dumps(about), encoding="utf-8")
    shutil.copytree(desk / "jury", desk / "damaged_jury")
    (desk / "damaged_jury" / "jury.json").write_text('{"format": 1,', encoding="utf-8")
    (desk / "unfinished_jury").mkdir()
    (desk / "unfinished_jury" / "unfinished.json").write_text("{}", encoding="utf-8")
    (desk / "model.pkl").write_bytes(pickle.dumps({"a": "model"}))
    for name, text in {
        "pickle.toml": 'members = ["celltypist", "logistic"]\n[settings.celltypist]\nmodel = "model.pkl"\n',
        "unknown.toml": "blok_size = 100\n",
        "member_key.toml": 'members = ["logistic"]\n[settings.logistic]\npenalty_of_mine = 3\n',
        "scalar.toml": 'reduce = "lca"\n',
        "syntax.toml": "seed: 1\n",
        "mass.toml": '[reduce]\non = "mass"\n',
        "labels.tsv": "cell_id\ta\tb\nc1\tB cell\tT cell\nc2\tB cell\tmy own type\n",
        "good.tsv": "cell_id\ta\tb\nc1\tB cell\tT cell\nc2\tB cell\t\n",
        "twins.tsv": "cell_id\ta\nc1\tB cell\nc1\tB cell\n",
        "header.tsv": "cell_id\ta\tb\n",
        "no_map.tsv": "label\tterm\nB cell\tCL:0000236\n",
        "wrong_map.tsv": "subject_label\tpredicate_id\tobject_id\nmy own type\tskos:exactMatch\tCL:9999999\n",
    }.items():
        (desk / name).write_text(text, encoding="utf-8")
    (desk / "notes").mkdir()
    (desk / "notes" / "thesis.tex").write_text("years of work", encoding="utf-8")
    (desk / "finished").mkdir()
    (desk / "finished" / "run.json").write_text("{}", encoding="utf-8")
    return desk


ANNOTATE = ("--jury", "jury", "--out", "out", "--no-figures", *LIGHT)
FIT = ("--labels", "cell_type", "--out", "out", "--members", "logistic", *LIGHT)

# Each: the command, and what its message must hold: what and where, expected and got, and the next step.
BAD_INPUTS = [
    # The list.
    pytest.param(
        ("annotate", "normalized.h5ad", *ANNOTATE),
        ("normalized.h5ad has no raw counts", "X: 100 % of its values are not whole numbers (e.g.", "layers['counts']: not there",
         "raw.X: not there", "Keep them in layers['counts'] before normalising"),
        id="no_counts_anywhere",
    ),
    pytest.param(
        ("annotate", "twelve.h5ad", *ANNOTATE),
        ("twelve.h5ad: 12 of the jury's 200 genes", "at least 100 are needed", "Other12", "genes.min_shared"),
        id="twelve_shared_genes",
    ),
    pytest.param(
        ("fit", "labelled.h5ad", "--labels", "author", "--out", "out", "--members", "logistic", *LIGHT),
        ("2 label(s) in column 'author' of labelled.h5ad", "'my own type' (20 cells); nearest: CL:", "'Tregz' (10 cells)",
         "celljury map labelled.h5ad --labels author", "--on-unmapped abstain"),
        id="a_label_that_maps_to_nothing",
    ),
    pytest.param(
        ("annotate", "twins.h5ad", *ANNOTATE),
        ("twins.h5ad: 1 cell names stand more than once", "AAAC-1", "obs_names_make_unique"),
        id="duplicate_cell_names",
    ),
    pytest.param(
        ("annotate", "empty.h5ad", *ANNOTATE), ("empty.h5ad has no cells", "Check how it was filtered"), id="empty_query"
    ),
    pytest.param(
        ("annotate", "truncated.h5ad", *ANNOTATE),
        ("truncated.h5ad cannot be read as h5ad", "bytes", "truncated", "copy or download it again"),
        id="truncated_h5ad",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "old_jury", "--out", "out"),
        ("old_jury was written by celljury 9.9 in jury format 99", "reads format 2", "Fit the jury again"),
        id="a_jury_of_another_version",
    ),
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "cell_type", "--out", "out", "--config", "pickle.toml", *LIGHT),
        ("model.pkl is a pickle", "run any code", "--trust-model"),
        id="a_pickle_without_trust_model",
    ),
    pytest.param(
        ("annotate", "notes", *ANNOTATE),
        ("notes is a directory and no zarr store", "Expected an .h5ad, .h5mu or .zarr"),
        id="a_directory_instead_of_a_file",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "query.h5ad/run"),
        ("cannot write to query.h5ad/run: query.h5ad is a file, no folder", "--out"),
        id="an_unwritable_output",
    ),
    pytest.param(
        ("annotate", "labelled.h5ad", *ANNOTATE, "--batch", "nothing"),
        ("labelled.h5ad: obs['nothing'] is missing for 60 of 60 cells", "every cell needs a batch", "--batch"),
        id="a_full_batch_column_of_nan",
    ),
    # Inputs.
    pytest.param(
        ("annotate", "nowhere.h5ad", *ANNOTATE), ("nowhere.h5ad does not exist", "Check the path"), id="missing_file"
    ),
    pytest.param(
        ("annotate", "good.tsv", *ANNOTATE), ("good.tsv cannot be read as h5ad", "another format"), id="a_table_as_query"
    ),
    pytest.param(
        ("annotate", "umi.h5ad", *ANNOTATE),
        ("umi.h5ad has no raw counts", "Also there: layers/umi", "--counts"),
        id="counts_in_a_layer_of_another_name",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--counts", "umi"),
        ("counts = 'umi'", "expected auto, X, raw.X or layers/NAME"),
        id="a_layer_named_without_its_folder",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--batch", "donor"),
        ("query.h5ad has no column 'donor'", "It has: cell_type, sample", "--batch"),
        id="missing_batch_column",
    ),
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "celltype", "--out", "out", *LIGHT),
        ("ref.h5ad has no column 'celltype'", "It has: cell_type, sample", "--labels"),
        id="missing_label_column",
    ),
    pytest.param(
        ("fit", "ref.h5ad", *FIT, "--donor", "patient"),
        ("ref.h5ad has no column 'patient'", "It has: cell_type, sample", "--donor"),
        id="missing_donor_column",
    ),
    pytest.param(
        ("fit", "labelled.h5ad", "--labels", "n_counts", "--out", "out", "--members", "logistic", *LIGHT),
        ("column 'n_counts' holds 60 different values that name no cell type", "0.0169", "Name a column"),
        id="measurements_as_labels",
    ),
    pytest.param(
        ("fit", "labelled.h5ad", "--labels", "one", "--out", "out", "--members", "logistic", *LIGHT),
        ("column 'one' holds 1 cell type(s) (CL:0000236)", "at least two", "--labels"),
        id="a_reference_of_one_type",
    ),
    # Juries.
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "nowhere", "--out", "out"),
        ("nowhere holds no jury", "celljury fit"),
        id="missing_jury",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "ref.h5ad", "--out", "out"),
        ("ref.h5ad holds no jury", "expected a folder made by celljury fit"),
        id="a_reference_as_jury",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "unfinished_jury", "--out", "out"),
        ("unfinished_jury holds no jury", "interrupted", "--resume"),
        id="an_unfinished_jury",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "damaged_jury", "--out", "out"),
        ("jury.json cannot be read", "damaged", "fit it again"),
        id="a_damaged_jury",
    ),
    # Settings.
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "cell_type", "--out", "out", "--members", "logistik"),
        ("there is no member 'logistik'", "Registered: ", "logistic"),
        id="unknown_member",
    ),
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "cell_type", "--out", "out", "--members", ""),
        ("members: expected at least one member",),
        id="no_member",
    ),
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "cell_type", "--out", "out", "--members", "logistic,logistic"),
        ("members: expected every member once",),
        id="a_member_twice",
    ),
    pytest.param(
        ("fit", "ref.h5ad", *FIT, "--config", "unknown.toml"),
        ("unknown.toml", "blok_size: there is no such setting. Did you mean block_size?", "docs/configuration.md"),
        id="unknown_config_key",
    ),
    pytest.param(
        ("fit", "ref.h5ad", "--labels", "cell_type", "--out", "out", "--config", "member_key.toml"),
        ("[settings.logistic] penalty_of_mine", "Known settings: "),
        id="unknown_key_of_a_member",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--config", "scalar.toml", "--rule", "quorum"),
        ("scalar.toml", "reduce: expected a section of settings, [reduce], got 'lca'"),
        id="a_value_where_a_section_belongs",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--config", "syntax.toml"),
        ("syntax.toml cannot be read as TOML", "line 1", "seed = 1"),
        id="a_config_that_is_no_toml",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--config", "nowhere.toml"),
        ("config nowhere.toml cannot be read: No such file",),
        id="missing_config",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--rule", "quorum", "--quorum", "0.3"),
        ("reduce.quorum: expected greater than or equal to 0.5, got 0.3",),
        id="bad_quorum",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--rule", "majority"),
        ("reduce.rule: expected 'auto', 'calibrated', 'lca' or 'quorum', got 'majority'",),
        id="unknown_rule",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--block-size", "0"),
        ("block_size: expected greater than or equal to 1, got 0",),
        id="blocks_of_no_cells",
    ),
    pytest.param(
        ("annotate", "query.h5ad", *ANNOTATE, "--slim", "cell_klass"),
        ("no slim 'cell_klass'", "cell_class, cell_subclass, subset:NAME or depth:N"),
        id="unknown_slim",
    ),
    # Outputs.
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "finished"),
        ("cannot write to finished: it already holds a finished result (run.json)", "--overwrite"),
        id="a_finished_result_without_overwrite",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "notes"),
        ("cannot write to notes: the folder holds files that are not celljury's", "--out"),
        id="an_output_folder_with_other_files",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "notes", "--overwrite"),
        ("cannot write to notes: the folder holds files that are not celljury's",),
        id="overwrite_does_not_reach_other_files",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "jury", "--overwrite"),
        ("cannot write to jury: ",),
        id="a_run_into_its_own_jury",
    ),
    pytest.param(
        ("annotate", "query.h5ad", "--jury", "jury", "--out", "query.h5ad"),
        ("cannot write to query.h5ad: it is a file, a folder is needed",),
        id="a_file_as_output_folder",
    ),
    # vote.
    pytest.param(
        ("vote", "labels.tsv", "--columns", "a,b", "--out", "out"),
        ("1 label(s) in column 'b' of labels.tsv", "'my own type' (1 cells)", "celljury map labels.tsv --labels b"),
        id="vote_with_an_unmapped_label",
    ),
    pytest.param(
        ("vote", "good.tsv", "--columns", "a,c", "--out", "out"),
        ("good.tsv has no column 'c'", "It has: cell_id, a, b", "--columns"),
        id="vote_on_a_missing_column",
    ),
    pytest.param(
        ("vote", "good.tsv", "--columns", "a,a", "--out", "out"),
        ("names a column twice: a, a", "one vote"),
        id="vote_on_a_column_twice",
    ),
    pytest.param(
        ("vote", "good.tsv", "--columns", ",", "--out", "out"),
        ("no columns to vote on", "--columns a,b,c"),
        id="vote_on_nothing",
    ),
    pytest.param(
        ("vote", "twins.tsv", "--columns", "a", "--out", "out"),
        ("twins.tsv: 1 rows repeat the name of another cell (e.g. c1)", "'cell_id'"),
        id="vote_with_a_cell_twice",
    ),
    pytest.param(("vote", "header.tsv", "--columns", "a", "--out", "out"), ("header.tsv has no rows",), id="vote_of_no_cells"),
    pytest.param(
        ("vote", "notes", "--columns", "a", "--out", "out"), ("notes is a directory", "Expected a TSV"), id="vote_on_a_folder"
    ),
    pytest.param(
        ("vote", "good.tsv", "--columns", "a,b", "--out", "out", "--config", "mass.toml"),
        ('reduce.on = "mass"', 'Use on = "votes"'),
        id="vote_on_mass",
    ),
    pytest.param(
        ("vote", "labels.tsv", "--columns", "a,b", "--out", "out", "--map", "no_map.tsv"),
        ("no_map.tsv: no column subject_label", "got: label, term"),
        id="a_map_that_is_none",
    ),
    pytest.param(
        ("vote", "labels.tsv", "--columns", "a,b", "--out", "out", "--map", "wrong_map.tsv"),
        ("wrong_map.tsv, line 2", "'my own type'", "CL:9999999"),
        id="a_map_to_a_term_that_is_none",
    ),
    pytest.param(
        ("vote", "labels.tsv", "--columns", "a,b", "--out", "out", "--map", "nowhere.tsv"),
        ("cannot read the label map nowhere.tsv", "celljury map"),
        id="missing_map",
    ),
    # map and ontology.
    pytest.param(
        ("map", "ref.h5ad", "--out", "out.tsv"), ("has several columns: cell_type, sample", "--labels"), id="map_of_no_column"
    ),
    pytest.param(
        ("map", "labels.tsv", "--out", "out.tsv"), ("labels.tsv is a table", "--labels"), id="map_of_a_whole_table"
    ),
    pytest.param(
        ("map", "ref.h5ad", "--labels", "cell_type", "--out", "nowhere/out.tsv"),
        ("cannot write to nowhere/out.tsv: there is no folder nowhere", "--out"),
        id="map_into_a_missing_folder",
    ),
    pytest.param(
        ("map", "ref.h5ad", "--labels", "cell_type", "--out", "good.tsv"),
        ("cannot write to good.tsv: it exists", "--overwrite"),
        id="map_over_a_file",
    ),
    pytest.param(
        ("ontology", "show", "B cel"), ("'B cel' is no id, label or synonym", "Nearest: CL:0000236 'B cell'"), id="unknown_term"
    ),
    pytest.param(
        ("ontology", "show", "B cell", "--release", "1999-01-01"),
        ("has no CL release '1999-01-01'", "It has: "),
        id="unknown_release",
    ),
    pytest.param(
        ("ontology", "lca", "B cell", "T cell", "--source", "nowhere.obo"),
        ("nowhere.obo", "Expected an OBO, OWL or OBO-graph JSON file"),
        id="missing_ontology_file",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("command", "said"), BAD_INPUTS)
def test_bad_input_is_one_message_and_status_1(command: tuple[str, ...], said: tuple[str, ...], desk: Path) -> None:
    before = hashes(desk)
    outcome = celljury(*command, cwd=desk)
    shutil.rmtree(desk / "out", ignore_errors=True)
    assert outcome.status == 1, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert [line[:6] for line in outcome.err.splitlines()].count("error:") == 1
    for part in said:
        assert part in outcome.err
    assert hashes(desk) == before


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(("annotat", "query.h5ad"), "No such command", id="unknown_command"),
        pytest.param(("fit", "ref.h5ad", "--labels", "cell_type"), "--out", id="missing_option"),
        pytest.param(("annotate", "--jury", "jury", "--out", "out"), "query", id="missing_argument"),
        pytest.param(("annotate", "query.h5ad", *ANNOTATE, "--batches", "sample"), "--batch", id="unknown_option"),
        pytest.param(("annotate", "query.h5ad", *ANNOTATE, "--quorum", "half"), "--quorum", id="a_word_for_a_number"),
        pytest.param(
            ("vote", "good.tsv", "--columns", "a", "--out", "out", "--on-unmapped", "skip"),
            "stop or abstain",
            id="choice",
        ),
    ],
)
def test_wrong_usage_is_status_2(command: tuple[str, ...], said: str, desk: Path) -> None:
    outcome = celljury(*command, cwd=desk)
    assert outcome.status == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert said.lower() in outcome.err.lower()
    assert not (desk / "out").exists()


def test_an_input_that_overwrite_would_delete_is_kept(desk: Path, tmp_path: Path) -> None:
    shutil.copytree(desk / "jury", tmp_path / "jury")
    shutil.copyfile(desk / "query.h5ad", tmp_path / "query.h5ad")
    assert (
        celljury(
            "annotate", "query.h5ad", "--jury", "jury", "--out", "run", "--no-figures", *LIGHT, cwd=tmp_path
        ).status
        == 0
    )
    before = hashes(tmp_path)
    outcome = celljury(
        "annotate", "run/query.celljury.h5ad", "--jury", "jury", "--out", "run", "--overwrite", "--no-figures", *LIGHT,
        cwd=tmp_path,
    )  # fmt: skip
    assert outcome.status == 1
    assert "run/query.celljury.h5ad, which this command reads, lies in it" in outcome.err
    assert hashes(tmp_path) == before


def test_a_bad_query_does_not_cost_the_result_that_was_there(desk: Path, tmp_path: Path) -> None:
    shutil.copytree(desk / "finished", tmp_path / "finished")
    before = hashes(tmp_path)
    outcome = celljury(
        "annotate", desk / "normalized.h5ad", "--jury", desk / "jury", "--out", "finished", "--overwrite", cwd=tmp_path
    )
    assert outcome.status == 1
    assert hashes(tmp_path) == before


# Help, version and output for programs ------------------------------------------------------------------------------


def test_help_lists_the_commands_and_exit_statuses(tmp_path: Path) -> None:
    outcome = celljury("--help", cwd=tmp_path)
    assert outcome.status == 0
    for word in (
        "demo",
        "fit",
        "annotate",
        "vote",
        "map",
        "ontology",
        "1 input at fault",
        "2 usage",
        "3 a member failed",
    ):
        assert word in outcome.out


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=" ".join(command))
        for command in (
            ("demo",), ("fit",), ("annotate",), ("vote",), ("map",), ("ontology", "show"), ("ontology", "lca"),
            ("ontology", "search"),
        )
    ],
)  # fmt: skip
def test_every_command_s_help_has_an_example(command: tuple[str, ...], tmp_path: Path) -> None:
    outcome = celljury(*command, "--help", cwd=tmp_path)
    assert outcome.status == 0
    assert f"Example: celljury {' '.join(command)} " in outcome.out


def test_version(tmp_path: Path) -> None:
    outcome = celljury("--version", cwd=tmp_path)
    assert (outcome.status, outcome.out, outcome.err) == (0, f"celljury {__version__}\n", "")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        pytest.param(("fit", "ref.h5ad", *FIT, "--batch", "sample"), "jury", id="fit"),
        pytest.param(("annotate", "query.h5ad", *ANNOTATE), "n_cells", id="annotate"),
        pytest.param(("vote", "good.tsv", "--columns", "a,b", "--out", "out"), "n_cells", id="vote"),
        pytest.param(("ontology", "show", "B cell"), "term", id="ontology_show"),
        pytest.param(("ontology", "lca", "CL:0000624", "CL:0000625"), "", id="ontology_lca"),
        pytest.param(("ontology", "search", "Treg"), "", id="ontology_search"),
    ],
)
def test_json_is_all_that_stands_on_standard_output(command: tuple[str, ...], key: str, desk: Path) -> None:
    before = hashes(desk)
    outcome = celljury(*command, "--json", cwd=desk)
    shutil.rmtree(desk / "out", ignore_errors=True)
    assert outcome.status == 0, outcome.err
    assert key in json.dumps(list(json.loads(outcome.out)))
    assert outcome.err == ""
    assert hashes(desk) == before


def test_an_error_leaves_standard_output_empty_also_with_json(desk: Path) -> None:
    outcome = celljury("annotate", "nowhere.h5ad", *ANNOTATE, "--json", cwd=desk)
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("error: nowhere.h5ad does not exist")


def test_progress_stands_on_standard_error(desk: Path) -> None:
    outcome = celljury("annotate", "query.h5ad", *ANNOTATE, cwd=desk)
    shutil.rmtree(desk / "out", ignore_errors=True)
    assert outcome.status == 0, outcome.err
    assert "vote: 1/1" in outcome.err
    assert "vote: 1/1" not in outcome.out
    assert "60" in outcome.out


def test_the_map_that_the_message_asks_for_leads_to_a_vote(desk: Path, tmp_path: Path) -> None:
    shutil.copyfile(desk / "labels.tsv", tmp_path / "labels.tsv")
    vote = ("vote", "labels.tsv", "--columns", "a,b", "--out", "run", "--map", "map.sssom.tsv")
    assert celljury("map", "labels.tsv", "--labels", "b", "--out", "map.sssom.tsv", cwd=tmp_path).status == 0
    drafted = pd.read_csv(tmp_path / "map.sssom.tsv", sep="\t", comment="#", keep_default_na=False)
    drafted.loc[drafted["subject_label"] == "my own type", "object_id"] = "CL:0000624"
    drafted.to_csv(tmp_path / "map.sssom.tsv", sep="\t", index=False)
    outcome = celljury(*vote, cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    calls = pd.read_parquet(tmp_path / "run" / "calls.parquet")
    assert calls["vote_b"].tolist() == ["CL:0000084", "CL:0000624"]


def test_map_speaks_json_to_programs(tmp_path):
    (tmp_path / "labels.txt").write_text("B cell\nTregs?\n")
    code = "from celljury.cli import main; main()"
    options = ("map", "labels.txt", "--out", "map.sssom.tsv", "--json")
    done = subprocess.run([sys.executable, "-c", code, *options], cwd=tmp_path, capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert said["n_mapped"] == 1
    assert said["unmapped"][0]["label"] == "Tregs?"
    assert "CL:0000815" in [term["id"] for term in said["unmapped"][0]["nearest"]]
