"""The votes of the same cells in two runs, side by side over all members, and what else their calls are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.compare.carry import Carried, carry, same_ontology
from celljury.compare.causes import NOTHING, Cause
from celljury.ontology.general import too_general

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.compare.pairing import Pairs
    from celljury.compare.sides import Side
    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]
    Rows = NDArray[np.int64]

_THRESHOLD = ("alpha", "tier", "loss", "strata")
_EPS = ("eps", "unseen")


@dataclass(frozen=True)
class Both:
    """Two runs over common cells.

    Attributes
    ----------
    a, b
        The runs.
    pairs
        Their common cells.
    there, back
        A's terms in B's ontology, and B's in A's.
    """

    a: Side
    b: Side
    pairs: Pairs
    there: Carried
    back: Carried

    @classmethod
    def of(cls, a: Side, b: Side, pairs: Pairs) -> Both:
        """Carry the terms of each run into the other's ontology."""
        return cls(a, b, pairs, carry(a.ontology, b.ontology), carry(b.ontology, a.ontology))

    @cached_property
    def other_ontology(self) -> bool:
        """Whether the two runs use different ontologies."""
        return not same_ontology(self.a.ontology, self.b.ontology)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """All members of either run: A's in its order, then those that only B has."""
        return (*self.a.members, *(name for name in self.b.members if name not in self.a.members))

    def present(self, side: Side) -> Bools:
        """Return which of ``members`` take part in a run, bool (n_members,)."""
        return np.array([name in side.members and name not in side.absent for name in self.members], bool)

    @cached_property
    def general(self) -> dict[tuple[bool, bool], Bools]:
        """Terms that are no label, by (B's ontology, B's list): bool (n_terms,)."""
        found = {}
        for later in (False, True):
            ontology = (self.b if later else self.a).ontology
            for other in (False, True):
                found[later, other] = _general(self.b if other else self.a, ontology)
        return found

    def common(self, term: Ints, *, later: bool) -> Ints:
        """Return one number a term for both ontologies, int32: B's index, or beyond them A's where B lacks the id."""
        if later:
            return term
        apart = len(self.b.ontology) + np.arange(len(self.there.to), dtype=np.int32)
        code = np.where(self.there.live, self.there.to, apart).astype(np.int32)
        code[-1] = -1
        return code[term]

    def differing(self) -> Cause:
        """Return what is not the same in the two runs, as far as their records and calls say."""
        a, b = self.a, self.b
        found = NOTHING
        if self.other_ontology:
            found |= Cause.ONTOLOGY
        if not np.array_equal(self.present(a), self.present(b)):
            found |= Cause.MEMBERS
        own, other = a.config.reduce, b.config.reduce
        if (a.rule, own.threshold, own.on) != (b.rule, other.threshold, other.on):
            found |= Cause.RULE
        if a.config.too_general != b.config.too_general:
            found |= Cause.TOO_GENERAL
        mine, its = a.config.calibration.model_dump(), b.config.calibration.model_dump()
        if any(mine[name] != its[name] for name in mine if name not in (*_THRESHOLD, *_EPS, "match")):
            found |= Cause.EVIDENCE
        if (a.run.record.get("jury") or {}).get("sha256") != (b.run.record.get("jury") or {}).get("sha256"):
            found |= Cause.EVIDENCE
        if any(mine[name] != its[name] for name in _THRESHOLD):
            found |= Cause.THRESHOLD
        if any(mine[name] != its[name] for name in _EPS):
            found |= Cause.EPS
        # What stands in the cells themselves is looked at cell by cell.
        return found | Cause.VOTES | Cause.BELONGING | Cause.REVIEW | Cause.CURATOR

    @cached_property
    def remapped(self) -> dict[str, NDArray[np.int64]]:
        """Per member of two vote runs: pairs of terms that one and the same label was read as, coded as in `pair_code`."""
        found = {}
        for name in set(self.a.run.record.get("labels", {})) & set(self.b.run.record.get("labels", {})):
            first, second = (
                {row["label"]: row["term"] for row in side.run.record["labels"][name]} for side in (self.a, self.b)
            )
            pairs = [
                (_index(first[label], self.a.ontology), _index(second[label], self.b.ontology))
                for label in first.keys() & second.keys()
                if first[label] != second[label]
            ]
            if pairs:
                ta, tb = np.array(pairs, np.int32).T
                found[name] = self.pair_code(ta, tb)
        return found

    def pair_code(self, ta: Ints, tb: Ints) -> NDArray[np.int64]:
        """Return one number for a term of A and one of B, int64."""
        return (ta.astype(np.int64) + 1) * (len(self.b.ontology) + 1) + tb + 1


@dataclass(frozen=True)
class Votes4:
    """Votes of some common cells at each of the first swaps, int32 (n, n_members), -1 = none.

    Attributes
    ----------
    start
        A's votes, in A's ontology.
    ontology
        The same in B's ontology.
    members
        Of the members that take part in B: those of A that do too, and B's own votes of those that A lacks.
    votes
        B's votes.
    """

    start: Ints
    ontology: Ints
    members: Ints
    votes: Ints

    @classmethod
    def of(cls, both: Both, rows_a: Rows, rows_b: Rows) -> Votes4:
        """Lay the votes of some cells side by side.

        A vote that the other release cannot hold - A's term is gone, or B's is new - becomes B's vote with the ontology:
        whatever stands there now, the release put it there. So does one label that the releases read as two terms.
        """
        a, b = both.a, both.b
        present_a, present_b = both.present(a), both.present(b)
        va, vb = (_aligned(side, rows, both.members) for side, rows in ((a, rows_a), (b, rows_b)))
        va[:, ~present_a] = -1
        vb[:, ~present_b] = -1
        carried = both.there.to[va]
        if both.other_ontology:
            forced = (~both.there.exact[va] & (va >= 0)) | (~both.back.exact[vb] & (vb >= 0))
            for name, codes in both.remapped.items():
                j = both.members.index(name)
                forced[:, j] |= np.isin(both.pair_code(va[:, j], vb[:, j]), codes)
            forced &= present_a & present_b
            carried = np.where(forced, vb, carried)
        carried[:, ~present_a] = -1
        members = np.where(present_b & ~present_a, vb, np.where(present_b, carried, np.int32(-1)))
        return cls(va, carried.astype(np.int32), members.astype(np.int32), vb)

    def at(self, taken: Cause) -> Ints:
        """Return the votes once some parts are B's."""
        if taken & Cause.VOTES:
            return self.votes
        if taken & Cause.MEMBERS:
            return self.members
        return self.ontology if taken & Cause.ONTOLOGY else self.start


def _aligned(side: Side, rows: Rows, members: tuple[str, ...]) -> Ints:
    found = np.full((len(rows), len(members)), -1, np.int32)
    for j, name in enumerate(side.members):
        found[:, members.index(name)] = side.calls.votes[rows, j]
    return found


def _index(term: str | None, ontology: CellOntology) -> int:
    return ontology.index(term) if term else -1


def _general(side: Side, ontology: CellOntology) -> Bools:
    """Return a run's terms that are no label in another ontology; an id that is not there cannot be called either."""
    settings: dict[str, Any] = side.config.too_general.model_dump()
    for name in ("terms", "exceptions"):
        if settings[name] is not None:
            settings[name] = tuple(term for term in settings[name] if term in ontology or term in ontology.obsolete)
    return too_general(ontology, **settings)
