"""The real reducer run again with one part after the other swapped from run A's to run B's, to see which changes the call.

Order: ontology, members present, members' votes, the jury's held-out evidence, rule, too general terms, threshold, eps,
belonging, review, curators' decisions (`celljury.compare.causes.Cause`). A cell is attributed to every swap that changes
what changed about it: its term and status, or, where those are the same, its decision, its place in the queue, its
support. A replay counts only where it begins at A's stored word and ends at B's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celljury.compare.causes import NOTHING, STEPS, Cause
from celljury.compare.inputs import Votes4
from celljury.compare.kinds import Change, Said
from celljury.reduce import Reduced, Status, reduce_mass, reduce_votes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.compare.held import Pooling
    from celljury.compare.inputs import Both
    from celljury.compare.sides import Side

    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]
    Rows = NDArray[np.int64]

SLACK = 2
"""Steps of 1e-5 by which a support pooled anew may be off a stored one: sums of other rows at once differ in the last bits."""


@dataclass(frozen=True)
class Found:
    """What a replay says of n cells.

    Attributes
    ----------
    why
        Bits of `Cause`, int32 (n,); 0 where nothing changed or the replay does not hold.
    members
        Bit j for each of `Both.members` behind a change by members or votes, int64 (n,).
    alone
        Whether each of these was shown to change the call by itself, in A's state; False = together with others, bool (n,).
    holds
        Whether it begins at A's stored word and ends at B's, bool (n,).
    """

    why: Ints
    members: NDArray[np.int64]
    alone: Bools
    holds: Bools


def needs_mass(side: Side) -> bool:
    """Return whether a run's calls rest on members' probabilities, not on their top votes alone."""
    return side.rule == "calibrated" or side.config.reduce.on == "mass"


@dataclass(frozen=True)
class Replay:
    """Some common cells of two runs, ready to be called again.

    Attributes
    ----------
    both
        The runs.
    rows_a, rows_b
        Their rows in each, int64 (n,).
    votes
        Their votes at each swap.
    pooling
        Members' probabilities of these cells; None where only top votes count.
    """

    both: Both
    rows_a: Rows
    rows_b: Rows
    votes: Votes4
    pooling: Pooling | None = None

    @classmethod
    def of(cls, both: Both, rows_a: Rows, rows_b: Rows, *, pooling: Pooling | None = None) -> Replay:
        """Lay the cells' votes side by side."""
        return cls(both, rows_a, rows_b, Votes4.of(both, rows_a, rows_b), pooling)

    def stored(self, *, later: bool) -> Said:
        """Return what a run says of the cells, terms numbered for both ontologies."""
        side, rows = self._of(later=later)
        calls = side.calls
        decided = calls.decided[rows]
        term = np.where(decided, calls.decided_term[rows], calls.term[rows])
        return Said(
            self.both.common(term, later=later), np.where(decided, calls.decided_status[rows], calls.status[rows]),
            calls.support[rows], calls.needs_review[rows], decided,
        )  # fmt: skip

    def called(
        self, taken: Cause, rows: Rows | None = None, *, swapped: int | None = None, then: Cause = NOTHING
    ) -> Said:
        """Return what is said of the cells when some parts are B's, terms numbered for both ontologies.

        Parameters
        ----------
        taken
            The parts that are B's.
        rows
            Places among these cells; all if None.
        swapped, then
            A member whose votes alone are those of the later state ``then``.
        """
        both = self.both
        rows = np.arange(len(self.rows_a)) if rows is None else rows
        later = bool(taken & Cause.ONTOLOGY)
        votes = self.votes.at(taken)[rows]
        if swapped is not None:
            votes = votes.copy()
            votes[:, swapped] = self.votes.at(then)[rows, swapped]
        reduced, mass, threshold = self._reduced(taken, rows, votes, swapped, then)
        term, status, support = reduced.term.copy(), reduced.status.copy(), reduced.support.copy()
        unseen, node = self._unseen(taken, rows)
        if unseen.any():
            known = self._stored_support(taken, rows)
            if self.pooling is not None and mass is not None:
                general = both.general[later, bool(taken & Cause.TOO_GENERAL)]
                node, known = self.pooling.node(
                    rows, unseen, mass, threshold, general=general, later=bool(taken & Cause.BELONGING)
                )
            term[unseen], status[unseen], support[unseen] = node[unseen], Status.UNSEEN, known[unseen]
        side, own = self._of(later=bool(taken & Cause.REVIEW))
        review = (status != Status.RESOLVED) | (reduced.conflict > side.config.review.max_conflict)
        review |= side.calls.always[own[rows]]
        term = both.common(term, later=later)
        side, own = self._of(later=bool(taken & Cause.CURATOR))
        decided = side.calls.decided[own[rows]]
        outcome = both.common(side.calls.decided_term[own[rows]], later=bool(taken & Cause.CURATOR))
        return Said(
            np.where(decided, outcome, term).astype(np.int32),
            np.where(decided, side.calls.decided_status[own[rows]], status).astype(np.int8),
            support, review, decided,
        )  # fmt: skip

    def attribute(self, kind: NDArray[np.int8], differing: Cause) -> Found:
        """Swap part after part and say which swaps change what changed.

        Parameters
        ----------
        kind
            `Change` of each cell, int8 (n,).
        differing
            The parts that may differ; the others are not swapped.
        """
        slack = 0 if self.pooling is None else SLACK
        first, last = self.stored(later=False), self.stored(later=True)
        taken, before = NOTHING, self.called(NOTHING)
        holds = ~_differ(first, before, kind, slack)
        why = np.zeros(len(kind), np.int32)
        members, alone = np.zeros(len(kind), np.int64), np.zeros(len(kind), bool)
        for step in STEPS:
            then = taken | step
            if not (step & differing) or not self._swaps(taken, then):
                taken = then
                continue
            after = self.called(then)
            changed = np.flatnonzero(_differ(before, after, kind))
            why[changed] |= step
            if step in (Cause.MEMBERS, Cause.VOTES) and len(changed):
                who, by_itself = self._who(changed, before.take(changed), kind[changed], taken, then)
                alone[changed] = np.where(members[changed] == 0, by_itself, alone[changed] & by_itself)
                members[changed] |= who
            taken, before = then, after
        holds &= ~_differ(before, last, kind, slack)
        same = (kind == Change.SAME) | ~holds
        return Found(
            np.where(same, 0, why).astype(np.int32), np.where(same, 0, members), alone & ~same, holds
        )  # fmt: skip

    def _who(
        self, rows: Rows, before: Said, kind: NDArray[np.int8], taken: Cause, then: Cause
    ) -> tuple[NDArray[np.int64], Bools]:
        """Return the members whose votes alone change these cells, else all whose votes differ; and whether alone."""
        differs = self._voted_otherwise(taken, then)[rows]
        concerned = np.flatnonzero(differs.any(axis=0))
        found = np.zeros(len(rows), np.int64)
        single = differs.sum(axis=1) == 1
        # One member that differs is the whole swap.
        found[single] = (differs[single] * (np.int64(1) << np.arange(differs.shape[1]))).sum(axis=1)
        for j in concerned.tolist() if not single.all() else ():
            some = np.flatnonzero(differs[:, j] & ~single)
            if len(some):
                after = self.called(taken, rows[some], swapped=j, then=then)
                flips = _differ(before.take(some), after, kind[some])
                found[some[flips]] |= np.int64(1) << np.int64(j)
        alone = found > 0
        every = (differs * (np.int64(1) << np.arange(differs.shape[1]))).sum(axis=1)
        return np.where(alone, found, every), alone

    def _voted_otherwise(self, taken: Cause, then: Cause) -> Bools:
        """Return whose votes differ between two states, bool (n, n_members)."""
        if self.pooling is not None:
            return self.pooling.voted_otherwise(taken, then)
        return np.asarray(self.votes.at(taken) != self.votes.at(then), bool)

    def _swaps(self, taken: Cause, then: Cause) -> bool:
        """Return whether a swap puts anything else in place."""
        step = then & ~taken
        if step == Cause.VOTES:
            return bool(self._voted_otherwise(taken, then).any())
        if step == Cause.CURATOR:
            return bool(self.both.a.calls.decided.any() or self.both.b.calls.decided.any())
        return True

    def _reduced(
        self, taken: Cause, rows: Rows, votes: Ints, swapped: int | None, then: Cause
    ) -> tuple[Reduced, object, object]:
        both = self.both
        side = both.b if taken & Cause.RULE else both.a
        later = bool(taken & Cause.ONTOLOGY)
        ontology = (both.b if later else both.a).ontology
        general = both.general[later, bool(taken & Cause.TOO_GENERAL)]
        settings = side.config.reduce
        mass, threshold = None, None
        if self.pooling is not None:
            mass, threshold = self.pooling.mass(taken, rows, swapped=swapped, then=then)
        if not needs_mass(side):
            found = reduce_votes(votes, ontology, threshold=settings.threshold, too_general=general)
        elif side.rule == "calibrated":
            assert threshold is not None
            found = reduce_mass(mass, votes, ontology, threshold=threshold, too_general=general, climb=True)
        else:
            found = reduce_mass(mass, votes, ontology, threshold=settings.threshold, too_general=general)
        return found, mass, threshold

    def _unseen(self, taken: Cause, rows: Rows) -> tuple[Bools, Ints]:
        """Return which cells are unseen in a state, and the node stored for them in the state's ontology."""
        both = self.both
        a, b = both.a.calls, both.b.calls
        rows_a, rows_b = self.rows_a[rows], self.rows_b[rows]
        unseen_a, unseen_b = a.status[rows_a] == Status.UNSEEN, b.status[rows_b] == Status.UNSEEN
        later = bool(taken & Cause.ONTOLOGY)
        node_a = a.term[rows_a] if not later else both.there.to[a.term[rows_a]]
        node_b = b.term[rows_b] if later else both.back.to[b.term[rows_b]]
        if taken & Cause.BELONGING:
            return unseen_b, node_b
        own, other = both.a.config.calibration, both.b.config.calibration
        node = np.where(unseen_a, node_a, np.where(unseen_b, node_b, -1)).astype(np.int32)
        if not taken & Cause.EPS or (own.eps, own.unseen) == (other.eps, other.unseen):
            return unseen_a, node
        # Both as float32, as p_seen is stored.
        return np.asarray((a.p_seen[rows_a] <= np.float32(other.eps)) & other.unseen, bool), node

    def _stored_support(self, taken: Cause, rows: Rows) -> NDArray[np.float32]:
        a, b = self.both.a.calls, self.both.b.calls
        own = a.status[self.rows_a[rows]] == Status.UNSEEN
        support_a, support_b = a.support[self.rows_a[rows]], b.support[self.rows_b[rows]]
        return support_b if taken & Cause.BELONGING else np.where(own, support_a, support_b)

    def _of(self, *, later: bool) -> tuple[Side, Rows]:
        return (self.both.b, self.rows_b) if later else (self.both.a, self.rows_a)


def _differ(x: Said, y: Said, kind: NDArray[np.int8], slack: int = 0) -> Bools:
    """Return where two words on the same cells differ in what the cells' kind of change is about, bool (n,)."""
    call = (x.term != y.term) | (x.status != y.status)
    review = x.needs_review != y.needs_review
    support = np.abs(x.steps - y.steps) > slack
    return np.select(
        [kind == Change.SAME, kind == Change.SUPPORT, kind == Change.REVIEW, kind == Change.DECIDED],
        [call | review | support | (x.decided != y.decided), support, review, x.decided != y.decided],
        call,
    ).astype(bool)
