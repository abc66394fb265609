"""The h5ad that others read: scanpy's anndata of two generations, R, and browsers; the query stays as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from celljury.export.make import export_run
from celljury.export.run_columns import RunColumns, plain_values
from celljury.provenance import sha256
from celljury.run import Run
from celljury.write import call_columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeQuery, Validators
    from numpy.typing import NDArray


def copied(run: Run, to: Path) -> Run:
    shutil.copytree(run.folder, to)
    return Run.open(to)


def test_columns_are_the_calls_of_the_same_cell_whatever_the_order(run: Run, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    before = sha256(query)
    made = export_run(run, to="h5ad", out=out, query=query)
    assert sha256(query) == before
    assert (made.calls, made.n_cells, made.query) == ("calls", 400, query)
    found, source = ad.read_h5ad(out), ad.read_h5ad(query)
    assert found.obs_names.tolist() == source.obs_names.tolist() != run.calls.index.tolist()
    expected = call_columns(run).loc[found.obs_names]
    for name in expected:
        if expected[name].dtype == "category":
            assert (
                found.obs[name].astype(object).fillna("").tolist() == expected[name].astype(object).fillna("").tolist()
            )
        else:
            np.testing.assert_array_equal(found.obs[name].to_numpy(), expected[name].to_numpy(), err_msg=name)
    pd.testing.assert_frame_equal(found.obs[source.obs.columns], source.obs)
    assert (found.X != source.X).nnz == 0
    assert (found.layers["counts"] != source.layers["counts"]).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_umap"], source.obsm["X_umap"])


def test_columns_are_of_kinds_that_every_reader_knows(run: Run, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    export_run(run, to="h5ad", out=out, query=query)
    with h5py.File(out) as file:
        for name in file["obs"].attrs["column-order"]:
            if not name.startswith("celljury_"):
                continue
            column = file["obs"][name]
            kind = column.attrs["encoding-type"]
            assert kind in ("categorical", "array"), name
            if kind == "categorical":
                codes, categories = column["codes"][:], column["categories"].asstr()[:]
                assert len(set(categories)) == len(categories), name
                # No category without a cell, and none without a name but the empty list of reasons.
                assert set(codes[codes >= 0]) == set(range(len(categories))), name
            else:
                assert column.dtype.kind in "fib", name
    obs = ad.read_h5ad(out).obs
    assert obs["celljury_needs_review"].dtype == bool
    assert obs["celljury_term"].isna().sum() == run.calls["term"].isna().sum() > 0


def test_provenance_is_plain_texts_and_numbers(run: Run, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    export_run(run, to="h5ad", out=out, query=query)
    said = ad.read_h5ad(out).uns["celljury"]
    assert {type(value) for value in said.values()} <= {str, int, float}
    assert said["promise"] == run.record["promise"]
    assert said["alpha"] == 0.05
    assert said["calls"] == "calls"
    assert said["n_cells"] == 400
    assert said["ontology"] == "Cell Ontology 2026-03-26"
    assert said["members"] == ", ".join(member["name"] for member in run.record["members"])


def test_final_columns_stand_beside_the_calls(reviewed: Run, query: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    made = export_run(reviewed, to="h5ad", out=out, query=query)
    assert made.calls == "final"
    obs = ad.read_h5ad(out).obs
    final = pd.read_parquet(reviewed.folder / "final.parquet").set_index("cell_id").loc[obs.index]
    for name in ("term", "label", "status", "source", "reviewers"):
        written = obs[f"celljury_final_{name}"].astype(object).fillna("").tolist()
        assert written == final[name].astype(object).fillna("").tolist()
    assert (obs["celljury_term"].astype(object) != obs["celljury_final_term"].astype(object)).any()
    calls = export_run(reviewed, to="h5ad", out=tmp_path / "calls.h5ad", query=query, calls="calls")
    assert calls.calls == "calls"
    assert "celljury_final_term" not in ad.read_h5ad(tmp_path / "calls.h5ad").obs


def test_older_anndata_reads_it_too(reviewed: Run, query: Path, tmp_path: Path, validators: Validators) -> None:
    out = tmp_path / "out.h5ad"
    export_run(reviewed, to="h5ad", out=out, query=query)
    code = (
        "import sys, json, anndata; adata = anndata.read_h5ad(sys.argv[1])\n"
        "assert anndata.__version__.startswith('0.11.'), anndata.__version__\n"
        "print(json.dumps({'dtypes': {n: str(t) for n, t in adata.obs.dtypes.items()}, 'calls': adata.uns['celljury']['calls'],"
        " 'status': adata.obs['celljury_status'].astype(str).tolist()}))"
    )
    told = json.loads(validators.run(code, out))
    obs = ad.read_h5ad(out).obs
    assert told == {
        "dtypes": {name: str(dtype) for name, dtype in obs.dtypes.items()}, "calls": "final",
        "status": obs["celljury_status"].astype(str).tolist(),
    }  # fmt: skip


@pytest.fixture
def read_in_r(root: Path) -> Callable[[Path], list[list[str]]]:
    """What R over rhdf5 finds in an h5ad, as zellkonverter's R reader reads it."""
    rscript = shutil.which("Rscript")
    if (
        rscript is None
        or subprocess.run([rscript, "-e", "library(rhdf5)"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs Rscript with rhdf5 (Debian: r-base-core r-bioc-rhdf5)")

    def read(path: Path) -> list[list[str]]:
        script = root / "tests" / "export" / "read_h5ad.R"
        done = subprocess.run([rscript, str(script), str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    return read


def test_r_reads_factors_logicals_numbers_and_names(
    run: Run, query: Path, tmp_path: Path, read_in_r: Callable[[Path], list[list[str]]]
) -> None:
    # A member that never voted has a column without a single category.
    folder = copied(run, tmp_path / "run").folder
    table = pq.read_table(folder / "calls.parquet")
    silent = pa.array([None] * len(table), pa.dictionary(pa.int32(), pa.string()))
    table = table.set_column(table.schema.get_field_index("vote_scanvi"), "vote_scanvi", silent)
    pq.write_table(table, folder / "calls.parquet")
    out = tmp_path / "out.h5ad"
    export_run(Run.open(folder), to="h5ad", out=out, query=query)
    found, adata = read_in_r(out), ad.read_h5ad(out)
    obs = adata.obs
    assert ["dim", "400", str(len(obs.columns))] in found
    kinds = {row[1]: (row[2], int(row[3])) for row in found if row[0] == "column"}
    assert list(kinds) == obs.columns.tolist()
    expected = {"category": "factor", "bool": "logical", "float32": "numeric", "int32": "integer"}
    for name in obs.columns:
        if name.startswith("celljury_"):
            assert kinds[name] == (expected[str(obs[name].dtype)], int(obs[name].isna().sum())), name
    assert kinds["celljury_vote_scanvi"] == ("factor", 400)
    first = obs.iloc[0]
    assert ["first", obs.index[0]] in found
    values = {row[1]: row[2] for row in found if row[0] == "value"}
    assert values["celljury_term"] == (first["celljury_term"] if isinstance(first["celljury_term"], str) else "NA")
    assert values["celljury_status"] == first["celljury_status"]
    assert float(values["celljury_agreement"]) == pytest.approx(first["celljury_agreement"], rel=1e-5)
    assert values["celljury_needs_review"].strip() == str(first["celljury_needs_review"]).upper()
    assert int(values["celljury_n_votes"]) == first["celljury_n_votes"]
    status = {row[1]: int(row[2]) for row in found if row[0] == "status"}
    assert status == obs["celljury_status"].value_counts().to_dict()
    assert ["X", "400x30", str(int(adata.X.sum()))] in found
    assert ["uns", "calls", "calls"] in found
    assert ["uns", "n_cells", "400"] in found


def test_columns_of_an_earlier_run_go_and_what_was_voted_on_stays(run: Run, query: Path, tmp_path: Path) -> None:
    adata = ad.read_h5ad(query)
    adata.obs["celljury_term"] = pd.Categorical(["CL:0000000"] * len(adata))
    adata.obs["celljury_vote_gone"] = 1.0
    adata.obs["celljury_mine"] = 2.0
    adata.write_h5ad(query)
    record = json.loads((run.folder / "run.json").read_text())
    record["members"].append({"name": "celljury_mine", "absent": None})
    folder = copied(run, tmp_path / "run").folder
    (folder / "run.json").write_text(json.dumps(record))
    export_run(Run.open(folder), to="h5ad", out=tmp_path / "out.h5ad", query=query)
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert "celljury_vote_gone" not in obs
    assert (obs["celljury_mine"] == 2.0).all()
    assert obs["celljury_term"].nunique() > 1
    assert obs.columns.is_unique


def test_an_export_of_an_export_is_the_same(run: Run, query: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    export_run(run, to="h5ad", out=first, query=query)
    export_run(run, to="h5ad", out=second, query=first)
    pd.testing.assert_frame_equal(ad.read_h5ad(first).obs, ad.read_h5ad(second).obs)


def test_a_slash_in_a_members_name_is_no_folder(run: Run, query: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path / "run").folder
    table = pq.read_table(folder / "calls.parquet")
    names = [
        name.replace("vote_scanvi", "vote_sc/anvi").replace("vote_logistic", "vote_sc_anvi")
        for name in table.schema.names
    ]
    pq.write_table(table.rename_columns(names), folder / "calls.parquet")
    other = Run.open(folder)
    found = RunColumns.open(other).obs_names()
    assert found["celljury_vote_sc_anvi"][1] == "vote_sc_anvi"
    assert found["celljury_vote_sc_anvi_"][1] == "vote_sc/anvi"
    export_run(other, to="h5ad", out=tmp_path / "out.h5ad", query=query)
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    expected = run.calls["vote_scanvi"].astype(object).fillna("").loc[obs.index]
    assert obs["celljury_vote_sc_anvi_"].astype(object).fillna("").tolist() == expected.tolist()


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_query_becomes_an_h5ad(run: Run, query: Path, tmp_path: Path, version: int) -> None:
    source = ad.read_h5ad(query)
    source.raw = source.copy()
    source.uns["nested"] = {"a": np.arange(3), "b": "text"}
    with ad.settings.override(zarr_write_format=version), warnings.catch_warnings():
        # anndata and zarr warn of what their next versions will do.
        warnings.filterwarnings("ignore", message=".*[zZ]arr.*", category=UserWarning)
        source.write_zarr(tmp_path / "query.zarr")
    out = tmp_path / "out.h5ad"
    export_run(run, to="h5ad", out=out, query=tmp_path / "query.zarr")
    found = ad.read_h5ad(out)
    pd.testing.assert_frame_equal(found.obs[source.obs.columns], source.obs)
    assert found.obs["celljury_status"].tolist() == run.calls["status"].loc[found.obs_names].tolist()
    assert (found.X != source.X).nnz == 0
    assert (found.raw.X != source.X).nnz == 0
    assert found.uns["nested"]["b"] == "text"


def test_an_old_encoding_of_obs_is_written_anew(run: Run, query: Path, tmp_path: Path) -> None:
    """As anndata 0.7 wrote it: codes as columns, their names in a folder of categories."""
    source = ad.read_h5ad(query).obs
    with h5py.File(query, "r+") as file:
        del file["obs"]
        obs = file.create_group("obs")
        obs["_index"] = source.index.to_numpy(dtype=object)
        obs["n_umi"] = source["n_umi"].to_numpy()
        obs["sample"] = source["sample"].cat.codes.to_numpy()
        obs["__categories/sample"] = source["sample"].cat.categories.to_numpy(dtype=object)
        obs["sample"].attrs["categories"] = obs["__categories/sample"].ref
        obs.attrs["_index"], obs.attrs["column-order"] = "_index", ["n_umi", "sample"]
        obs.attrs["encoding-type"], obs.attrs["encoding-version"] = "dataframe", "0.1.0"
        for name, kind in (
            ("_index", "string-array"),
            ("n_umi", "array"),
            ("sample", "array"),
            ("__categories/sample", "string-array"),
        ):
            obs[name].attrs["encoding-type"], obs[name].attrs["encoding-version"] = kind, "0.2.0"
    export_run(run, to="h5ad", out=tmp_path / "out.h5ad", query=query)
    with h5py.File(tmp_path / "out.h5ad") as file:
        assert file["obs"].attrs["encoding-version"] == "0.2.0"
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert obs["sample"].tolist() == source["sample"].tolist()
    assert obs["celljury_status"].tolist() == run.calls["status"].loc[obs.index].tolist()


def test_the_query_that_the_run_names_is_found(
    run: Run, make_query: MakeQuery, names: NDArray[np.str_], tmp_path: Path
) -> None:
    path = tmp_path / "named.h5ad"
    make_query(names, ["A", "B"]).write_h5ad(path)
    folder = copied(run, tmp_path / "run").folder
    record = json.loads((folder / "run.json").read_text())
    record["query"] |= {"file": str(path), "sha256": sha256(path)}
    (folder / "run.json").write_text(json.dumps(record))
    assert export_run(Run.open(folder), to="h5ad", out=tmp_path / "out.h5ad").query == path
    # Where it is gone, the run's own copy of it serves.
    shutil.move(tmp_path / "out.h5ad", folder / "query.celljury.h5ad")
    path.unlink()
    made = export_run(Run.open(folder), to="h5ad", out=tmp_path / "out.h5ad")
    assert made.query == folder / "query.celljury.h5ad"


def test_nothing_is_left_where_writing_fails(
    run: Run, query: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("celljury.export.h5ad.write_provenance", full)
    with pytest.raises(OSError, match=r"cannot write to .*out\.h5ad: No space left"):
        export_run(run, to="h5ad", out=tmp_path / "out.h5ad", query=query)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["query.h5ad"]


@pytest.mark.parametrize(
    ("column", "rows", "expected"),
    [
        pytest.param(pd.Series([True, False]), [1, -1, 0], [False, None, True], id="boolean_with_a_gap_is_nullable"),
        pytest.param(pd.Series([True, False]), [1, 0], [False, True], id="boolean_stays_one"),
        pytest.param(pd.Series([3, 4]), [1, -1], [4.0, None], id="whole_number_with_a_gap_is_float"),
        pytest.param(pd.Series(["b", None, "a"]), [0, 1, 2, -1], ["b", None, "a", None], id="text_is_categorical"),
        pytest.param(pd.Series([None, None], dtype=object), [0, 1], [None, None], id="nothing_at_all_is_nan"),
    ],
)
def test_values_are_of_kinds_that_files_hold(column: pd.Series, rows: list[int], expected: list[object]) -> None:
    values = plain_values(column, np.array(rows))
    assert isinstance(values, pd.Categorical) or values.dtype.kind in "fib"
    assert [None if pd.isna(value) else value for value in values] == expected


def test_columns_say_which_calls_they_are_of(run: Run) -> None:
    columns = RunColumns.open(run)
    assert columns.path == run.calls_path
    assert replace(columns, source="final").path == run.folder / "final.parquet"
