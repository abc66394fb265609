"""What a release says before it is indexed: the one shape that every reader returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "CL:"
"""Only ids of the Cell Ontology are indexed; imported terms of other ontologies are left out."""


@dataclass(frozen=True, slots=True)
class Release:
    """Terms and edges of one release, Cell Ontology ids only.

    Attributes
    ----------
    release
        Date such as ``2026-03-26``, or ``unknown``.
    labels
        Live id -> label.
    parents
        Live id -> ids of its direct is_a parents.
    synonyms
        Live id -> exact synonyms.
    replaced
        Alternative or obsolete id -> the id that the release names instead; it may itself be replaced, or foreign.
    obsolete
        Obsolete id -> its label. Alternative ids are not among them.
    subsets
        Subset tag -> live ids.
    """

    release: str
    labels: dict[str, str]
    parents: dict[str, tuple[str, ...]]
    synonyms: dict[str, tuple[str, ...]]
    replaced: dict[str, str]
    obsolete: dict[str, str]
    subsets: dict[str, tuple[str, ...]] = field(default_factory=dict)
