"""Terms of the labels that a model brings along: by the user's map, else by what the Cell Ontology calls its terms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def terms_of_labels(labels: Sequence[str], label_map: str | None) -> list[str | None]:
    """Return the Cell Ontology id of each label, None where nothing names it exactly.

    Parameters
    ----------
    labels
        A model's names for its cell types.
    label_map
        An SSSOM table, see `celljury.ontology.mapping.read_sssom`; None = ids, labels and exact synonyms only.

    Raises
    ------
    UnreadableFileError, InputError, UnknownTermError
        If the table cannot be read, or names a term that the ontology does not have.
    """
    from celljury.ontology.load import load_ontology
    from celljury.ontology.mapping import map_labels, read_sssom

    ontology = load_ontology()
    table = read_sssom(Path(label_map), ontology) if label_map else None
    return [
        None if found is None else ontology.ids[found.i_term] for found in map_labels(labels, ontology, label_map=table)
    ]
