"""What changed about a cell's call: one kind a cell, judged in the ontology of run B."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.reduce import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.compare.carry import Carried
    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]


class Change(IntEnum):
    """Kinds of change; the names in lower case are the values of the column ``change``."""

    SAME = 0
    SUPPORT = 1
    REVIEW = 2
    DECIDED = 3
    STATUS = 4
    RENAMED = 5
    MORE_SPECIFIC = 6
    MORE_GENERAL = 7
    OTHER_BRANCH = 8
    NEWLY_UNSEEN = 9
    NO_LONGER_UNSEEN = 10
    NEWLY_UNRESOLVED = 11
    NOW_CALLED = 12

    @property
    def code(self) -> str:
        """The name as it stands in tables."""
        return self.name.lower()

    @property
    def mirror(self) -> Change:
        """The kind that the same two calls have the other way round, within one release."""
        return _MIRROR.get(self, self)


_MIRROR: Final = {
    Change.MORE_SPECIFIC: Change.MORE_GENERAL, Change.MORE_GENERAL: Change.MORE_SPECIFIC,
    Change.NEWLY_UNSEEN: Change.NO_LONGER_UNSEEN, Change.NO_LONGER_UNSEEN: Change.NEWLY_UNSEEN,
    Change.NEWLY_UNRESOLVED: Change.NOW_CALLED, Change.NOW_CALLED: Change.NEWLY_UNRESOLVED,
}  # fmt: skip

MEANING: Final = {
    Change.SAME: "same term, status, support and review flag",
    Change.SUPPORT: "same call, other support",
    Change.REVIEW: "same call, in the review queue of one run only",
    Change.DECIDED: "same term, decided by a curator in one run only",
    Change.STATUS: "same term, other status",
    Change.RENAMED: "same type under the id that replaced the old one",
    Change.MORE_SPECIFIC: "more specific",
    Change.MORE_GENERAL: "more general",
    Change.OTHER_BRANCH: "another branch",
    Change.NEWLY_UNSEEN: "newly unseen",
    Change.NO_LONGER_UNSEEN: "no longer unseen",
    Change.NEWLY_UNRESOLVED: "newly without a call",
    Change.NOW_CALLED: "called now, without a call before",
}

SUPPORT_DIGITS: Final = 5
"""Supports that agree to so many digits are the same: `celljury.walk` counts in steps of 1e-5."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is compared of n cells in one run: the call, or a curator's decision over it.

    Attributes
    ----------
    term
        Index in the run's own ontology, int32 (n,), -1 = none.
    status
        `celljury.reduce.Status`, int8 (n,).
    support
        float32 (n,).
    needs_review, decided
        bool (n,).
    """

    term: Ints
    status: NDArray[np.int8]
    support: NDArray[np.float32]
    needs_review: Bools
    decided: Bools

    @property
    def steps(self) -> NDArray[np.int32]:
        """Support as whole steps of 1e-5, int32 (n,)."""
        return np.rint(self.support.astype(np.float64) * 10**SUPPORT_DIGITS).astype(np.int32)

    def take(self, rows: NDArray[np.int64] | Bools) -> Said:
        """Return some of the cells."""
        return Said(*(getattr(self, name)[rows] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed of n cells.

    Attributes
    ----------
    kind
        `Change`, int8 (n,).
    lca
        Where the two terms meet, index in B's ontology, int32 (n,), -1 = nowhere or a term is missing.
    bits
        Information about the cell's type that B adds to what A said (> 0) or gives up of it (< 0), float32 (n,): to B's
        term where that lies below A's, else up to where they meet.
    moved
        Whether the two releases disagree on how the two terms relate, bool (n,).
    """

    kind: NDArray[np.int8]
    lca: Ints
    bits: NDArray[np.float32]
    moved: Bools


_EQUAL, _BELOW, _ABOVE, _ASIDE = 0, 1, 2, 3


def _relation(a: Ints, b: Ints, ontology: CellOntology) -> NDArray[np.int8]:
    """Return how ``b`` lies to ``a``: equal, below, above or aside, int8."""
    found = np.full(len(a), _ASIDE, np.int8)
    found[ontology.is_ancestor(b, a)] = _ABOVE
    found[ontology.is_ancestor(a, b)] = _BELOW
    found[(a == b) & (a >= 0)] = _EQUAL
    return found


def judge(a: Said, b: Said, old: CellOntology, new: CellOntology, there: Carried, back: Carried) -> Changes:
    """Say what changed between two runs' words on the same cells.

    Parameters
    ----------
    old, new
        Ontologies of A and of B.
    there, back
        Terms of A in B's ontology, and of B in A's.
    """
    # Two terms are judged once, whatever the number of cells with them.
    pair = (a.term.astype(np.int64) + 1) * (len(new) + 1) + b.term + 1
    distinct, which = np.unique(pair, return_inverse=True)
    which = which.ravel()
    ta = (distinct // (len(new) + 1) - 1).astype(np.int32)
    tb = (distinct % (len(new) + 1) - 1).astype(np.int32)
    image = there.to[ta]
    relation = _relation(image, tb, new)
    exact_a, live = there.exact[ta], there.live[ta] & back.live[tb] & (ta >= 0) & (tb >= 0)
    before = _relation(ta, back.to[tb], old)
    moved = live & (relation != before)
    # A term that is gone without a successor: the old release knows best how B's term lies to it, where it has that.
    lost = ~exact_a & (ta >= 0) & (tb >= 0)
    known = lost & back.exact[tb]
    relation = np.where(known, before, np.where(lost & (relation == _EQUAL), _ABOVE, relation)).astype(np.int8)
    # B's term below the ancestor that stands for A's is no kind of A's term, as far as anybody says.
    relation[lost & ~known & (relation == _BELOW)] = _ASIDE
    lca = new.lca_rows(np.stack([image, tb], axis=1))
    lca[(image < 0) | (tb < 0)] = -1

    ic_a = np.where(ta < 0, 0.0, np.where(exact_a, new.ic[np.maximum(image, 0)], old.ic[np.maximum(ta, 0)]))
    ic_b = np.where(tb < 0, 0.0, new.ic[np.maximum(tb, 0)])
    ic_lca = np.where(lca < 0, 0.0, new.ic[np.maximum(lca, 0)])
    below = (relation == _BELOW) | (ta < 0)
    bits = np.where(below, ic_b - ic_a, np.minimum(ic_lca - ic_a, 0))
    bits[relation == _EQUAL] = 0
    same_id = (relation == _EQUAL) & there.live[ta]

    relation, same_id = relation[which], same_id[which]
    none_a, none_b = a.term < 0, b.term < 0
    kind = np.full(len(which), Change.OTHER_BRANCH, np.int8)
    kind[relation == _BELOW] = Change.MORE_SPECIFIC
    kind[relation == _ABOVE] = Change.MORE_GENERAL
    kind[relation == _EQUAL] = Change.RENAMED
    same = same_id | (none_a & none_b)
    kind[same] = Change.SAME
    kind[same & (a.steps != b.steps)] = Change.SUPPORT
    kind[same & (a.needs_review != b.needs_review)] = Change.REVIEW
    kind[same & (a.status != b.status)] = Change.STATUS
    kind[same & (a.decided != b.decided)] = Change.DECIDED
    unseen_a, unseen_b = a.status == Status.UNSEEN, b.status == Status.UNSEEN
    # Both unseen, one of them under a node: that says more of the cell than "nowhere".
    kind[none_a & ~none_b] = np.where(unseen_a, Change.MORE_SPECIFIC, Change.NOW_CALLED)[none_a & ~none_b]
    kind[~none_a & none_b] = np.where(unseen_b, Change.MORE_GENERAL, Change.NEWLY_UNRESOLVED)[~none_a & none_b]
    kind[~unseen_a & unseen_b] = Change.NEWLY_UNSEEN
    kind[unseen_a & ~unseen_b] = Change.NO_LONGER_UNSEEN
    return Changes(kind, lca[which], bits[which].astype(np.float32), moved[which])
