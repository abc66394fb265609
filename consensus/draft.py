"""Draft a label map: exact names are mapped, the rest waits for a curator with suggestions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celljury.ballot import read_table
from celljury.cells import read_obs
from celljury.errors import InputError, MissingColumnError, OutputError, UnreadableFileError
from celljury.labels import map_column, nearest_terms
from celljury.ontology.mapping import MapRow, write_sssom

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

N_SUGGESTED = 3


def draft_map(
    source: Path, ontology: CellOntology, *, labels: str | None, out: Path, overwrite: bool
) -> tuple[int, list[tuple[str, list[tuple[str, str]]]]]:
    """Write a draft SSSOM table and return how many labels were mapped, and those that were not with suggestions.

    Parameters
    ----------
    source
        An h5ad, h5mu or zarr, or a table (TSV, CSV, parquet), with a column ``labels``; or a text file with one label a
        line, then ``labels`` is None.

    Raises
    ------
    InputError
        If no column is named for a file of cells, or there are no labels.
    MissingColumnError
        If the column is not there.
    OutputError
        If ``out`` exists and ``overwrite`` is False, or cannot be written.
    """
    import pandas as pd

    if out.exists() and not overwrite:
        raise OutputError.for_path(out, "it exists, and may hold a curator's work; --overwrite replaces it")
    if not out.parent.is_dir():
        raise OutputError.for_path(out, f"there is no folder {out.parent}")
    of_cells = source.suffix in (".h5ad", ".h5mu", ".zarr")
    if of_cells or labels is not None:
        table = read_obs(source) if of_cells else read_table(source)
        have = [str(name) for name in table.columns]
        if labels is None:
            message = f"{source} has several columns: {', '.join(have)}. Say which holds the labels with --labels."
            raise InputError(message)
        if labels not in have:
            raise MissingColumnError.for_column(labels, where=str(source), have=have, option="--labels")
        column = table[labels]
    else:
        column = pd.Series(_lines(source), name="label", dtype=object)
    mapped = map_column(column, ontology, where=str(source), on_unmapped="abstain")
    rows, waiting = [], []
    for row in sorted(mapped.rows, key=lambda row: (-row.n_cells, row.label)):
        cells = f"{row.n_cells:,} cells"
        if row.i_term >= 0:
            rows.append(MapRow(row.label, ontology.ids[row.i_term], comment=f"{cells}; by {row.how}"))
        else:
            near = nearest_terms(row.label, ontology, limit=N_SUGGESTED)
            waiting.append((row.label, near))
            hint = "; ".join(f"{term_id} {name}" for term_id, name in near)
            rows.append(MapRow(row.label, comment=f"{cells}; suggestions: {hint or 'none'}"))
    if not rows:
        message = f"{source} holds no labels. Expected one label a line, or a column of labels."
        raise InputError(message)
    write_sssom(out, rows, ontology)
    return len(rows) - len(waiting), waiting


def _lines(source: Path) -> list[str]:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{source} cannot be read as text: {error}. Expected an h5ad or a table and --labels COLUMN, or one label a"
            " line."
        )
        raise UnreadableFileError(message) from error
    if lines and "\t" in lines[0]:
        message = f"{source} is a table: expected one label a line. Say which column holds the labels with --labels."
        raise InputError(message)
    return lines
