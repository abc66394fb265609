"""What to say of an id that is no live term: obsolete, a label, or a near miss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from celljury.errors import UnknownTermError
from celljury.ontology.extra import CURIE

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Source(Protocol):
    @property
    def release(self) -> str: ...


class _Terms(Protocol):
    """The part of CellOntology that the message needs."""

    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def obsolete(self) -> Mapping[str, str]: ...
    @property
    def source(self) -> _Source: ...


def unknown_term_error(ontology: _Terms, text: str) -> UnknownTermError:
    """Return the error for ``text``, with its obsolete label or the nearest ids or labels."""
    release = ontology.source.release
    if text in ontology.obsolete:
        label = ontology.obsolete[text].removeprefix("obsolete ")
        return UnknownTermError(
            f"{text} ({label!r}) is obsolete in CL {release} and no live Cell Ontology term replaces it. Choose another"
            f" with: celljury ontology search {label!r}"
        )
    from rapidfuzz import fuzz, process

    # An id is compared with ids, anything else with labels.
    choices = ontology.ids if CURIE.fullmatch(text) else ontology.labels
    found = process.extract(text, choices, scorer=fuzz.ratio, limit=3, score_cutoff=70)
    near = [(ontology.ids[i], ontology.labels[i]) for _, _, i in found]
    return UnknownTermError.for_text(text, release=release, near=near)
