"""Where a release contradicts itself: terms under two disjoint terms, markers stated both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from celljury.ontology.relations import Relations


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One finding.

    Attributes
    ----------
    kind
        ``under_disjoint``: the term lies at or below two terms that exclude each other. ``marker``: the term says of a
        gene both that it has it and that it lacks it, or inherits both from terms equally near.
    term
        Id of the term.
    between
        What contradicts each other: the ids of two terms, or where the two statements stand (has, lacks).
    gene
        The gene, with ``marker``; else empty.
    """

    kind: Literal["under_disjoint", "marker"]
    term: str
    between: tuple[str, str]
    gene: str = ""


def self_check(relations: Relations) -> tuple[Contradiction, ...]:
    """Return what the release says against itself, by kind, term and gene; nothing is repaired.

    Of terms under two disjoint terms the most general are listed: what lies below them follows.
    """
    return (*_under_disjoint(relations), *_markers(relations))


def _under_disjoint(relations: Relations) -> list[Contradiction]:
    ontology = relations.ontology
    found = []
    for p, q in relations.disjoint_from.tolist():
        both = np.intersect1d(ontology.descendants(p), ontology.descendants(q))
        for term in both.tolist():
            if not np.isin(ontology.parents(term), both).any():
                found.append(Contradiction("under_disjoint", ontology.ids[term], (ontology.ids[p], ontology.ids[q])))
    return sorted(found, key=lambda finding: (finding.term, finding.between))


def _markers(relations: Relations) -> list[Contradiction]:
    ontology = relations.ontology
    found = set()
    for term, own in relations.markers.items():
        for marker in own:
            found |= {
                Contradiction("marker", ontology.ids[term], (marker.said_by, other.said_by), marker.gene)
                for other in own
                if (marker.gene, marker.state, other.state) == (other.gene, "has", "lacks")
            }
    concerned = {int(i) for term in relations.markers for i in ontology.descendants(term)}
    disputes = {term: relations.disputed(term) for term in concerned}
    for term, genes in disputes.items():
        above = {gene for parent in ontology.parents(term).tolist() for gene in disputes.get(parent, ())}
        for gene, (has, lacks) in genes.items():
            # A parent with the same dispute says it for its children.
            if gene not in above:
                found.add(Contradiction("marker", ontology.ids[term], (has.said_by, lacks.said_by), gene))
    return sorted(found, key=lambda finding: (finding.term, finding.gene, finding.between))
