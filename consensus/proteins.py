"""Surface proteins of CITE-seq cells: read from ``obsm`` by rows, and put into the order of a jury's proteins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import CountsError, InputError, MissingColumnError, UnreadableFileError
from celljury.matrices import as_csr, stored_matrix, why_not_counts
from celljury.members.base import Proteins
from celljury.stores import reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ProteinTable:
    """Protein counts of an opened table, read by rows.

    Attributes
    ----------
    where
        The file's path, or ``AnnData``.
    key
        Where in ``obsm`` they are.
    names
        Names of the proteins (n_proteins,); where none are known, ``0``, ``1``, ...
    matrix
        What holds the counts (n_cells, n_proteins): array, sparse matrix, or a dataset on disk.
    """

    where: str
    key: str
    names: tuple[str, ...]
    matrix: Any

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return counts of cells ``start`` to ``stop``, float32 (stop - start, n_proteins).

        Raises
        ------
        CountsError
            If a value is negative, missing or not whole.
        """
        with reading(self.where):
            counts = as_csr(self.matrix[start:stop])
        if counts.nnz and (problem := why_not_counts(counts.data)):
            message = (
                f"{self.where}: rows {start}-{stop - 1} of obsm[{self.key!r}] are no protein counts: {problem}. Keep the"
                " raw counts of antibody tags there (no CLR, no log), or leave the setting proteins out."
            )
            raise CountsError(message)
        return np.asarray(counts.toarray(), np.float32)


def protein_table(obsm: Any, uns: Any, key: str, *, where: str, n_cells: int) -> ProteinTable:
    """Return the proteins in ``obsm[key]``.

    Names are the columns of a DataFrame, else ``uns[key + "_names"]`` or ``uns["protein_names"]``, else numbers.

    Parameters
    ----------
    obsm, uns
        Of an AnnData, or the groups of a file.

    Raises
    ------
    MissingColumnError
        If there is no such key.
    InputError
        If names do not fit the columns or stand twice.
    """
    if key not in obsm:
        has = ", ".join(sorted(obsm.keys())) or "nothing"
        message = (
            f"{where}: proteins = {key!r}, but there is no obsm[{key!r}]; obsm has: {has}. Name the key that holds"
            ' protein counts. From a MuData: mdata["rna"].obsm["protein_expression"] = mdata["prot"].to_df().'
        )
        raise MissingColumnError(message)
    matrix, names = _matrix_and_columns(obsm[key])
    if names is None:
        names = _names_beside(uns, key)
    if len(matrix.shape) != 2 or matrix.shape[0] != n_cells:
        shape = " x ".join(f"{size:,}" for size in matrix.shape)
        message = f"{where}: obsm[{key!r}] holds {shape} values; expected {n_cells:,} cells x proteins."
        raise UnreadableFileError(message)
    names = names or tuple(str(i) for i in range(matrix.shape[1]))
    if len(names) != matrix.shape[1] or len(set(names)) < len(names):
        message = (
            f"{where}: obsm[{key!r}] has {matrix.shape[1]:,} columns and {len(set(names)):,} different names of proteins."
            " Every column needs a name of its own: store it as a DataFrame."
        )
        raise InputError(message)
    return ProteinTable(where, key, names, matrix)


def _matrix_and_columns(element: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Return what rows are cut from, and the columns' names where it is a DataFrame, in memory or on disk."""
    if hasattr(element, "attrs") and str(element.attrs.get("encoding-type", "")) == "dataframe":
        from anndata.io import read_elem

        element = read_elem(element)
    if hasattr(element, "columns"):
        return element.to_numpy(), tuple(str(name) for name in element.columns)
    return (stored_matrix(element) if hasattr(element, "file") or hasattr(element, "store") else _sliced(element)), None


def _sliced(matrix: Any) -> Any:
    """Return a matrix in memory as one that rows can be cut from."""
    return matrix.tocsr() if hasattr(matrix, "tocsr") else matrix


def _names_beside(uns: Any, key: str) -> tuple[str, ...] | None:
    from anndata.io import read_elem

    for name in (f"{key}_names", "protein_names"):
        if name in uns:
            found = uns[name]
            found = read_elem(found) if hasattr(found, "attrs") else found
            return tuple(str(protein) for protein in np.asarray(found).ravel())
    return None


@dataclass(frozen=True, slots=True)
class ProteinAlignment:
    """How a query's proteins lie in the jury's order.

    Attributes
    ----------
    names
        Of the jury's proteins (n_proteins,).
    column
        Column of each in the query, int64 (n_proteins,); -1 = the query lacks it.
    """

    names: tuple[str, ...]
    column: NDArray[np.int64]

    def apply(self, counts: NDArray[np.float32] | None, n_cells: int) -> Proteins:
        """Return a block's proteins; ``counts`` are the query's, None where it has none."""
        present = self.column >= 0
        aligned = np.zeros((n_cells, len(self.names)), np.float32)
        if counts is not None:
            aligned[:, present] = counts[:, self.column[present]]
        return Proteins(aligned, self.names, present)

    def report(self) -> Mapping[str, Any]:
        """Return what was found, as it goes into ``run.json``."""
        missing = [name for name, column in zip(self.names, self.column.tolist(), strict=True) if column < 0]
        n_shared = len(self.names) - len(missing)
        said = f"{n_shared:,} of the jury's {len(self.names):,} proteins are in the query"
        said += f"; not there: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}" if missing else ""
        return {"n_shared": n_shared, "n_reference": len(self.names), "missing": missing[:20], "sentence": said}


def align_proteins(table: ProteinTable | None, names: tuple[str, ...]) -> ProteinAlignment:
    """Find the jury's proteins ``names`` in a query's table: a name matches exactly, else by ignoring case."""
    exact = {} if table is None else {name: i for i, name in enumerate(table.names)}
    folded: dict[str, list[int]] = {}
    for name, i in exact.items():
        folded.setdefault(name.casefold(), []).append(i)
    column = np.array([exact.get(name, -1) for name in names], np.int64)
    taken = set(column.tolist())
    for j in np.flatnonzero(column < 0):
        near = folded.get(names[j].casefold(), [])
        if len(near) == 1 and near[0] not in taken:
            column[j] = near[0]
            taken.add(near[0])
    return ProteinAlignment(names, column)
