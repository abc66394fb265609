"""Open h5ad, h5mu, zarr, AnnData or MuData as row blocks of raw counts; refuse what is not counts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import (
    BatchError,
    CellsError,
    CountsError,
    GenesError,
    InputError,
    MissingColumnError,
    UnreadableFileError,
)
from celljury.matrices import as_csr, stored_matrix, why_not_counts
from celljury.proteins import ProteinTable, protein_table
from celljury.provenance import sha256
from celljury.stores import open_store, reading, rna_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

# Rows looked at, spread over the file, to tell counts from normalised values before any work; every row that is read
# later is checked again.
ROWS_PROBED = 1024


@dataclass(frozen=True, slots=True)
class Cells:
    """An opened table of cells: names and annotations in memory, counts read by rows.

    Attributes
    ----------
    where
        The file's path, or ``AnnData``.
    path
        The file, or None for an object in memory.
    obs
        Annotations of the cells (n_cells rows).
    cell_ids
        Unique names (n_cells,).
    var
        Annotations of the genes that the counts have (n_genes rows).
    counts_in
        Where raw counts were found: ``X``, ``layers['counts']`` or ``raw.X``.
    matrix
        What holds the counts: array, sparse matrix, or a dataset on disk.
    proteins
        Surface proteins of the cells; None where none were asked for.
    """

    where: str
    path: Path | None
    obs: pd.DataFrame
    cell_ids: NDArray[np.str_]
    var: pd.DataFrame
    counts_in: str
    matrix: Any
    proteins: ProteinTable | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cell_ids)

    def rows(self, start: int, stop: int) -> csr_matrix:
        """Return raw counts of cells ``start`` to ``stop``, CSR float32 (stop - start, n_genes).

        Raises
        ------
        CountsError
            If a value is negative, missing or not whole.
        UnreadableFileError
            If the file ends before the data.
        """
        with reading(self.where):
            counts = as_csr(self.matrix[start:stop])
        if counts.nnz and (problem := why_not_counts(counts.data)):
            message = (
                f"{self.where}: {self.counts_in} looks like raw counts, but rows {start}-{stop - 1} are not: {problem}."
            )
            raise CountsError(message)
        return counts

    def fingerprint(self) -> str:
        """Return a hash that tells this table from another: of the file, or of names and probed counts in memory."""
        if self.path is not None:
            return sha256(self.path)
        digest = hashlib.sha256()
        for names in (self.cell_ids, self.var.index.astype(str).to_numpy(dtype=str)):
            digest.update("\n".join(names.tolist()).encode())
        digest.update(_probe(self.matrix, self.n_cells).tobytes())
        return digest.hexdigest()

    def column(self, name: str, *, option: str) -> pd.Series:
        """Return one column of ``obs``; ``option`` is what names it on the command line."""
        if name not in self.obs.columns:
            raise MissingColumnError.for_column(name, where=self.where, have=self.obs.columns, option=option)
        return self.obs[name]

    def batches(
        self, name: str | None, *, kept: NDArray[np.bool_] | None = None, option: str = "--batch"
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """Return the batch of each (kept) cell as an index into the sorted batch names; one batch if ``name`` is None."""
        n_cells = self.n_cells if kept is None else int(kept.sum())
        if name is None:
            return np.zeros(n_cells, np.int32), ("all",)
        column = self.column(name, option=option)
        column = column if kept is None else column[kept]
        written = column.astype(str).str.strip().to_numpy(dtype=str)
        n_missing = int((column.isna().to_numpy(dtype=bool) | (written == "")).sum())
        if n_missing:
            message = (
                f"{self.where}: obs[{name!r}] is missing for {n_missing:,} of {n_cells:,} cells; every cell needs a"
                f" {option.strip('-')} (the sample, donor or library it came from). Fill the column, pass another with"
                f" {option}, or leave {option} out: all cells are then one {option.strip('-')}."
            )
            raise BatchError(message)
        names, codes = np.unique(written, return_inverse=True)
        return codes.astype(np.int32), tuple(str(batch) for batch in names)


def open_cells(source: Any, *, counts: str = "auto", proteins: str | None = None) -> Cells:
    """Open a file or object and find its raw counts.

    Parameters
    ----------
    source
        Path of an ``.h5ad``, ``.h5mu`` or ``.zarr``; an AnnData; a MuData (its ``rna`` modality is taken).
    counts
        ``auto`` looks in ``layers["counts"]``, ``X`` and ``raw.X``, in this order; or name one: ``X``, ``raw.X``,
        ``layers/NAME``.
    proteins
        Key of ``obsm`` that holds protein counts; None = none are read.

    Raises
    ------
    UnreadableFileError
        If the file is missing, truncated or of another format.
    CountsError
        If no place holds raw counts.
    CellsError
        If there are no cells, or cell names are duplicated.
    GenesError
        If there are no genes.
    MissingColumnError
        If there is no such key of proteins.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        where, group = str(source), open_store(path)
        with reading(where):
            group = rna_of(group, where)
            obs, var, places = _parts_of_group(group)
            obsm, uns = (group[name] if name in group else {} for name in ("obsm", "uns"))
    else:
        path, where = None, "AnnData"
        source = _rna_of_object(source)
        obs, var, places = _parts_of_object(source)
        obsm, uns = source.obsm, source.uns
    cell_ids = obs.index.astype(str).to_numpy(dtype=str)
    _check_cell_ids(cell_ids, where)
    if not len(var):
        message = f"{where} has cells but no genes. Check how it was filtered before it was written."
        raise GenesError(message)
    found, matrix, genes = _find_counts(places, where=where, wanted=counts, n_cells=len(cell_ids))
    genes = var if genes is None else genes
    if tuple(matrix.shape) != (shape := (len(cell_ids), len(genes))):
        message = (
            f"{where}: {found} holds {matrix.shape[0]:,} cells x {matrix.shape[1]:,} genes, but obs and var name"
            f" {shape[0]:,} x {shape[1]:,}. The file is damaged; write it again."
        )
        raise UnreadableFileError(message)
    table = None
    if proteins is not None:
        with reading(where):
            table = protein_table(obsm, uns, proteins, where=where, n_cells=len(cell_ids))
    return Cells(where, path, obs, cell_ids, genes, found, matrix, table)


def read_obs(path: Path) -> pd.DataFrame:
    """Read only the annotations of the cells of a file; no counts are needed."""
    group = open_store(path)
    with reading(str(path)):
        return _table(rna_of(group, str(path)), "obs")


# One place counts may be in: its name, the matrix, and its own genes where they differ from var.
_Place = tuple[str, Any, "pd.DataFrame | None"]


def _parts_of_group(group: Any) -> tuple[pd.DataFrame, pd.DataFrame, list[_Place]]:
    from anndata.io import read_elem

    obs, var = _table(group, "obs"), _table(group, "var")
    places: list[_Place] = []
    for name in group["layers"] if "layers" in group else ():
        places.append((f"layers[{name!r}]", stored_matrix(group["layers"][name]), None))
    if "X" in group and _has_shape(group["X"]):
        places.append(("X", stored_matrix(group["X"]), None))
    # anndata may write a raw that is not there as an empty dataset.
    if "raw" in group and hasattr(group["raw"], "keys") and "X" in group["raw"]:
        places.append(("raw.X", stored_matrix(group["raw"]["X"]), read_elem(group["raw"]["var"])))
    return obs, var, places


def _table(group: Any, name: str) -> pd.DataFrame:
    """Read ``obs`` or ``var``; raises OSError where it is none."""
    from anndata.io import read_elem

    if name not in group:
        message = f"no {name} in it, only {', '.join(sorted(group.keys())[:10]) or 'nothing'}"
        raise OSError(message)
    if not hasattr(group[name], "keys"):
        message = (
            f"{name} is no group of columns, as before anndata 0.7; read it with anndata.read_h5ad and write it again"
        )
        raise OSError(message)
    return read_elem(group[name])


def _has_shape(element: Any) -> bool:
    return hasattr(element, "shape") or "shape" in element.attrs


def _rna_of_object(source: Any) -> Any:
    if not hasattr(source, "obs") or not hasattr(source, "var"):
        message = f"expected a path, an AnnData or a MuData, got {type(source).__name__}."
        raise InputError(message)
    if hasattr(source, "mod"):
        if "rna" not in source.mod:
            message = f"the MuData has no modality 'rna'. It has: {', '.join(source.mod)}."
            raise InputError(message)
        return source.mod["rna"]
    return source


def _parts_of_object(source: Any) -> tuple[pd.DataFrame, pd.DataFrame, list[_Place]]:
    places: list[_Place] = [(f"layers[{name!r}]", matrix, None) for name, matrix in source.layers.items()]
    if source.X is not None:
        places.append(("X", source.X, None))
    if source.raw is not None:
        places.append(("raw.X", source.raw.X, source.raw.var))
    return source.obs, source.var, places


def _check_cell_ids(cell_ids: NDArray[np.str_], where: str) -> None:
    if not len(cell_ids):
        message = f"{where} has no cells. Check how it was filtered before it was written."
        raise CellsError(message)
    names, n_times = np.unique(cell_ids, return_counts=True)
    if len(names) < len(cell_ids):
        shown = ", ".join(str(name) for name in names[n_times > 1][:5])
        message = (
            f"{where}: {len(cell_ids) - len(names):,} cell names stand more than once (e.g. {shown}); calls could not be"
            " joined back. Make them unique: adata.obs_names_make_unique()."
        )
        raise CellsError(message)


def _find_counts(
    places: Sequence[_Place], *, where: str, wanted: str, n_cells: int
) -> tuple[str, Any, pd.DataFrame | None]:
    name_of = {"auto": None, "X": "X", "raw": "raw.X", "raw.X": "raw.X"}
    if wanted not in name_of and not wanted.startswith("layers/"):
        message = f"counts = {wanted!r}: expected auto, X, raw.X or layers/NAME."
        raise InputError(message)
    name = name_of[wanted] if wanted in name_of else f"layers[{wanted.removeprefix('layers/')!r}]"
    by_name = {place[0]: place for place in places}
    order = [name] if name else ["layers['counts']", "X", "raw.X"]
    seen = []
    for place in order:
        if place not in by_name:
            seen.append(f"  {place}: not there")
            continue
        _, matrix, genes = by_name[place]
        with reading(where):
            problem = why_not_counts(_probe(matrix, n_cells))
        if problem is None:
            return place, matrix, genes
        seen.append(f"  {place}: {problem}")
    others = [place.replace("layers['", "layers/").removesuffix("']") for place in by_name if place not in order]
    tail = f" Also there: {', '.join(others)}; name the one that holds counts with --counts." if others else ""
    message = (
        f"{where} has no raw counts (whole numbers, none below zero):\n"
        + "\n".join(seen)
        + f"\nEvery member needs raw counts. Keep them in layers['counts'] before normalising.{tail}"
    )
    raise CountsError(message)


def _probe(matrix: Any, n_cells: int) -> NDArray[Any]:
    width = ROWS_PROBED // 4
    starts = np.unique(np.linspace(0, max(n_cells - width, 0), 4).astype(int))
    return np.concatenate([as_csr(matrix[start : start + width]).data for start in starts])
