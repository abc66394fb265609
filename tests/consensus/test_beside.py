"""Columns beside a run's cells: matched by name, a million of them without becoming objects, also of old files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from celljury.beside import cells_file, columns_beside, run_cells
from celljury.errors import CellsError, UnreadableFileError
from celljury.run import Run

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["c1", "c2", "c3"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of three cells."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"query": {"file": "there.h5ad"}}))
    pq.write_table(
        pa.table({"cell_id": NAMES, "term": pa.array([None] * 3, pa.string())}), tmp_path / "run" / "calls.parquet"
    )
    return Run.open(tmp_path / "run")


def h5ad(path: Path, names: list[str]) -> Path:
    obs = pd.DataFrame({"type": pd.Categorical(["x", "y", "x"]), "n": [1, 2, 3]}, index=names)
    ad.AnnData(np.zeros((3, 1), np.float32), obs=obs).write_h5ad(path)
    return path


def test_names_of_cells_are_those_of_the_calls(run: Run) -> None:
    assert run_cells(run).to_pylist() == NAMES


@pytest.mark.parametrize("names", [NAMES, ["c3", "c1", "c2"]], ids=["in_order", "shuffled"])
def test_rows_follow_the_run(run: Run, tmp_path: Path, names: list[str]) -> None:
    found = columns_beside(run, h5ad(tmp_path / "a.h5ad", names), {"n": "--by", "type": "--donor"})
    own = dict(zip(names, [1, 2, 3], strict=True))
    assert found["n"].tolist() == [own[name] for name in NAMES]
    assert found.columns.tolist() == ["n", "type"]
    assert found.index.tolist() == NAMES


@pytest.mark.filterwarnings("ignore:.*:anndata._warnings.OldFormatWarning")
def test_columns_as_anndata_wrote_them_before_0_8_are_read(run: Run, tmp_path: Path) -> None:
    path = h5ad(tmp_path / "old.h5ad", NAMES)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        del obs["type"]
        obs.create_dataset("__categories/type", data=["x", "y"], dtype=h5py.string_dtype())
        obs["type"] = np.array([0, 1, 0], np.int8)
        obs["type"].attrs["categories"] = obs["__categories/type"].ref
        obs.attrs["encoding-version"] = "0.1.0"
    assert columns_beside(run, path, {"type": "--truth"})["type"].tolist() == ["x", "y", "x"]


def test_a_file_without_cells_is_named(run: Run, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5ad", "w") as file:
        file["X"] = [1]
    with pytest.raises(UnreadableFileError, match=r"x\.h5ad cannot be read: no obs in it"):
        columns_beside(run, tmp_path / "x.h5ad", {"n": "--by"})


def test_a_cell_without_a_name_is_none_of_the_run(run: Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"cell_id": ["c1", None, "c3"], "n": [1, 2, 3]})
    frame.to_parquet(tmp_path / "n.parquet", index=False)
    with pytest.raises(CellsError, match=r"1 of the run's are not in it \(c2"):
        columns_beside(run, tmp_path / "n.parquet", {"n": "--by"})


def test_the_query_of_the_run_is_looked_for_first(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableFileError, match=r"cells and their donors with --query; the run was made from there\.h5ad"
    ):
        cells_file(run, None, holding="their donors")
    own = h5ad(run.folder / "query.celljury.h5ad", NAMES)
    assert cells_file(run, None, holding="their donors") == own
    assert cells_file(run, tmp_path / "other.tsv", holding="their donors") == tmp_path / "other.tsv"
