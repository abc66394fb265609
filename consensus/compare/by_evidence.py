"""Causes read off the stored values, for calls that cannot be replayed: the first part that differs.

A decision, the test for unseen cells and the marks beside the votes are seen in the cell itself and come first; then the
order is that of the swaps. This is weaker than a replay: that members voted otherwise on a cell does not prove that its
call turned on it. Tables say ``evidence`` in the column ``how`` where a cause was found so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from celljury.compare.causes import Cause
from celljury.compare.kinds import Change
from celljury.reduce import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.compare.inputs import Both, Votes4

    Rows = NDArray[np.int64]
    Bools = NDArray[np.bool_]


def attribute_by_evidence(
    both: Both, rows_a: Rows, rows_b: Rows, votes: Votes4, kind: NDArray[np.int8], moved: Bools, differing: Cause
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return one cause a changed cell, int32 (n,), and the members that differ where it lies with them, int64 (n,).

    Parameters
    ----------
    rows_a, rows_b, votes
        The cells, as in `celljury.compare.replay.Replay`.
    kind, moved
        What changed of each, as in `celljury.compare.kinds.Changes`.
    differing
        The parts that may differ, see `Both.differing`.
    """
    a, b = both.a.calls, both.b.calls
    n = len(kind)
    why = np.zeros(n, np.int32)
    first, second = a.status[rows_a] == Status.UNSEEN, b.status[rows_b] == Status.UNSEEN
    decisions = _decided(both, rows_a, rows_b)
    present_a, present_b = both.present(both.a), both.present(both.b)
    lost = present_a & ~present_b
    came = present_b & ~present_a
    of_members = (lost & (votes.ontology >= 0)) | (came & (votes.members >= 0))
    of_votes = votes.members != votes.votes
    eps = both.b.config.calibration
    by_b_s_eps = (a.p_seen[rows_a] <= np.float32(eps.eps)) & eps.unseen
    by_eps = (first != second) & (by_b_s_eps == second) & bool(differing & Cause.EPS)
    retired = ~both.there.exact[a.term[rows_a]] | ~both.back.exact[b.term[rows_b]]
    of_release = np.asarray(moved | retired | _voted_gone(both, votes), bool)
    everywhere = np.ones(n, bool)
    signs = (a.always[rows_a] != b.always[rows_b]) | np.full(n, _other_limit(both))
    review = np.asarray((kind == Change.REVIEW) & signs, bool)
    found: tuple[tuple[Cause, Bools], ...] = (
        # A decision is what stands, whatever lies below it; an unseen cell is so by its own test.
        (Cause.CURATOR, decisions),
        (Cause.EPS, np.asarray(by_eps, bool)),
        (Cause.BELONGING, np.asarray((first != second) & ~by_eps, bool)),
        (Cause.REVIEW, review),
        (Cause.ONTOLOGY, of_release),
        (Cause.MEMBERS, np.asarray(of_members.any(axis=1), bool)),
        (Cause.VOTES, of_votes.any(axis=1)),
        *((cause, everywhere) for cause in (Cause.EVIDENCE, Cause.RULE, Cause.TOO_GENERAL, Cause.THRESHOLD)),
    )
    for cause, cells in found:
        if cause & differing:
            why[(why == 0) & cells] = cause
    # Members present differ in the whole run, also where the absent one had no vote on the cell: weights are learned anew.
    if differing & Cause.MEMBERS:
        why[why == 0] = Cause.MEMBERS
    why[why == 0] = Cause.NOT_EXPLAINED
    why[kind == Change.SAME] = 0
    power = np.int64(1) << np.arange(len(both.members), dtype=np.int64)
    members = np.where(why == Cause.MEMBERS, (of_members * power).sum(axis=1), 0)
    members = np.where(why == Cause.VOTES, (of_votes * power).sum(axis=1), members)
    return why, members


def _decided(both: Both, rows_a: Rows, rows_b: Rows) -> Bools:
    """Return where curators' decisions differ, bool (n,)."""
    a, b = both.a.calls, both.b.calls
    term = both.common(a.decided_term[rows_a], later=False) != b.decided_term[rows_b]
    status = a.decided_status[rows_a] != b.decided_status[rows_b]
    return np.asarray((a.decided[rows_a] != b.decided[rows_b]) | term | status, bool)


def _voted_gone(both: Both, votes: Votes4) -> Bools:
    """Return where a vote is for a term that the other release lacks, bool (n,)."""
    gone = ~both.there.exact[votes.start] | ~both.back.exact[votes.votes]
    return np.asarray(gone.any(axis=1), bool)


def _other_limit(both: Both) -> bool:
    return both.a.config.review.max_conflict != both.b.config.review.max_conflict
