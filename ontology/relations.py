"""Relations beyond is_a on one ontology: transitions, exclusions, stated markers, taxa and places, inherited downwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from celljury.ontology.general import too_general
from celljury.ontology.pairs import first_pair, transition_paths
from celljury.ontology.places import apart, parts_by_place
from celljury.ontology.relations_obo import read_relations
from celljury.ontology.statements import (
    BETWEEN_TERMS,
    LOCATION_RELATIONS,
    MARKER_STATES,
    TAXON_RELATIONS,
    WITHIN,
    Statement,
    read_statements,
)
from celljury.ontology.taxa import lineage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.statements import RelationsSource, State, Told

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Marker:
    """A gene that a term is stated to have or to lack.

    Attributes
    ----------
    gene
        HGNC symbol.
    state
        ``has`` or ``lacks``; ``low`` is neither, and only stops what is inherited.
    term
        Id of the term that states it: the term itself or an ancestor.
    source
        ``label``, ``synonym``, ``phenotype`` (a list in the text definition), or the id of the property of a clause.
    """

    gene: str
    state: State
    term: str
    source: str

    @property
    def said_by(self) -> str:
        """Where it stands, e.g. ``label of CL:0000624``."""
        what = {"phenotype": "phenotype in the definition"}.get(self.source, self.source)
        return f"{what} of {self.term}" if ":" not in self.source else f"definition of {self.term}"


@dataclass(frozen=True, eq=False)
class Relations:
    """What a release says beyond is_a, on the terms of a loaded ontology.

    Terms are indices of ``ontology``. What is stated of a term holds of everything below it, except where a term nearer
    by states otherwise.

    Attributes
    ----------
    ontology
        The index that all terms refer to.
    develops_from
        Edges (later, earlier), int32 (n_edges, 2), ascending.
    disjoint_from
        Pairs that no cell is both of, int32 (n_pairs, 2), smaller index first, ascending.
    markers
        Term -> markers that it states itself, by gene; a source may contradict another.
    taxa, locations
        Term -> statements about organisms and anatomical structures that it makes itself.
    within
        Anatomical structure -> what it is a kind or part of; empty where the release has no anatomy.
    general
        Terms too general to carry a transition, bool (n_terms,).
    lacking
        Kinds of statement that the release does not carry, see `celljury.ontology.statements.KINDS`.
    source
        Release, file, hash and licence of the statements; the ontology's own source may be another release.
    n_dropped
        Statements left out since an id is not live in ``ontology``.
    """

    ontology: CellOntology
    develops_from: Ints
    disjoint_from: Ints
    markers: Mapping[int, tuple[Marker, ...]] = field(repr=False)
    taxa: Mapping[int, tuple[Statement, ...]] = field(repr=False)
    locations: Mapping[int, tuple[Statement, ...]] = field(repr=False)
    within: Mapping[str, tuple[str, ...]] = field(repr=False)
    general: NDArray[np.bool_] = field(repr=False)
    lacking: tuple[str, ...]
    source: RelationsSource
    n_dropped: int

    def __post_init__(self) -> None:
        for array in (self.develops_from, self.disjoint_from, self.general):
            array.flags.writeable = False

    # Transitions ------------------------------------------------------------------------------------------------

    @cached_property
    def _paths(self) -> tuple[Ints, Ints]:
        """Ends (later, earlier) of usable paths, int32 (n_paths, 2), best first, and the term between, -1 = one edge."""
        return transition_paths(self.ontology, self.develops_from, self.general)

    def pairs_joined(self, a: Ints, b: Ints) -> Ints:
        """Return the transition between two terms of each pair as (later, earlier), int32 (n, 2); -1, -1 = none.

        A pair is joined where A develops from B in one or two steps, one term is at or below A, and the other is at or
        below B, or above it: what develops from a mature B cell develops from a B cell. Terms of one line, terms below
        both ends, and ends that are too general to be a label are not joined. Of several paths the shorter is given,
        then the more informative.

        Parameters
        ----------
        a, b
            Terms, int32 (n,); -1 = none.
        """
        ends, _ = self._paths
        heads, at = np.unique(ends[:, 1], return_inverse=True)
        above_heads = self.ontology.ancestor_rows(heads)

        def sides(used: Ints, above: Bools) -> tuple[Bools, Bools]:
            later, earlier = above[:, ends[:, 0]], above[:, ends[:, 1]]
            wider = (above_heads[:, used] & ~self.general[used]).T[:, at]
            return later & ~earlier, (earlier | wider) & ~later

        found = first_pair(self.ontology, len(ends), a, b, sides, on_one_line=False)
        return _with_none(ends)[found]

    def transition(self, a: int, b: int) -> tuple[int, int] | None:
        """Return the transition between two terms as (later, earlier), or None; see `pairs_joined`."""
        later, earlier = self.pairs_joined(np.array([a], np.int32), np.array([b], np.int32))[0].tolist()
        return (later, earlier) if later >= 0 else None

    def steps(self, later: int, earlier: int) -> tuple[int, ...]:
        """Return the terms of a transition that `transition` gave, from later to earlier; empty = there is none."""
        ends, between = self._paths
        at = np.flatnonzero((ends == (later, earlier)).all(axis=1))
        if at.size == 0:
            return ()
        middle = int(between[at[0]])
        return (later, earlier) if middle < 0 else (later, middle, earlier)

    # Exclusions -------------------------------------------------------------------------------------------------

    def pairs_disjoint(self, a: Ints, b: Ints) -> Ints:
        """Return the disjoint terms that two terms of each pair lie at or below, int32 (n, 2); -1, -1 = none.

        The first is above ``a``, the second above ``b``. The most informative such pair is given.
        """
        pairs = self.disjoint_from
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], -self.ontology.ic[pairs].sum(axis=1)))]

        def sides(_: Ints, above: Bools) -> tuple[Bools, Bools]:
            return above[:, pairs[:, 0]], above[:, pairs[:, 1]]

        found = first_pair(self.ontology, len(pairs), a, b, sides, on_one_line=True)
        result = _with_none(pairs)[found]
        turned = (found >= 0) & ~(
            self.ontology.is_ancestor(result[:, 0], a) & self.ontology.is_ancestor(result[:, 1], b)
        )
        result[turned] = result[turned, ::-1]
        return result

    def disjoint(self, a: int, b: int) -> tuple[int, int] | None:
        """Return the disjoint terms above ``a`` and above ``b``, or None; see `pairs_disjoint`."""
        above_a, above_b = self.pairs_disjoint(np.array([a], np.int32), np.array([b], np.int32))[0].tolist()
        return (above_a, above_b) if above_a >= 0 else None

    # What a term is stated to be --------------------------------------------------------------------------------

    def markers_of(self, term: int) -> tuple[Marker, ...]:
        """Return the markers of a term with those inherited, by gene; of two statements the nearer one holds.

        Within one term the stricter source holds: clause, label, phenotype, synonym. Where terms equally near say both,
        or the nearest says "low", nothing is returned (`celljury.ontology.relations_check.self_check` lists them).
        """
        nearest = self._nearest(term)
        return tuple(
            min(nearest[gene], key=lambda marker: (marker.source, marker.term))
            for gene in sorted(nearest)
            if len(states := {marker.state for marker in nearest[gene]}) == 1 and "low" not in states
        )

    def disputed(self, term: int) -> dict[str, tuple[Marker, Marker]]:
        """Return gene -> (has, lacks) where statements equally near to a term contradict each other."""
        return {
            gene: (
                min((m for m in markers if m.state == "has"), key=lambda m: m.term),
                min((m for m in markers if m.state == "lacks"), key=lambda m: m.term),
            )
            for gene, markers in sorted(self._nearest(term).items())
            if {"has", "lacks"} <= {marker.state for marker in markers}
        }

    def _nearest(self, term: int) -> dict[str, set[Marker]]:
        """Gene -> what the terms say of it that are nearest to the term, each by its strictest source."""
        said: dict[str, set[Marker]] = {}
        for level in self._levels(term):
            new: dict[str, set[Marker]] = {}
            for above in level:
                own = self.markers.get(above, ())
                # Sources sort by how strictly they speak: property ids, label, phenotype, synonym.
                strictest = {m.gene: m.source for m in sorted(own, key=lambda m: m.source, reverse=True)}
                for marker in own:
                    if marker.gene not in said and marker.source == strictest[marker.gene]:
                        new.setdefault(marker.gene, set()).add(marker)
            said |= new
        return said

    def excluded_by_taxon(self, term: int, organism: str) -> Statement | None:
        """Return the statement, of the term or an ancestor, that keeps it out of an organism; None = nothing does.

        "Present in" excludes nothing elsewhere; a term that is stated to be present in the organism is not excluded.

        Raises
        ------
        ConfigError
            If the organism is unknown, see `lineage`.
        """
        taxa = lineage(organism)
        for above in self.ontology.ancestors(term).tolist():
            for statement in self.taxa.get(above, ()):
                if statement.relation == "present_in_taxon" and statement.object in taxa:
                    return None
                if statement.relation == ("never_in_taxon" if statement.object in taxa else "only_in_taxon"):
                    return statement
        return None

    def excluded_by_location(self, term: int, tissue: str) -> Statement | None:
        """Return the statement, of the term or an ancestor, that places it outside a tissue; None = nothing does.

        A place is outside where the release's anatomy knows both and no structure is a kind or part of both of them.
        Places in blood exclude no tissue. Without anatomy nothing is excluded.

        Parameters
        ----------
        tissue
            Id, e.g. ``UBERON:0002048`` (lung).
        """
        for above in self.ontology.ancestors(term).tolist():
            for statement in self.locations.get(above, ()):
                if apart(self._below_place, statement.object, tissue):
                    return statement
        return None

    @cached_property
    def _below_place(self) -> Mapping[str, frozenset[str]]:
        return parts_by_place(self.within)

    def _levels(self, term: int) -> list[list[int]]:
        """Return the term, then its ancestors by fewest is_a steps."""
        levels, seen = [[term]], {term}
        while levels[-1]:
            above = {int(p) for child in levels[-1] for p in self.ontology.parents(child)} - seen
            seen |= above
            levels.append(sorted(above))
        return levels


def load_relations(ontology: CellOntology, path: Path | None = None) -> Relations:
    """Return the relations on a loaded ontology.

    Parameters
    ----------
    path
        A table made by ``celljury ontology relations`` (.tsv), or a release file to read through pronto; None = the
        table that ships, which was made from CL 2026-03-26.

    Raises
    ------
    UnreadableFileError
        If the file is missing or is neither.
    MemberUnavailableError
        If a release file is given and pronto is not installed.
    """
    is_table = path is None or path.suffix == ".tsv"
    return relations_on(ontology, read_statements(path) if is_table or path is None else read_relations(path))


def relations_on(ontology: CellOntology, told: Told) -> Relations:
    """Return a release's statements on an ontology; those about ids that are not live in it are dropped and counted."""
    index = {term_id: i for i, term_id in enumerate(ontology.ids)}
    edges: dict[str, set[tuple[int, int]]] = {relation: set() for relation in BETWEEN_TERMS}
    markers: dict[int, list[Marker]] = {}
    taxa: dict[int, list[Statement]] = {}
    locations: dict[int, list[Statement]] = {}
    within: dict[str, list[str]] = {}
    n_dropped = 0
    for statement in told.statements:
        subject, relation, target, source = statement
        if relation == WITHIN:
            within.setdefault(subject, []).append(target)
            continue
        term = index.get(subject)
        if term is None or (relation in BETWEEN_TERMS and target not in index):
            n_dropped += 1
        elif relation in BETWEEN_TERMS:
            edges[relation].add((term, index[target]))
        elif relation in TAXON_RELATIONS:
            taxa.setdefault(term, []).append(statement)
        elif relation in LOCATION_RELATIONS:
            locations.setdefault(term, []).append(statement)
        elif relation in MARKER_STATES:
            markers.setdefault(term, []).append(Marker(target, MARKER_STATES[relation], subject, source))
    return Relations(
        ontology=ontology,
        develops_from=_pairs(edges["develops_from"]),
        disjoint_from=_pairs({(min(pair), max(pair)) for pair in edges["disjoint_from"]}),
        markers={term: tuple(sorted(own, key=lambda m: (m.gene, m.state))) for term, own in markers.items()},
        taxa={term: tuple(rows) for term, rows in taxa.items()},
        locations={term: tuple(rows) for term, rows in locations.items()},
        within={part: tuple(wholes) for part, wholes in within.items()},
        general=too_general(ontology),
        lacking=told.lacking,
        source=told.source,
        n_dropped=n_dropped,
    )


def common_descendants(ontology: CellOntology, a: int, b: int, *, limit: int = 8) -> Ints:
    """Return the most general terms at or below both, largest first, int32 (at most limit,).

    Terms on two axes meet there: of memory T cell and CD4 T cell, CD4-positive memory T cell. Terms of one line, and
    terms that share no descendant, have none.
    """
    if a < 0 or b < 0 or bool(ontology.is_ancestor(a, b)) or bool(ontology.is_ancestor(b, a)):
        return np.empty(0, np.int32)
    both = np.intersect1d(ontology.descendants(a), ontology.descendants(b))
    # Whatever lies below a common descendant is one too, so that a largest one is known by its parents alone.
    largest = [term for term in both.tolist() if not np.isin(ontology.parents(term), both).any()]
    return np.array(largest[::-1][:limit], dtype=np.int32)


def _with_none(ends: Ints) -> Ints:
    """Return the ends with -1, -1 behind them, which index -1 then finds."""
    return np.concatenate([ends, np.full((1, 2), -1, np.int32)])


def _pairs(rows: set[tuple[int, int]]) -> Ints:
    return np.array(sorted(rows), dtype=np.int32).reshape(-1, 2)
