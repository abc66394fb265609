"""Labels of a reference, or of another tool, to Cell Ontology terms; what does not map is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from celljury.errors import CellsError, InputError, UnknownLabelError
from celljury.ontology.mapping import map_labels
from celljury.ontology.names import NameIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.mapping import LabelMap

# What pipelines write where there is no label; CELLxGENE's schema demands "unknown".
NO_LABEL = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown", "unassigned", "unlabeled", "unlabelled"})

# A label that maps to nothing costs a search of tens of milliseconds and a line on the screen. Thousands are mostly a
# wrong column; where they are not (the mouse brain has 5,322 clusters, doi:10.1038/s41586-023-06812-z), a map is drafted.
MAX_UNMAPPED = 1000


@dataclass(frozen=True, slots=True)
class LabelRow:
    """How one label reached the ontology.

    Attributes
    ----------
    label
        As it was written.
    n_cells
        Cells that carry it.
    i_term
        Index of its term, -1 = none.
    how
        ``id``, ``replaced_id``, ``label``, ``synonym``, ``map`` or ``unmapped``.
    predicate
        ``exact``, ``broad``, ``narrow`` or ``close``.
    """

    label: str
    n_cells: int
    i_term: int
    how: str
    predicate: str


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """One column of labels, mapped.

    Attributes
    ----------
    i_term
        Index of each cell's term, int32 (n_cells,), -1 = no label or unmapped.
    broad
        Whether the label reached its term by a broad match, bool (n_cells,).
    obsolete
        Whether it reached it through an alternative or replaced id, bool (n_cells,).
    rows
        One row a distinct label.
    n_unlabelled
        Cells without a label.
    """

    i_term: NDArray[np.int32]
    broad: NDArray[np.bool_]
    obsolete: NDArray[np.bool_]
    rows: tuple[LabelRow, ...]
    n_unlabelled: int


def map_column(
    column: pd.Series,
    ontology: CellOntology,
    *,
    where: str,
    label_map: LabelMap | None = None,
    on_unmapped: Literal["stop", "abstain"] = "stop",
) -> MappedColumn:
    """Map one column of labels or ids to terms.

    Raises
    ------
    UnknownLabelError
        If labels match no term and ``on_unmapped`` is ``stop``; all of them are named with their nearest terms.
    InputError
        If the column holds numbers with a fraction, or ``on_unmapped`` is ``stop`` and more than `MAX_UNMAPPED` values
        match nothing.
    """
    import pandas as pd

    codes, values = pd.factorize(column.astype("category").astype(object), use_na_sentinel=True)
    labels = [" ".join(str(value).split()) for value in values]
    is_label = np.array([label.lower() not in NO_LABEL for label in labels] + [False])
    n_cells = np.bincount(codes[codes >= 0], minlength=len(labels))
    wanted = [label if keep else "" for label, keep in zip(labels, is_label, strict=False)]
    found = map_labels([label for label in wanted if label], ontology, label_map=label_map)
    matches = iter(found)
    rows = []
    for label, n in zip(wanted, n_cells.tolist(), strict=True):
        match = next(matches) if label else None
        if match is None:
            rows.append(LabelRow(label, n, -1, "unmapped", ""))
        else:
            rows.append(LabelRow(label, n, match.i_term, match.how, match.predicate))
    unmapped = [row for row in rows if row.label and row.i_term < 0]
    of_numbers = any(isinstance(value, float) and value % 1 for value in values.tolist())
    if unmapped and (of_numbers or (on_unmapped == "stop" and len(unmapped) > MAX_UNMAPPED)):
        shown = ", ".join(repr(row.label) for row in unmapped[:3])
        message = (
            f"{where}: column {str(column.name)!r} holds {len(unmapped):,} different values that name no cell type (e.g."
            f" {shown}). Name a column of Cell Ontology ids or cell type labels; if it is one, draft a map with celljury map."
        )
        raise InputError(message)
    if unmapped and on_unmapped == "stop":
        raise UnknownLabelError.for_labels(
            ((row.label, row.n_cells, nearest_terms(row.label, ontology)) for row in unmapped),
            column=str(column.name),
            where=where,
        )
    i_term = np.array([row.i_term for row in rows] + [-1], np.int32)
    broad = np.array([row.predicate == "broad" for row in rows] + [False])
    followed = label_map.replaced if label_map else frozenset[str]()
    obsolete = np.array([row.how == "replaced_id" or row.label in followed for row in rows] + [False])
    n_unlabelled = int((~is_label[codes]).sum())
    return MappedColumn(i_term[codes], broad[codes], obsolete[codes], tuple(r for r in rows if r.label), n_unlabelled)


def nearest_terms(label: str, ontology: CellOntology, *, limit: int = 3) -> list[tuple[str, str]]:
    """Return (id, label) of the terms whose names are most similar: suggestions, never mapped by themselves."""
    return [(ontology.ids[i], ontology.labels[i]) for i, _ in _names_of(ontology).search(label, limit=limit)]


_NAMES: dict[int, tuple[CellOntology, NameIndex]] = {}


def _names_of(ontology: CellOntology) -> NameIndex:
    # One index an ontology: it holds tens of thousands of names and many labels are looked up in a row.
    if id(ontology) not in _NAMES:
        _NAMES.clear()
        _NAMES[id(ontology)] = (ontology, NameIndex(ontology))
    return _NAMES[id(ontology)][1]


def check_enough_types(terms: Sequence[str], *, column: str, where: str) -> None:
    """Raise CellsError where a reference holds fewer than two types."""
    if len(terms) < 2:
        message = (
            f"{where}: column {column!r} holds {len(terms)} cell type(s) ({', '.join(terms) or 'none'}); a reference needs"
            " at least two to learn from. Pass another column with --labels."
        )
        raise CellsError(message)
