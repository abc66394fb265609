"""The query as a submission to the CELLxGENE archive: its own fields kept, the cell type from the calls, nothing invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from celljury.export.archive_terms import UNKNOWN, ArchiveTerm, archive_ontology, archive_terms
from celljury.export.obs_columns import add_calls, add_columns, column_order, modern_obs, set_order
from celljury.export.provenance_of import provenance_of, write_provenance
from celljury.export.run_columns import plain_values
from celljury.export.store_copy import copy_as_h5ad
from celljury.origin import ontology_of
from celljury.write import writing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.export.query_file import QueryFile
    from celljury.export.run_columns import RunColumns

CELL_TYPE: Final = "cell_type_ontology_term_id"
# What the query said of its cell types; the archive writes the label column itself and takes no file that has it.
AUTHORS: Final = {CELL_TYPE: f"author_{CELL_TYPE}", "cell_type": "author_cell_type"}


@dataclass(frozen=True, slots=True)
class Submission:
    """What was written for the archive.

    Attributes
    ----------
    release
        Cell Ontology release of the archive.
    moved
        Terms that are not exported as they were called, and how many cells have each; most cells first.
    n_unseen, n_unresolved
        Cells exported as ``unknown`` because they were called unseen, or have no term.
    n_cells
        All cells.
    renamed
        Columns of the query that gave way: name -> new name.
    """

    release: str
    moved: tuple[tuple[ArchiveTerm, int], ...]
    n_unseen: int
    n_unresolved: int
    n_cells: int
    renamed: dict[str, str]


def write_cellxgene(columns: RunColumns, query: QueryFile, to: Path) -> Submission:
    """Write the query as h5ad with ``cell_type_ontology_term_id`` as the archive takes it, and say what became of the calls.

    Unseen cells are ``unknown``, also where they have a node: the column says what a cell is, and that such a cell belongs
    under its node is no part of what a run promises. The node stays in ``celljury_term``, with ``celljury_status`` beside
    it. No label column is written, as the schema demands; ``celljury_label`` has the labels.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing stands under its name then, or what stood there before.
    InputError
        If the run's ontology is not found.
    OntologyError
        If the installed guide does not carry the archive's ontology.
    """
    archive = archive_ontology()
    table = columns.called("term", "status").to_pandas().astype(str, copy=False)
    term, status = table["term"].to_numpy(dtype=object), table["status"].to_numpy(dtype=object)
    named = np.isin(status, ["resolved", "backed_off"])
    distinct, code, n_cells = np.unique(term[named].astype(str), return_inverse=True, return_counts=True)
    taken = archive_terms(distinct.tolist(), ontology_of(columns.run), archive)
    exported = np.full(len(term), UNKNOWN, dtype=object)
    exported[named] = np.array([taken[one].to for one in distinct], dtype=object)[code.ravel()]
    with writing(to) as partial:
        copy_as_h5ad(query, partial)
        with h5py.File(partial, "r+") as file:
            obs = modern_obs(file)
            renamed = _give_way(file, obs)
            add_calls(obs, columns, query.rows)
            add_columns(obs, {CELL_TYPE: plain_values(_series(exported), query.rows)})
            write_provenance(file, provenance_of(columns, archive_ontology=f"Cell Ontology {archive.source.release}"))
    moved = [
        (taken[one], count) for one, count in zip(distinct.tolist(), n_cells.tolist(), strict=True) if taken[one].why
    ]
    n_unseen = int((status == "unseen").sum())
    return Submission(
        archive.source.release, tuple(sorted(moved, key=lambda pair: (-pair[1], pair[0].term))), n_unseen,
        int((~named).sum()) - n_unseen, len(term), renamed,
    )  # fmt: skip


def _series(values: NDArray[Any]) -> pd.Series:
    import pandas as pd

    return pd.Series(values, dtype="category")


def _give_way(file: h5py.Group, obs: h5py.Group) -> dict[str, str]:
    """Rename the query's own cell types, with their colours, and return the names."""
    order, renamed = column_order(obs), {}
    for name, wanted in AUTHORS.items():
        if name not in order:
            continue
        new = wanted
        while new in obs:
            new += "_"
        obs.move(name, new)
        order[order.index(name)] = new
        renamed[name] = new
        colours = f"{name}_colors"
        if "uns" in file and colours in file["uns"]:
            file["uns"].move(colours, f"{new}_colors")
    set_order(obs, order)
    return renamed


def submission_lines(made: Submission) -> list[str]:
    """Return what became of the calls, for people."""
    lines = [f"Cell types of {made.n_cells:,} cells, as terms of CL {made.release} (the archive's):"]
    n_moved = sum(count for _, count in made.moved)
    n_named = made.n_cells - made.n_unseen - made.n_unresolved
    lines.append(f"  {n_named - n_moved:,} as called")
    lines += [
        f"  {count:,} {one.term} {one.label} -> {one.to} {one.to_label if one.to != UNKNOWN else ''}".rstrip()
        + f": {_why(one)}"
        for one, count in made.moved
    ]
    if made.n_unseen:
        lines.append(f"  {made.n_unseen:,} unknown: called unseen (the node they are new under stays in celljury_term)")
    if made.n_unresolved:
        lines.append(f"  {made.n_unresolved:,} unknown: unresolved")
    lines += [f"The query's own {name} is {new} now." for name, new in made.renamed.items()]
    return lines


def _why(one: ArchiveTerm) -> str:
    from celljury.export.archive_terms import WHY

    return WHY[one.why]
