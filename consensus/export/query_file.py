"""The file that an export goes with: found, told what it is, and its cells set against the run's by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.beside import ANNOTATED, columns_beside
from celljury.errors import InputError, UnreadableFileError
from celljury.origin import query_file
from celljury.stores import open_store, reading, rna_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.export.run_columns import RunColumns
    from celljury.run import Run


@dataclass(frozen=True, slots=True)
class QueryFile:
    """A file with a run's cells.

    Attributes
    ----------
    path
        An h5ad, h5mu or zarr.
    form
        ``hdf5`` or ``zarr``.
    multimodal
        Whether it is a MuData; its cells are those of the modality ``rna`` then.
    rows
        Position in the run of each cell of the file, int64 (n_cells,).
    """

    path: Path
    form: Literal["hdf5", "zarr"]
    multimodal: bool
    rows: NDArray[np.int64]


def find_query(columns: RunColumns, *, named: Path | None, whole: bool = False) -> QueryFile:
    """Find the file with a run's cells: the one that is named, else the run's query, else its annotated copy.

    Parameters
    ----------
    named
        What ``--query`` names.
    whole
        Whether all modalities are needed: the annotated copy holds ``rna`` alone, and is passed over.

    Raises
    ------
    UnreadableFileError
        If there is no such file, or it cannot be read.
    InputError
        If it holds no cells with counts, as a table of labels.
    CellsError
        If its cells are not the run's.
    """
    run = columns.run
    path = named or _found(run, whole=whole)
    if not _is_store(path):
        whose = f"{path}" if named else f"{run.folder} was made from {path}, which"
        message = (
            f"{whose} is no h5ad, h5mu or zarr, so there are no counts to export calls with. Name a file of these cells with"
            " --query, or write the calls alone with --to cas."
        )
        raise InputError(message)
    columns_beside(run, path, {})
    store = open_store(path)
    try:
        multimodal = "mod" in store
        with reading(str(path)):
            names = obs_index(rna_of(store, str(path)), str(path))
    finally:
        if hasattr(store, "close"):
            store.close()
    return QueryFile(path, "zarr" if path.is_dir() else "hdf5", multimodal, _rows(columns, names))


def _found(run: Run, *, whole: bool) -> Path:
    said = run.record["query"].get("file")
    if (path := query_file(run)) is not None:
        return path
    copy = run.folder / ANNOTATED
    if copy.is_file() and not whole:
        return copy
    if said and Path(said).exists():
        why = f"{said}, which it was made from, has changed since"
    elif said and run.record["query"].get("sha256"):
        why = f"{said}, which it was made from, is gone"
    else:
        why = "it was made from an object in memory"
    message = f"{run.folder}: the query is not found: {why}. Name a file that holds these cells with --query."
    raise UnreadableFileError(message)


def _is_store(path: Path) -> bool:
    # What is not there gets the message of the opener.
    return path.suffix in (".h5ad", ".h5mu", ".zarr") or not path.exists()


def obs_index(group: Any, where: str) -> NDArray[Any]:
    """Return the names of the cells of an AnnData on disk, object (n_cells,); no other column is read."""
    import pandas as pd
    from anndata.io import read_elem

    if "obs" not in group or "_index" not in group["obs"].attrs:
        message = (
            f"{where} holds no table of cells as anndata 0.7 or later writes it. Read it with anndata.read_h5ad and write it"
            " again."
        )
        raise UnreadableFileError(message)
    obs = group["obs"]
    return pd.Index(read_elem(obs[str(obs.attrs["_index"])])).astype(str).to_numpy(dtype=object)


def _rows(columns: RunColumns, names: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position in the run of each cell of a file; `columns_beside` has made sure that it has one."""
    import pandas as pd

    if np.array_equal(names, columns.cell_ids):
        return np.arange(columns.n_cells, dtype=np.int64)
    return np.asarray(pd.Index(columns.cell_ids).get_indexer(pd.Index(names)), np.int64)
