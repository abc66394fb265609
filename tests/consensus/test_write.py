"""Calls beside a query's own columns: nothing else changes, nothing is lost, no half file stands under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from celljury.api import vote
from celljury.errors import OutputError
from celljury.write import PREFIX, call_columns, write_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celljury.run import Run


@pytest.fixture(scope="module")
def rich(toy_adata: Any) -> ad.AnnData:
    """12 toy cells with something in every place an AnnData has."""
    adata = toy_adata(n_cells=12, n_genes=20)
    adata.raw = adata.copy()
    adata.layers["spliced"] = adata.X * 2
    adata.obsm["X_umap"] = np.arange(24.0).reshape(12, 2)
    adata.varm["loadings"] = np.ones((20, 3))
    adata.obsp["distances"] = adata.X[:, :12].copy()
    adata.uns["notes"] = {"by": "a curator", "palette": np.array(["#fff", "#000"])}
    adata.obs["stage"] = pd.Categorical(["late", "early"] * 6, categories=["early", "mid", "late"], ordered=True)
    adata.obs["n"] = pd.array([1, None] * 6, dtype="Int64")
    adata.obs["kept"] = pd.array([True, None, False] * 4, dtype="boolean")
    adata.obs["score"] = np.linspace(0, 1, 12)
    adata.obs["celljury_term"] = "of an earlier run"
    adata.obs["celljury_vote_gone"] = "of an earlier run"
    adata.obs.index.name = "barcode"
    return adata


@pytest.fixture(scope="module")
def run(rich: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Calls for those cells; the second cell has none."""
    frame = pd.DataFrame({"cell_id": rich.obs_names, "tool": rich.obs["cell_type"].astype(str).to_numpy()})
    frame.loc[1, "tool"] = ""
    return vote(frame, ["tool"], out=tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def query(rich: ad.AnnData, tmp_path: Path) -> Path:
    rich.write_h5ad(tmp_path / "query.h5ad")
    return tmp_path / "query.h5ad"


def same(left: ad.AnnData, right: ad.AnnData) -> None:
    np.testing.assert_array_equal(left.X.toarray(), right.X.toarray())
    np.testing.assert_array_equal(left.layers["spliced"].toarray(), right.layers["spliced"].toarray())
    np.testing.assert_array_equal(left.raw.X.toarray(), right.raw.X.toarray())
    np.testing.assert_array_equal(left.obsm["X_umap"], right.obsm["X_umap"])
    np.testing.assert_array_equal(left.varm["loadings"], right.varm["loadings"])
    np.testing.assert_array_equal(left.obsp["distances"].toarray(), right.obsp["distances"].toarray())
    assert left.uns["notes"]["by"] == right.uns["notes"]["by"]
    assert left.uns["notes"]["palette"].tolist() == right.uns["notes"]["palette"].tolist()
    pd.testing.assert_frame_equal(left.var, right.var)
    own = [name for name in left.obs.columns if not name.startswith(PREFIX)]
    assert own == [name for name in right.obs.columns if not name.startswith(PREFIX)]
    pd.testing.assert_frame_equal(left.obs[own], right.obs[own])
    assert right.obs.index.name == "barcode"
    assert right.obs["stage"].cat.ordered
    assert right.obs["stage"].cat.categories.tolist() == ["early", "mid", "late"]


SOURCES = [
    pytest.param(lambda path: path, id="h5ad"),
    pytest.param(str, id="h5ad_named_by_text"),
    pytest.param(lambda path: path.rename(path.with_suffix(".h5")), id="h5ad_of_another_name"),
    pytest.param(ad.read_h5ad, id="anndata"),
    pytest.param(lambda path: ad.read_h5ad(path, backed="r"), id="anndata_on_disk"),
]


@pytest.mark.parametrize("source_of", SOURCES)
def test_everything_stays_and_only_our_columns_are_added(
    source_of: Callable[[Path], Any], rich: ad.AnnData, run: Run, query: Path
) -> None:
    written = ad.read_h5ad(write_h5ad(run, source_of(query)))
    same(ad.read_h5ad(next(query.parent.glob("query.h5*"))), written)
    assert "celljury_vote_gone" not in written.obs
    added = written.obs[[name for name in written.obs.columns if name.startswith(PREFIX)]]
    assert list(added.columns) == [PREFIX + name for name in run.calls.columns]
    assert added["celljury_term"].astype(object).where(added["celljury_term"].notna(), None).tolist() == (
        run.calls["term"].astype(object).where(run.calls["term"].notna(), None).tolist()
    )
    assert added["celljury_term"].astype(object)["cell0"] == "CL:0000236"
    assert added["celljury_agreement"].dtype == np.float32
    assert added["celljury_needs_review"].dtype == bool


@pytest.mark.parametrize("source_of", SOURCES)
def test_the_input_stays_byte_for_byte(
    source_of: Callable[[Path], Any], run: Run, query: Path, sha256_of: Callable[[Path], str]
) -> None:
    before = sha256_of(query)
    write_h5ad(run, source_of(query))
    assert sha256_of(next(query.parent.glob("query.h5*"))) == before


def test_the_caller_s_object_stays_as_it_was(rich: ad.AnnData, run: Run) -> None:
    own = rich.copy()
    write_h5ad(run, own)
    assert list(own.obs.columns) == list(rich.obs.columns)
    assert (own.obs["celljury_term"] == "of an earlier run").all()
    same(rich, own)


def test_asking_for_the_columns_leaves_the_calls_as_they_were(run: Run) -> None:
    before = run.calls.copy()
    columns = call_columns(run)
    assert columns["celljury_p_seen"].dtype == np.float32
    pd.testing.assert_frame_equal(run.calls, before)


def test_all_but_obs_is_a_copy_of_the_file(run: Run, query: Path) -> None:
    # A dataset that no AnnData knows of: only a copy of the file keeps it.
    with h5py.File(query, "r+") as file:
        file["extra"] = np.arange(3)
    with h5py.File(write_h5ad(run, query)) as file:
        assert file["extra"][:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["zarr", "h5mu"])
def test_other_files_become_an_h5ad_of_their_cells(kind: str, rich: ad.AnnData, run: Run, tmp_path: Path) -> None:
    import warnings

    path = tmp_path / f"query.{kind}"
    if kind == "zarr":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(zarr|Zarr|V3).*")
            rich.write_zarr(path)
    else:
        with h5py.File(path, "w") as file:
            ad.io.write_elem(file, "mod/rna", rich)
    written = ad.read_h5ad(write_h5ad(run, path))
    assert written.obs["celljury_n_votes"].tolist() == [1, 0] + [1] * 10
    assert written.obs_names.tolist() == rich.obs_names.tolist()
    np.testing.assert_array_equal(written.layers["spliced"].toarray(), rich.layers["spliced"].toarray())


@pytest.mark.parametrize(
    "error", [pytest.param(KeyboardInterrupt, id="interrupt"), pytest.param(OSError, id="full_disk")]
)
@pytest.mark.parametrize("earlier", [pytest.param(False, id="none_before"), pytest.param(True, id="one_before")])
def test_an_interrupted_write_leaves_no_half_file(
    *, error: type[BaseException], earlier: bool, run: Run, query: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = run.folder / "query.celljury.h5ad"
    to.unlink(missing_ok=True)
    if earlier:
        to.write_bytes(b"the one before")

    def stopped(*_: Any) -> None:
        text = "No space left on device"
        raise error(text)

    monkeypatch.setattr("celljury.write._replace_obs", stopped)
    with pytest.raises(OutputError if error is OSError else error, match="No space left"):
        write_h5ad(run, query)
    assert to.exists() == earlier
    assert not earlier or to.read_bytes() == b"the one before"
    assert not list(run.folder.glob("*.partial"))
    to.unlink(missing_ok=True)


def test_what_an_h5ad_cannot_hold_is_named(rich: ad.AnnData, run: Run) -> None:
    odd = rich.copy()
    odd.uns["model"] = object()
    with pytest.raises(OutputError, match=r"holds what an h5ad cannot .*'model'.*--no-h5ad") as caught:
        write_h5ad(run, odd)
    assert str(caught.value).count("cannot write") == 1
