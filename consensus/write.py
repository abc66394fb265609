"""Calls into an h5ad beside the query's own: everything it held stays, columns are added."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from celljury.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from celljury.run import Run

PREFIX = "celljury_"


def write_h5ad(run: Run, query: Any) -> Path:
    """Write ``query.celljury.h5ad`` into the run's folder: the query with the columns of its calls, and return its path.

    An h5ad is copied byte for byte and only its ``obs`` is written anew; other inputs are written as anndata writes
    them. The caller's object and file stay as they are.
    """
    import anndata as ad

    to = run.folder / "query.celljury.h5ad"
    partial = to.with_name(to.name + ".partial")
    columns = call_columns(run)
    path = str(query)
    try:
        if path.endswith(".h5ad") and not hasattr(query, "obs"):
            shutil.copyfile(path, partial)
            _replace_obs(partial, columns)
        else:
            adata = _rna(query)
            ad.AnnData.write_h5ad(_with_columns(adata, columns), partial)
    except OSError as error:
        raise OutputError.for_path(to, error.strerror or str(error)) from error
    partial.replace(to)
    return to


def call_columns(run: Run) -> pd.DataFrame:
    """Return the calls as columns for ``obs``, named with the prefix ``celljury_``."""
    calls = run.calls
    calls["p_seen"] = calls["p_seen"].astype("float32")
    return calls.add_prefix(PREFIX)


def _rna(query: Any) -> Any:
    """Return the query's AnnData, read into memory where it is a file."""
    import anndata as ad

    if hasattr(query, "mod"):
        return query.mod["rna"]
    if hasattr(query, "obs"):
        return query
    path = str(query)
    if path.endswith(".h5mu"):
        import h5py

        with h5py.File(path, "r") as file:
            return ad.io.read_elem(file["mod"]["rna"])
    return ad.io.read_zarr(path)


def _with_columns(adata: Any, columns: pd.DataFrame) -> Any:
    copy = adata.copy()
    copy.obs = _joined(copy.obs, columns)
    return copy


def _joined(obs: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    kept = obs.drop(columns=[name for name in obs.columns if str(name).startswith(PREFIX)])
    added = columns.set_axis(kept.index)
    return kept.join(added)


def _replace_obs(path: Path, columns: pd.DataFrame) -> None:
    import h5py
    from anndata.io import read_elem, write_elem

    with h5py.File(path, "r+") as file:
        obs = _joined(read_elem(file["obs"]), columns)
        del file["obs"]
        write_elem(file, "obs", obs)
