"""Read a Cell Ontology release from an OBO, OWL or OBO-graph file through pronto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.ontology.pronto_file import opened, release_date
from celljury.ontology.release import PREFIX, Release

if TYPE_CHECKING:
    from pathlib import Path


def read_obo(path: Path) -> Release:
    """Return what the file says, Cell Ontology ids only; imports are not followed.

    Raises
    ------
    UnreadableFileError
        If the file is missing, truncated, of another format, a directory, or holds no Cell Ontology term.
    MemberUnavailableError
        If pronto is not installed.
    """
    with opened(path) as ontology:
        return _release(ontology, [term for term in ontology.terms() if term.id.startswith(PREFIX)])


def _release(ontology: Any, terms: list[Any]) -> Release:
    live = [term for term in terms if not term.obsolete]
    retired = [term for term in terms if term.obsolete]
    live_ids = {term.id for term in live}
    subsets: dict[str, list[str]] = {}
    for term in live:
        for tag in term.subsets:
            subsets.setdefault(tag, []).append(term.id)
    replaced = {old: term.id for term in terms for old in term.alternate_ids if old not in live_ids}
    # Term.replaced_by looks ids up and fails on those of other ontologies; the record behind it holds them as text.
    for term in retired:
        successors = sorted(term._data().replaced_by)
        if len(successors) == 1:
            replaced[term.id] = successors[0]
    return Release(
        release=release_date(ontology),
        labels={term.id: term.name or term.id for term in live},
        parents={
            term.id: tuple(
                parent.id for parent in term.superclasses(distance=1, with_self=False) if parent.id.startswith(PREFIX)
            )
            for term in live
        },
        synonyms={term.id: tuple(s.description for s in term.synonyms if s.scope == "EXACT") for term in live},
        replaced=replaced,
        obsolete={term.id: term.name or term.id for term in retired},
        subsets={tag: tuple(ids) for tag, ids in subsets.items()},
    )
