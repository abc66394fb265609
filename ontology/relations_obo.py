"""Read what a release file says beyond is_a, through pronto: develops_from, disjoint_from, markers, taxa, location."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from celljury.ontology.markers import genes_by_protein, stated_as_phenotype, stated_in_name
from celljury.ontology.pronto_file import opened, release_date
from celljury.ontology.release import PREFIX
from celljury.ontology.statements import WITHIN, RelationsSource, Statement, Told, in_order
from celljury.ontology.taxa import taxon_in_label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celljury.ontology.statements import State

# Property ids as releases write them; older ones write markers by name. "Into" is read as "from" the other way round:
# it says that a transition exists, not that every later cell came this way.
DEVELOPS_FROM: Final = frozenset({"RO:0002202", "RO:0002207", "RO:0001000", "develops_from"})
DEVELOPS_INTO: Final = frozenset({"RO:0002203", "RO:0002210", "RO:0002387", "RO:0002388", "develops_into"})
HAS_PROTEIN: Final = frozenset(
    {
        "RO:0002104", "has_plasma_membrane_part",
        "RO:0015015", "has_high_plasma_membrane_amount",
        "BFO:0000051", "has_part", "RO:0002292",
    }
)  # fmt: skip
LOW_PROTEIN: Final = frozenset({"RO:0015016", "has_low_plasma_membrane_amount"})
LACKS_PROTEIN: Final = frozenset({"CL:4030046", "lacks_plasma_membrane_part", "CL:4030045", "lacks_part"})
TAXON: Final = {
    "RO:0002175": "present_in_taxon",
    "RO:0002160": "only_in_taxon",
    "RO:0002162": "only_in_taxon",  # in taxon: all of them are
    "RO:0002161": "never_in_taxon",
}
LOCATION: Final = {"BFO:0000050": "part_of", "part_of": "part_of", "RO:0001025": "located_in",
                   "RO:0002100": "has_soma_location"}  # fmt: skip
ANATOMY: Final = "UBERON:"


def read_relations(path: Path) -> Told:
    """Return what a release file says, of live Cell Ontology terms; imports are not followed.

    Clauses are read wherever they stand: as relationships, inside logical definitions (intersection_of), as annotations
    (taxa). Relationships that hold in one context only (gci_relation) are left out: pronto drops that qualifier, and
    they would be read as holding everywhere. Markers come from clauses about proteins, labels, exact synonyms, and lists
    of a phenotype in text definitions (see `stated_in_name`, `stated_as_phenotype`).

    Raises
    ------
    UnreadableFileError
        If the file is missing, truncated, of another format, a directory, or holds no Cell Ontology term.
    MemberUnavailableError
        If pronto is not installed.
    """
    with opened(path) as ontology:
        content = path.read_bytes()
        terms = [term for term in ontology.terms() if not term.obsolete]
        ours = [term for term in terms if term.id.startswith(PREFIX)]
        statements = {statement for term in ours for statement in _of_term(term)}
        statements |= {statement for term in terms if term.id.startswith(ANATOMY) for statement in _of_place(term)}
        release = release_date(ontology)
    live = {term.id for term in ours}
    in_one_context = _contextual(content)
    kept = {
        statement
        for statement in statements
        if (not statement.object.startswith(PREFIX) or statement.object in live)
        and (statement.subject in live or statement.relation == WITHIN)
        and frozenset((statement.subject, statement.source, statement.object)) not in in_one_context
    }
    source = RelationsSource(release, path.name, hashlib.sha256(content).hexdigest())
    return Told(in_order(kept), source)


def _of_term(term: Any) -> Iterator[Statement]:
    # The public attributes look every id up and fail on those that the file only names; the record holds them as text.
    record = term._data()
    for other in record.disjoint_from:
        yield Statement(min(term.id, other), "disjoint_from", max(term.id, other), "disjoint_from")
    for prop, target in _clauses(record):
        if prop in DEVELOPS_FROM and target.startswith(PREFIX):
            yield Statement(term.id, "develops_from", target, prop)
        elif prop in DEVELOPS_INTO and target.startswith(PREFIX):
            yield Statement(target, "develops_from", term.id, prop)
        elif prop in TAXON and target.startswith("NCBITaxon:"):
            yield Statement(term.id, TAXON[prop], target, prop)
        elif prop in LOCATION and target.startswith(ANATOMY):
            yield Statement(term.id, LOCATION[prop], target, prop)
        elif prop in HAS_PROTEIN and target in genes_by_protein():
            for gene in genes_by_protein()[target].has:
                yield Statement(term.id, "has_marker", gene, prop)
        elif prop in LOW_PROTEIN and target in genes_by_protein():
            for gene in genes_by_protein()[target].has:
                yield Statement(term.id, "low_marker", gene, prop)
        elif prop in LACKS_PROTEIN and target in genes_by_protein():
            for gene in genes_by_protein()[target].lacks:
                yield Statement(term.id, "lacks_marker", gene, prop)
    if (taxon := taxon_in_label(term.name or "")) is not None:
        yield Statement(term.id, "only_in_taxon", taxon, "label")
    texts: list[tuple[str, set[tuple[str, State]]]] = [
        ("label", stated_in_name(term.name or "")),
        ("phenotype", stated_as_phenotype(str(term.definition or ""))),
    ]
    texts += [("synonym", stated_in_name(s.description)) for s in term.synonyms if s.scope == "EXACT"]
    for source, stated in texts:
        for gene, state in stated:
            yield Statement(term.id, f"{state}_marker", gene, source)


def _clauses(record: Any) -> Iterator[tuple[str, str]]:
    for prop, targets in record.relationships.items():
        yield from ((str(prop), str(target)) for target in targets)
    # A genus stands in the set as plain text, a differentia as a pair.
    yield from ((str(part[0]), str(part[1])) for part in record.intersection_of if isinstance(part, tuple))
    for annotation in record.annotations:
        if hasattr(annotation, "resource"):
            yield str(annotation.property), str(annotation.resource)


def _of_place(term: Any) -> Iterator[Statement]:
    for above in term.superclasses(distance=1, with_self=False):
        if above.id.startswith(ANATOMY):
            yield Statement(term.id, WITHIN, above.id, "is_a")
    for prop, target in _clauses(term._data()):
        if LOCATION.get(prop) == "part_of" and target.startswith(ANATOMY):
            yield Statement(term.id, WITHIN, target, prop)


def _contextual(content: bytes) -> set[frozenset[str]]:
    """Return subject, property and object of OBO relationships that carry a gci qualifier."""
    found = set()
    subject = ""
    for line in content.decode("utf-8", errors="replace").splitlines():
        if line.startswith("id: "):
            subject = line[4:].strip()
        elif "gci_relation=" in line and (match := re.match(r"relationship: (\S+) (\S+)", line)):
            found.add(frozenset((subject, match[1], match[2])))
    return found
