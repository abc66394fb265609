"""Terms as the CELLxGENE archive takes them: those of its own Cell Ontology release, none obsolete, none forbidden."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from celljury.errors import OntologyError
from celljury.ontology.graph import ROOT
from celljury.ontology.guide import guide_folder, guide_origin
from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celljury.ontology.graph import CellOntology

SCHEMA: Final = "7.1.0"
"""CELLxGENE schema that cellxgene-schema 7.1.2 checks (its schema_definition.yaml says "Corpora schema version 7.1.0")."""

# obs.cell_type_ontology_term_id, curie_constraints.forbidden of that file: eukaryotic cell, Eumycetozoan cell, and animal
# cell (obsolete). It forbids terms of WBbt as well, which are never called.
FORBIDDEN: Final = frozenset({"CL:0000255", "CL:0000257", "CL:0000548"})
UNKNOWN: Final = "unknown"

Why = Literal["", "obsolete", "lacks", "forbidden", "outside"]
WHY: Final[dict[Why, str]] = {
    "obsolete": "obsolete in its release, which names this successor",
    "lacks": "its release has no such term; this is the most specific ancestor that it has",
    "forbidden": "the schema forbids this term; this is the most specific ancestor that it takes",
    "outside": "neither the term nor an ancestor of it is in its release",
}


@dataclass(frozen=True, slots=True)
class ArchiveTerm:
    """What the archive takes for a called term.

    Attributes
    ----------
    term, label
        As called.
    to, to_label
        As exported; ``unknown`` where nothing fits.
    why
        Why the two differ, a key of `WHY`; empty where they do not.
    """

    term: str
    label: str
    to: str
    to_label: str
    why: Why


def archive_release() -> str:
    """Return the Cell Ontology release that the archive's schema pins, as the installed guide knows it.

    Raises
    ------
    OntologyError
        If the installed guide does not carry that schema.
    """
    known = json.loads((guide_folder() / "ontology_info.json").read_text(encoding="utf-8"))
    if SCHEMA not in known:
        message = (
            f"{guide_origin()} does not carry the ontologies of CELLxGENE schema {SCHEMA}, only of {', '.join(known)}. Install"
            " cellxgene-ontology-guide 1.11."
        )
        raise OntologyError(message)
    return str(known[SCHEMA]["ontologies"]["CL"]["version"]).removeprefix("v")


def archive_ontology() -> CellOntology:
    """Return the Cell Ontology of the archive."""
    return load_ontology(release=archive_release())


def archive_terms(terms: Iterable[str], used: CellOntology, archive: CellOntology) -> dict[str, ArchiveTerm]:
    """Return what the archive takes for each called term.

    A term that its release retired is followed to its successor. One that it lacks or forbids becomes the most specific
    ancestor that it takes: a true statement about the cell, and a shallower one.

    Parameters
    ----------
    terms
        Ids as called.
    used
        The ontology of the run: it knows the ancestors of terms that the archive lacks.
    archive
        The ontology of the archive.
    """
    return {term: _taken(term, used, archive) for term in terms}


def _taken(term: str, used: CellOntology, archive: CellOntology) -> ArchiveTerm:
    i_used = used.index(term)
    label = used.labels[i_used]
    why: Why
    if _is_taken(term, archive):
        return ArchiveTerm(term, label, term, _label(term, archive), "")
    if (to := archive.replaced.get(term)) is not None and _is_taken(to, archive):
        return ArchiveTerm(term, label, to, _label(to, archive), "obsolete")
    why = "forbidden" if term in FORBIDDEN else "lacks"
    # Rows of the closure ascend, and a smaller index is a more specific term.
    for i_above in used.ancestors(i_used).tolist():
        if _is_taken(used.ids[i_above], archive):
            return ArchiveTerm(term, label, used.ids[i_above], _label(used.ids[i_above], archive), why)
    return ArchiveTerm(term, label, UNKNOWN, UNKNOWN, "outside")


def _is_taken(term: str, archive: CellOntology) -> bool:
    """Whether a live term at or below "cell" that is not forbidden."""
    if term in FORBIDDEN or term not in archive or term in archive.replaced:
        return False
    return bool(archive.is_ancestor(archive.index(ROOT), archive.index(term)))


def _label(term: str, archive: CellOntology) -> str:
    return archive.labels[archive.index(term)]
