"""The MuData with calls: every modality stays, and mudata's own rules find the columns in order."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest

from celljury.errors import InputError
from celljury.export.make import export_run
from celljury.provenance import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeQuery
    from numpy.typing import NDArray

    from celljury.run import Run


@pytest.fixture(autouse=True)
def coming_rules() -> Iterator[None]:
    """The rules that mudata 0.4 will have; those of 0.3 warn whenever they are used."""
    with mudata.set_options(pull_on_update=False):
        yield


@pytest.fixture
def cells(make_query: MakeQuery, names: NDArray[np.str_]) -> mudata.MuData:
    """RNA of the run's cells; protein of half of them, in another order, and of two more."""
    rna = make_query(names, [f"GENE{i}" for i in range(30)])
    some = np.array([*names[::-2], "stray 1", "stray 2"])
    protein = ad.AnnData(
        np.ones((len(some), 2), np.float32), obs=pd.DataFrame({"quality": np.arange(len(some)) / 7}, index=some.astype(object)),
        var=pd.DataFrame(index=["CD3", "CD19"]),
    )  # fmt: skip
    made = mudata.MuData({"rna": rna, "protein": protein})
    made.obs["plate"] = pd.Categorical(["one"] * made.n_obs)
    return made


@pytest.mark.parametrize("form", ["h5mu", "zarr"])
def test_calls_stand_in_rna_and_with_its_prefix_in_the_whole(
    run: Run, cells: mudata.MuData, tmp_path: Path, form: str
) -> None:
    query, out = tmp_path / f"query.{form}", tmp_path / "out.h5mu"
    with ad.settings.override(zarr_write_format=3), warnings.catch_warnings():
        # anndata and zarr warn of what their next versions will do.
        warnings.filterwarnings("ignore", message=".*[zZ]arr.*", category=UserWarning)
        (cells.write_h5mu if form == "h5mu" else cells.write_zarr)(query)
    before = sha256(query)
    made = export_run(run, to="h5mu", out=out, query=query)
    assert sha256(query) == before
    assert made.n_cells == 400
    found = mudata.read_h5mu(out)
    assert list(found.mod) == ["rna", "protein"]
    pd.testing.assert_frame_equal(found["protein"].obs, cells["protein"].obs)
    np.testing.assert_array_equal(found["protein"].X, cells["protein"].X)
    assert (found["rna"].X != cells["rna"].X).nnz == 0
    assert found.obs["plate"].tolist() == ["one"] * 402
    # In rna as in an h5ad.
    assert found["rna"].obs["celljury_status"].tolist() == run.calls["status"].loc[found["rna"].obs_names].tolist()
    # In the whole: the same cell by cell, and missing where rna has no such cell.
    whole = found.obs
    strays = ~whole.index.isin(found["rna"].obs_names)
    assert strays.sum() == 2
    for name in ("term", "status", "reasons"):
        own = found["rna"].obs[f"celljury_{name}"].astype(object).fillna("")
        assert (
            whole[f"rna:celljury_{name}"].astype(object).fillna("")[~strays].tolist()
            == own[whole.index[~strays]].tolist()
        )
        assert whole[f"rna:celljury_{name}"][strays].isna().all()
    np.testing.assert_array_equal(
        whole["rna:celljury_agreement"][~strays], found["rna"].obs["celljury_agreement"][whole.index[~strays]]
    )
    assert np.isnan(whole["rna:celljury_agreement"][strays]).all()
    assert str(whole["rna:celljury_needs_review"].dtype) == "boolean"
    assert set(whole["rna:celljury_needs_review"][~strays]) == {True, False}
    assert whole["rna:celljury_needs_review"][strays].isna().all()
    assert found.uns["celljury"]["modality"] == "rna"


def test_where_all_cells_are_in_rna_columns_have_their_own_kinds(
    run: Run, make_query: MakeQuery, names: NDArray[np.str_], tmp_path: Path
) -> None:
    mudata.MuData({"rna": make_query(names, ["A"]), "other": make_query(names[:9], ["B"])}).write_h5mu(
        tmp_path / "q.h5mu"
    )
    export_run(run, to="h5mu", out=tmp_path / "out.h5mu", query=tmp_path / "q.h5mu")
    found = mudata.read_h5mu(tmp_path / "out.h5mu")
    with h5py.File(tmp_path / "out.h5mu") as file:
        for name, dtype in found["rna"].obs.dtypes.items():
            if str(name).startswith("celljury_"):
                column = file["obs"][f"rna:{name}"]
                assert column.attrs["encoding-type"] == ("categorical" if dtype == "category" else "array")
    assert found.obs["rna:celljury_needs_review"].dtype == bool


def test_pulling_anew_changes_nothing_and_repeats_no_column(run: Run, cells: mudata.MuData, tmp_path: Path) -> None:
    cells.write_h5mu(tmp_path / "query.h5mu")
    export_run(run, to="h5mu", out=tmp_path / "out.h5mu", query=tmp_path / "query.h5mu")
    found = mudata.read_h5mu(tmp_path / "out.h5mu")
    before = found.obs.copy()
    found.update()
    found.pull_obs(mods=["rna"])
    assert found.obs.columns.is_unique
    ours = [name for name in before if name.startswith("rna:celljury_")]
    assert ours == [f"rna:{name}" for name in found["rna"].obs if name.startswith("celljury_")]
    for name in ours:
        pulled, written = found.obs[name], before[name]
        assert pulled.astype(object).where(pulled.notna(), None).tolist() == (
            written.astype(object).where(written.notna(), None).tolist()
        )


def test_it_is_written_and_read_again_as_mudata_does(run: Run, cells: mudata.MuData, tmp_path: Path) -> None:
    cells.write_h5mu(tmp_path / "query.h5mu")
    export_run(run, to="h5mu", out=tmp_path / "out.h5mu", query=tmp_path / "query.h5mu")
    first = mudata.read_h5mu(tmp_path / "out.h5mu")
    first.write_h5mu(tmp_path / "again.h5mu")
    again = mudata.read_h5mu(tmp_path / "again.h5mu")
    pd.testing.assert_frame_equal(again["rna"].obs, first["rna"].obs)
    pd.testing.assert_frame_equal(again.obs, first.obs)
    # An export of an export is the same: earlier columns are replaced in both places.
    export_run(run, to="h5mu", out=tmp_path / "third.h5mu", query=tmp_path / "again.h5mu")
    pd.testing.assert_frame_equal(mudata.read_h5mu(tmp_path / "third.h5mu").obs, first.obs)


def test_rna_of_a_mudata_is_exported_as_h5ad(run: Run, cells: mudata.MuData, tmp_path: Path) -> None:
    cells.write_h5mu(tmp_path / "query.h5mu")
    export_run(run, to="h5ad", out=tmp_path / "out.h5ad", query=tmp_path / "query.h5mu")
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert (found.X != cells["rna"].X).nnz == 0
    assert found.obs["celljury_status"].tolist() == run.calls["status"].loc[found.obs_names].tolist()


def test_an_h5ad_is_no_mudata(run: Run, query: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"query\.h5ad is no MuData.*--to h5ad.*--query"):
        export_run(run, to="h5mu", out=tmp_path / "out.h5mu", query=query)
    assert not (tmp_path / "out.h5mu").exists()
