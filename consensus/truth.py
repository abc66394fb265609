"""Known types of a run's cells, their donors and the types its reference held."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.beside import cells_file, columns_beside
from celljury.errors import BatchError, CellsError, InputError, UnknownLabelError, UnreadableFileError
from celljury.labels import map_column, nearest_terms
from celljury.ontology.mapping import map_labels
from celljury.origin import jury_folder

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.labels import LabelRow
    from celljury.ontology.graph import CellOntology
    from celljury.ontology.mapping import LabelMap
    from celljury.run import Run


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a run's cells, in the order of its calls.

    Attributes
    ----------
    where, column
        File and column of the known types.
    i_term
        Index of each cell's true term, int32 (n_cells,), -1 = not known.
    rows
        How each distinct label reached the ontology.
    donor
        Donor of each cell as an index into ``donors``, int64 (n_cells,); None where no column was named.
    donors
        Names of donors, sorted.
    """

    where: str
    column: str
    i_term: NDArray[np.int32]
    rows: tuple[LabelRow, ...]
    donor: NDArray[np.int64] | None
    donors: tuple[str, ...]


def read_truth(
    run: Run,
    ontology: CellOntology,
    *,
    column: str,
    donor: str | None = None,
    query: Path | None = None,
    label_map: LabelMap | None = None,
) -> Truth:
    """Read the known types of a run's cells.

    Parameters
    ----------
    column
        Column with Cell Ontology ids or labels; empty and "unknown" = not known.
    donor
        Column with donors.
    query
        h5ad, h5mu, zarr, TSV, CSV or parquet with one row a cell; the run's own ``query.celljury.h5ad`` if None.

    Raises
    ------
    UnreadableFileError
        If there is no file to read.
    MissingColumnError
        If a column is not there.
    CellsError
        If the cells are not the run's, or the type of none of them is known.
    UnknownLabelError
        If labels match no term.
    BatchError
        If a cell has no donor.
    """
    path = cells_file(run, query, holding="their known types")
    wanted = {column: "--truth"} | ({donor: "--donor"} if donor is not None and donor != column else {})
    obs = columns_beside(run, path, wanted)
    mapped = map_column(obs[column], ontology, where=str(path), label_map=label_map)
    if not (mapped.i_term >= 0).any():
        message = f"{path}: column {column!r} names the type of no cell. Name a column of known types with --truth."
        raise CellsError(message)
    code, donors = _donors(obs[donor], path) if donor is not None else (None, ())
    return Truth(str(path), column, mapped.i_term, mapped.rows, code, donors)


def _donors(column: pd.Series, path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    missing = int((column.isna() | (column.astype(str) == "")).sum())
    names, code = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
    if missing:
        message = f"{path}: column {str(column.name)!r} names no donor for {missing:,} cell(s). Fill it in."
        raise BatchError(message)
    return code.ravel().astype(np.int64), tuple(names.tolist())


def reference_terms(
    run: Run, ontology: CellOntology, *, seen_types: Path | None = None, label_map: LabelMap | None = None
) -> NDArray[np.int32] | None:
    """Return the types that a run's reference held, int32; None where nobody knows.

    From a file with one id or label a line, else ``run.json``, else the jury's folder where it is still there unchanged.

    Raises
    ------
    UnreadableFileError
        If the file cannot be read.
    UnknownLabelError
        If a line of it matches no term.
    """
    if seen_types is not None:
        return _listed_terms(seen_types, ontology, label_map)
    said: list[Any] | None = run.record.get("reference_terms")
    if said is None and (folder := jury_folder(run)) is not None:
        said = json.loads((folder / "jury.json").read_text(encoding="utf-8"))["terms"]
    if not said:
        return None
    return ontology.indices([row["term"] if isinstance(row, dict) else row for row in said])


def _listed_terms(path: Path, ontology: CellOntology, label_map: LabelMap | None) -> NDArray[np.int32]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read {path}: {error}. Expected the reference's types, one id or label a line."
        raise UnreadableFileError(message) from error
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        message = f"{path} names no type. Expected the reference's types, one id or label a line."
        raise InputError(message)
    found = map_labels(names, ontology, label_map=label_map)
    lost = [name for name, match in zip(names, found, strict=True) if match is None]
    if lost:
        raise UnknownLabelError.for_labels(
            ((name, 0, nearest_terms(name, ontology)) for name in lost), column="(one type a line)", where=str(path)
        )
    return np.unique([match.i_term for match in found if match is not None]).astype(np.int32)
