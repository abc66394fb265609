"""Labels that other tools already wrote, read as votes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.cells import read_obs
from celljury.errors import CellsError, InputError, MissingColumnError, UnknownLabelError, UnreadableFileError
from celljury.labels import MappedColumn, map_column
from celljury.votes import Votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.mapping import LabelMap

ID_COLUMN = "cell_id"


@dataclass(frozen=True, slots=True)
class Ballot:
    """Columns of labels, mapped to votes.

    Attributes
    ----------
    where
        The file, or ``DataFrame``.
    votes
        Top terms; an empty cell abstains and never voids the others' votes.
    columns
        How each column's labels reached the ontology.
    """

    where: str
    votes: Votes
    columns: dict[str, MappedColumn]

    def any_by(self, kind: Literal["broad", "obsolete"]) -> NDArray[np.bool_]:
        """Return whether a label behind one of a cell's votes was mapped that way, bool (n_cells,)."""
        return np.asarray(
            np.stack([getattr(column, kind) for column in self.columns.values()], axis=1).any(axis=1), bool
        )


def read_ballot(
    source: Any,
    ontology: CellOntology,
    *,
    columns: Sequence[str],
    label_map: LabelMap | None = None,
    on_unmapped: Literal["stop", "abstain"] = "stop",
) -> Ballot:
    """Read columns of CL ids or labels from a TSV, CSV, parquet, h5ad, AnnData, MuData or DataFrame.

    Cells of an h5ad, AnnData or MuData are named by the index of ``obs``. Those of a table are named by the column
    ``cell_id``, else by its index, else (a text file has none) by the first column unless that is voted on; else they
    are numbered from 0.

    Raises
    ------
    MissingColumnError
        If a column is not there.
    InputError
        If a column is named twice, or stands twice in the table.
    CellsError
        If there are no cells, or their names are duplicated or missing.
    UnknownLabelError
        If labels match no term and ``on_unmapped`` is ``stop``.
    """
    if not columns:
        message = "no columns to vote on. Name at least one with --columns a,b,c."
        raise InputError(message)
    if len(set(columns)) < len(columns):
        message = f"--columns names a column twice: {', '.join(columns)}. A column has one vote."
        raise InputError(message)
    frame, cell_ids, where = _read_frame(source, columns)
    _check(cell_ids, where)
    mapped, unknown = {}, []
    for name in columns:
        try:
            mapped[name] = map_column(frame[name], ontology, where=where, label_map=label_map, on_unmapped=on_unmapped)
        except UnknownLabelError as error:
            unknown.append(str(error))
    if unknown:  # of all columns at once: nobody wants to learn of them one run at a time
        raise UnknownLabelError("\n".join(unknown))
    terms = np.stack([column.i_term for column in mapped.values()], axis=1)
    strange = np.full(terms.shape, np.nan, np.float32)
    return Ballot(where, Votes(cell_ids, tuple(columns), terms, None, strange), mapped)


def _read_frame(source: Any, columns: Sequence[str]) -> tuple[pd.DataFrame, NDArray[Any], str]:
    import pandas as pd

    of_cells = True
    if isinstance(source, pd.DataFrame):
        frame, where, of_cells = source, "DataFrame", False
    elif hasattr(source, "obs"):
        # Calls are written beside the modality's own obs, never beside that of the whole MuData.
        frame, where = (source.mod["rna"] if hasattr(source, "mod") else source).obs, "AnnData"
    else:
        path, where = Path(source), str(source)
        of_cells = path.suffix in (".h5ad", ".h5mu", ".zarr")
        frame = read_obs(path) if of_cells else read_table(path)
    for name in columns:
        if name not in frame.columns:
            have = [str(column) for column in frame.columns]
            raise MissingColumnError.for_column(name, where=where, have=have, option="--columns")
        if (frame.columns == name).sum() > 1:
            message = (
                f"{where} has several columns {name!r}. Rename them: a column has one vote, and a name of its own."
            )
            raise InputError(message)
    if not of_cells and (frame.columns == ID_COLUMN).sum() == 1:
        cell_ids = frame[ID_COLUMN]
    elif not of_cells and isinstance(frame.index, pd.RangeIndex) and frame.columns[0] not in columns:
        cell_ids = frame.iloc[:, 0]
    else:
        cell_ids = frame.index.to_series()
    missing = cell_ids.isna().to_numpy(dtype=bool)
    names = cell_ids.astype(str).to_numpy(dtype=object)
    return frame, np.where(missing, "", names), where


def read_table(path: Path) -> pd.DataFrame:
    """Return a TSV, CSV (by its name) or parquet; of a text file every column as text.

    Raises
    ------
    UnreadableFileError
        If it is missing, a directory, or no table.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "does not exist"
        message = f"{path} {kind}. Expected a TSV, CSV, parquet or h5ad with one row a cell."
        raise UnreadableFileError(message)
    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path).to_pandas()
        with pa.input_stream(path, compression="detect") as stream:
            # A spreadsheet's byte order mark is no part of the first name.
            header = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="").readline()
        delimiter = "," if path.name.endswith((".csv", ".csv.gz")) else "\t"
        names = next(csv.reader([header.rstrip("\r\n")], delimiter=delimiter), [])
        # Text, also where it looks like numbers: 007 is another cell than 7.
        # Labels repeat: as dictionary columns a million rows take tens of megabytes instead of hundreds.
        kinds = {name: pa.dictionary(pa.int32(), pa.string()) for name in names[1:]} | dict.fromkeys(
            names[:1], pa.string()
        )
        options = pa.csv.ConvertOptions(column_types=kinds, strings_can_be_null=False)
        table = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=delimiter), convert_options=options)
        return table.to_pandas()
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, OSError) as error:
        message = (
            f"{path} cannot be read as a table: {str(error).splitlines()[0]}. Expected one row a cell below one header line"
            " that names every column (R's write.table leaves the first out unless col.names = NA)."
        )
        raise UnreadableFileError(message) from error


def _check(cell_ids: NDArray[Any], where: str) -> None:
    import pandas as pd

    if not len(cell_ids):
        message = f"{where} has no rows. Expected one row a cell."
        raise CellsError(message)
    if n_missing := int((cell_ids == "").sum()):
        message = (
            f"{where}: {n_missing:,} rows do not name their cell; names are taken from obs_names, in a table from the column"
            f" {ID_COLUMN!r} or the first one. Fill them in."
        )
        raise CellsError(message)
    repeated = pd.Index(cell_ids).duplicated()
    if repeated.any():
        shown = ", ".join(pd.unique(cell_ids[repeated])[:5])
        message = (
            f"{where}: {int(repeated.sum()):,} rows repeat the name of another cell (e.g. {shown}). Every cell stands"
            f" once; names are taken from obs_names, in a table from the column {ID_COLUMN!r} or the first one."
        )
        raise CellsError(message)
