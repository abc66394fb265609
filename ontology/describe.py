"""Terms and common ancestors in words: what the command line prints, as text or as a dictionary."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.errors import UnknownTermError
from celljury.ontology.extra import CURIE
from celljury.ontology.general import too_general_policy
from celljury.ontology.names import NameIndex
from celljury.ontology.unknown import unknown_term_error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celljury.ontology.general import TooGeneral
    from celljury.ontology.graph import CellOntology, Term
    from celljury.ontology.relations import Relations
    from celljury.ontology.statements import Told

# Wide terms have hundreds of children; a screen shows the first.
SHOWN = 12


@dataclass(frozen=True, slots=True)
class BeyondIsA:
    """What a release says of one term beyond is_a, with what it inherits.

    Attributes
    ----------
    develops_from, develops_into
        Terms before and after it, as stated of the term itself.
    disjoint_from
        Terms that no such cell is, as stated of the term or an ancestor.
    markers
        Gene, ``has`` or ``lacks``, and where that stands.
    statements
        Relation and object of its taxa and places, as stated of the term itself.
    lacking
        What the release does not carry.
    source
        Release and file.
    """

    develops_from: tuple[Term, ...]
    develops_into: tuple[Term, ...]
    disjoint_from: tuple[Term, ...]
    markers: tuple[tuple[str, str, str], ...]
    statements: tuple[tuple[str, str], ...]
    lacking: tuple[str, ...]
    source: str

    def lines(self) -> list[str]:
        """Return what there is as plain text."""
        text = []
        neighbours = (
            ("develops from", self.develops_from),
            ("develops into", self.develops_into),
            ("disjoint from", self.disjoint_from),
        )
        for name, terms in neighbours:
            if terms:
                text.append(f"  {name}: {len(terms)}")
                text += [f"    {headline(term)}" for term in terms[:SHOWN]]
                if len(terms) > SHOWN:
                    text.append(f"    ... and {len(terms) - SHOWN} more")
        if self.markers:
            text.append(f"  markers: {len(self.markers)}")
            text += [f"    {state} {gene}: {where}" for gene, state, where in self.markers]
        text += [f"  {relation.replace('_', ' ')}: {target}" for relation, target in self.statements]
        missing = f"; without {', '.join(self.lacking)}" if self.lacking else ""
        return [*text, f"  beyond is_a: {self.source}{missing}"]


@dataclass(frozen=True, slots=True)
class TermCard:
    """One term with its surroundings.

    Attributes
    ----------
    term
        Id, label, depth, bits, descendants.
    found_by
        What the text named: ``id``, ``replaced_id``, ``label`` or ``synonym``.
    synonyms
        Exact synonyms.
    parents, children
        Direct is_a neighbours, most specific first.
    lineage
        One path from the root to the term: of several parents the most specific one that is not too general.
    n_ancestors
        All terms above; more than the lineage shows where there are several paths.
    too_general
        Why the term is too general to be a label; empty = it may be one.
    release
        Of the ontology.
    beyond
        Relations beyond is_a; None = not asked for.
    """

    term: Term
    found_by: str
    synonyms: tuple[str, ...]
    parents: tuple[Term, ...]
    children: tuple[Term, ...]
    lineage: tuple[Term, ...]
    n_ancestors: int
    too_general: str
    release: str
    beyond: BeyondIsA | None = None

    def lines(self) -> list[str]:
        """Return the card as plain text."""
        text = [headline(self.term), f"  {measures(self.term)}"]
        if self.found_by == "replaced_id":
            text.append("  found through an alternative or obsolete id")
        text.append(f"  {_generality(self.too_general)}")
        if self.synonyms:
            text.append(f"  synonyms: {'; '.join(self.synonyms)}")
        path = " > ".join(term.label for term in self.lineage)
        more = self.n_ancestors + 1 - len(self.lineage)
        text.append(f"  lineage: {path}" + (f" (and {more} more above it by other parents)" if more else ""))
        for name, terms in (("parents", self.parents), ("children", self.children)):
            text.append(f"  {name}: {len(terms) or 'none'}")
            text += [f"    {headline(term)}" for term in terms[:SHOWN]]
            if len(terms) > SHOWN:
                text.append(f"    ... and {len(terms) - SHOWN} more")
        if self.beyond is not None:
            text += self.beyond.lines()
        return [*text, f"  Cell Ontology {self.release}, CC BY 4.0"]

    def as_dict(self) -> dict[str, Any]:
        """Return the card for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CommonAncestor:
    """What some terms have in common.

    Attributes
    ----------
    inputs
        The terms that were given.
    lca
        Their lowest common ancestor; None where they share none.
    too_general
        Why it is too general to be a label; empty = it may be one.
    others
        Further common ancestors with no common ancestor below them, which a term with several parents allows: less
        specific than ``lca`` by the reducer's order.
    release
        Of the ontology.
    """

    inputs: tuple[Term, ...]
    lca: Term | None
    too_general: str
    others: tuple[Term, ...]
    release: str

    def lines(self) -> list[str]:
        """Return the answer as plain text, the common ancestor first."""
        given = [f"    {headline(term)} ({measures(term)})" for term in self.inputs]
        tail = f"  Cell Ontology {self.release}, CC BY 4.0"
        if self.lca is None:
            return ["no common ancestor", "  these terms have no ancestor in common:", *given, tail]
        what = "both" if len(self.inputs) == 2 else "all"
        text = [
            headline(self.lca),
            f"  {measures(self.lca)}",
            f"  {_generality(self.too_general)}",
            f"  names what {what} of these are:",
            *given,
        ]
        if self.others:
            text.append("  they also meet, less specifically, at:")
            text += [f"    {headline(term)} ({measures(term)})" for term in self.others]
        return [*text, tail]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        return asdict(self)


def show_term(
    ontology: CellOntology,
    text: str,
    *,
    policy: TooGeneral | None = None,
    names: NameIndex | None = None,
    relations: Relations | None = None,
) -> TermCard:
    """Return the card of the term that ``text`` names by id, label or exact synonym.

    Parameters
    ----------
    policy
        What is too general; None = the shipped list.
    names
        Index to look the text up in; None = one is made.
    relations
        Of this ontology; None = the card says nothing beyond is_a.

    Raises
    ------
    UnknownTermError
        If nothing has that name; the nearest terms are named.
    """
    i_term, found_by = _find(ontology, text, names=names)
    policy = policy or too_general_policy(ontology)
    path = [i_term]
    while parents := ontology.parents(path[-1]).tolist():
        path.append(min(parents, key=lambda i: (policy.mask[i], i)))
    return TermCard(
        term=ontology.term(i_term),
        found_by=found_by,
        synonyms=ontology.synonyms[i_term],
        parents=tuple(ontology.term(int(i)) for i in ontology.parents(i_term)),
        children=tuple(ontology.term(int(i)) for i in ontology.children(i_term)),
        lineage=tuple(ontology.term(i) for i in reversed(path)),
        n_ancestors=len(ontology.ancestors(i_term, include_self=False)),
        too_general=policy.why.get(i_term, ""),
        release=ontology.source.release,
        beyond=None if relations is None else describe_beyond(relations, i_term),
    )


def describe_beyond(relations: Relations, i_term: int) -> BeyondIsA:
    """Return what relations say of a term."""
    ontology = relations.ontology
    later, earlier = relations.develops_from.T
    p, q = relations.disjoint_from.T
    others = np.concatenate([q[ontology.is_ancestor(p, i_term)], p[ontology.is_ancestor(q, i_term)]])

    def terms(indices: np.ndarray) -> tuple[Term, ...]:
        return tuple(ontology.term(i) for i in np.unique(indices).tolist())

    stated = (*relations.taxa.get(i_term, ()), *relations.locations.get(i_term, ()))
    return BeyondIsA(
        develops_from=terms(earlier[later == i_term]),
        develops_into=terms(later[earlier == i_term]),
        disjoint_from=terms(others),
        markers=tuple((marker.gene, marker.state, marker.said_by) for marker in relations.markers_of(i_term)),
        statements=tuple((statement.relation, statement.object) for statement in stated),
        lacking=relations.lacking,
        source=f"{relations.source.origin}, CL {relations.source.release}",
    )


def describe_lca(ontology: CellOntology, texts: Sequence[str], *, policy: TooGeneral | None = None) -> CommonAncestor:
    """Return the lowest common ancestor of terms named by id, label or exact synonym.

    Raises
    ------
    UnknownTermError
        If a text names no term; the nearest terms are named.
    """
    names = NameIndex(ontology)
    wanted = [_find(ontology, text, names=names)[0] for text in texts]
    policy = policy or too_general_policy(ontology)
    i_lca = ontology.lca(wanted)
    others: list[int] = []
    if i_lca >= 0:
        common = ontology.ancestor_rows(wanted).all(axis=0)
        for i_term in np.flatnonzero(common).tolist():
            below = [lowest for lowest in (i_lca, *others) if ontology.is_ancestor(i_term, lowest)]
            if not below:
                others.append(i_term)
    return CommonAncestor(
        inputs=tuple(ontology.term(i) for i in wanted),
        lca=ontology.term(i_lca) if i_lca >= 0 else None,
        too_general=policy.why.get(i_lca, ""),
        others=tuple(ontology.term(i) for i in others),
        release=ontology.source.release,
    )


@dataclass(frozen=True, slots=True)
class StatementSummary:
    """How many statements of each relation a release makes, what it lacks, and where the table of them is."""

    table: str
    release: str
    sha256: str
    counts: dict[str, int]
    lacking: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the summary as plain text."""
        text = [f"CL {self.release}: {sum(self.counts.values()):,} statements in {self.table}"]
        text += [f"  {relation}: {n:,}" for relation, n in self.counts.items()]
        return [*text, f"  not in this release: {', '.join(self.lacking) or 'nothing'}"]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for JSON."""
        return asdict(self)


def summary_of_statements(told: Told, *, out: Path) -> StatementSummary:
    """Return the summary of what was written to ``out``."""
    counts = Counter(statement.relation for statement in told.statements)
    return StatementSummary(
        str(out), told.source.release, told.source.sha256, dict(sorted(counts.items())), told.lacking
    )


def headline(term: Term) -> str:
    """Return id and label, e.g. ``CL:0000084 T cell``."""
    return f"{term.id} {term.label}"


def measures(term: Term) -> str:
    """Return depth, information content and size in words."""
    return f"depth {term.depth}, {term.ic:.2f} bits, {term.n_descendants:,} descendants"


def _generality(why: str) -> str:
    return f"too general to be a label: {why}" if why else "not on the too-general list: may be called"


def _find(ontology: CellOntology, text: str, *, names: NameIndex | None) -> tuple[int, str]:
    names = names or NameIndex(ontology)
    if (match := names.lookup(text)) is not None:
        return match.i_term, match.how
    if CURIE.fullmatch(text.strip()):
        raise unknown_term_error(ontology, text.strip())
    near = [(ontology.ids[i], ontology.labels[i]) for i, _ in names.search(text, limit=3)]
    raise UnknownTermError.for_text(text, release=ontology.source.release, near=near)
