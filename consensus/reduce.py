"""Votes to a term: distinct patterns, mass, closure, threshold, first term that passes.

All rules share one path. A term's support S(v) is the mass at or below it; the call is the most informative term with
S(v) >= threshold. ``lca`` is the threshold 1 (below all votes), ``quorum`` a share of 0.5 to 1. Terms are numbered in
order of falling information content, which is a linear extension of the ontology, so the first column that passes is
a lowest one; folding pairwise common ancestors would be wrong where terms have several parents. ``calibrated`` looks
for its term only along the cell's own walk upwards (`celljury.walk`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from celljury.ontology.patterns import distinct_rows
from celljury.pool import checked_weights
from celljury.walk import Held, Upward, per_row, row_blocks, top_columns, used_terms, walk_to

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Floats = NDArray[np.float32]
    Bools = NDArray[np.bool_]

# Shares such as 2/3, and thresholds that people type, are off by less.
TOLERANCE = 1e-5
# Shares are kept to this many digits: all votes are then 1, not 0.9999999, however the sum was made.
DIGITS = 6


class Status(IntEnum):
    """What a call is; the names in lower case are the values of the column ``status``."""

    RESOLVED = 0
    BACKED_OFF = 1
    UNRESOLVED = 2
    UNSEEN = 3


@dataclass(frozen=True, slots=True)
class Reduced:
    """What the reducer says of n rows (cells or distinct patterns); every field has length n.

    Attributes
    ----------
    term
        Index of the called term, int32, -1 = unresolved.
    end
        Where the walk ended, also where that is too general to be a label, int32, -1 = nobody voted, or no term holds
        enough.
    top_term, runner_up
        Terms with most and second most mass before the walk, int32, -1 = none.
    status
        `Status`, int8.
    support
        Mass at or below the term, float32 0-1 (0 where unresolved).
    agreement
        Share of cast votes at or below the term, float32 0-1 (0 where unresolved).
    coarser
        Share of cast votes on a strict ancestor of the term, float32 0-1.
    conflict
        Share of cast votes that neither lie on the term's line nor share a descendant with it, float32 0-1; where
        unresolved, the share outside the largest camp.
    n_votes
        Votes cast, int16.
    camp_a, camp_b
        The most general votes of the two largest camps, int32, -1 = fewer camps. A camp is a voted term with no voted
        term below it, and the votes above it; votes above both belong to neither. Rivals, which share no descendant,
        come before axes of one type, however large: two rivals are named wherever there are any.
    size_a, size_b
        Share of cast votes in them, float32 0-1.
    crossed
        Whether the camps share a descendant, so that both may be right, bool; then no two votes are rivals.
    mixed
        Whether one vote lies above another: same line, different depth, bool.
    """

    term: Ints
    end: Ints
    top_term: Ints
    runner_up: Ints
    status: NDArray[np.int8]
    support: Floats
    agreement: Floats
    coarser: Floats
    conflict: Floats
    n_votes: NDArray[np.int16]
    camp_a: Ints
    camp_b: Ints
    size_a: Floats
    size_b: Floats
    crossed: Bools
    mixed: Bools

    def take(self, rows: NDArray[np.int64]) -> Reduced:
        """Return these rows, in this order."""
        return Reduced(*(getattr(self, name)[rows] for name in self.__slots__))


def reduce_votes(
    terms: Ints,
    ontology: CellOntology,
    *,
    threshold: float,
    too_general: Bools,
    weights: NDArray[np.float64] | None = None,
) -> Reduced:
    """Reduce top votes.

    Parameters
    ----------
    terms
        int32 (n_cells, n_members), -1 = abstained.
    threshold
        1 = lowest common ancestor of all cast votes; 0.5 to 1 = quorum.
    too_general
        Terms that are no label, bool (n_ontology_terms,).
    weights
        One a member; equal if None. A cell's weights are rescaled over the members that voted on it; a member of
        weight 0 has no vote.
    """
    weight = checked_weights(weights, terms.shape[1])
    silent = weight == 0
    equal = len(set(weight.tolist())) <= 1
    # With equal weights the members are exchangeable, and their order is forgotten: far fewer patterns.
    ordered = np.sort(terms, axis=1) if equal else np.where(silent, np.int32(-1), terms)
    first, inverse = distinct_rows(ordered)
    rows = ordered[first]
    cast = (rows >= 0) * weight
    total = cast.sum(axis=1, keepdims=True)
    share = np.divide(cast, total, out=np.zeros_like(cast), where=total > 0).astype(np.float32)
    row, column = np.nonzero(rows >= 0)
    mass = csr_matrix((share[row, column], (row, rows[row, column])), shape=(len(rows), len(ontology)))
    return _reduce(mass, rows, ontology, threshold=threshold, too_general=too_general, share=share).take(inverse)


def reduce_mass(
    pooled: csr_matrix,
    terms: Ints,
    ontology: CellOntology,
    *,
    threshold: float | NDArray[np.float64],
    too_general: Bools,
    climb: bool = False,
) -> Reduced:
    """Reduce pooled mass; agreement and camps still come from the top votes.

    Parameters
    ----------
    pooled
        CSR float32 (n_cells, n_ontology_terms); rows sum to 1, or to 0 where nobody voted: such cells stay unresolved.
    terms
        Top votes, int32 (n_cells, n_members), -1 = abstained.
    threshold
        Share that the call has to hold, one number or float64 (n_cells,).
    too_general
        Terms that are no label, bool (n_ontology_terms,).
    climb
        Walk up from the top term (`celljury.walk`), instead of taking the most informative term that holds enough.

    Raises
    ------
    ValueError
        If mass is out of range, or thresholds have another shape.
    """
    terms = np.sort(terms, axis=1)  # members' order is forgotten, as in `reduce_votes`
    cast = (terms >= 0).astype(np.float32)
    total = cast.sum(axis=1, keepdims=True)
    share = np.divide(cast, total, out=np.zeros_like(cast), where=total > 0)
    return _reduce(pooled, terms, ontology, threshold=threshold, too_general=too_general, share=share, climb=climb)


def under_node(
    reduced: Reduced, rows: Bools, node: Ints, terms: Ints, ontology: CellOntology, *, support: Floats
) -> Reduced:
    """Return the same with some rows called unseen under a node, their shares of votes counted against that node.

    Parameters
    ----------
    rows
        The unseen ones, bool (n,).
    node
        Where each still belongs, int32 (n,), -1 = nowhere.
    terms
        Top votes, int32 (n, n_members), -1 = abstained.
    support
        Mass at or below each node, float32 (n,).
    """
    at, votes = node[rows], terms[rows]
    share = (votes >= 0) / np.maximum((votes >= 0).sum(axis=1, keepdims=True), 1)
    below = ontology.is_ancestor(at[:, None], votes)
    coarser = ontology.is_ancestor(votes, at[:, None]) & ~below
    crossing = _share_a_descendant(at, votes, ontology) & ~below & ~coarser
    named = at >= 0
    agreement = (share * below).sum(axis=1)
    coarse = (share * coarser).sum(axis=1)
    conflict = share.sum(axis=1) - agreement - coarse - (share * crossing).sum(axis=1)

    def put(field: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        changed = field.copy()
        changed[rows] = values
        return changed

    def unit(values: NDArray[Any]) -> NDArray[np.float32]:
        return np.clip(np.round(np.where(named, values, 0), DIGITS), 0, 1).astype(np.float32)

    return replace(
        reduced,
        term=put(reduced.term, at),
        status=put(reduced.status, np.full(int(rows.sum()), Status.UNSEEN, np.int8)),
        support=put(reduced.support, unit(support[rows])),
        agreement=put(reduced.agreement, unit(agreement)),
        coarser=put(reduced.coarser, unit(coarse)),
        conflict=put(reduced.conflict, np.where(named, unit(conflict), reduced.conflict[rows])),
    )


def _share_a_descendant(node: Ints, votes: Ints, ontology: CellOntology) -> Bools:
    """Whether each vote and its row's node have a common descendant, bool (n, n_members); False where either is -1."""
    pairs = np.stack([np.broadcast_to(node[:, None], votes.shape), votes], axis=-1).reshape(-1, 2)
    distinct, inverse = np.unique(pairs, axis=0, return_inverse=True)
    found = [
        a >= 0 and b >= 0 and bool(np.isin(ontology.descendants(a), ontology.descendants(b)).any())
        for a, b in distinct.tolist()
    ]
    return np.asarray(found, bool)[inverse.ravel()].reshape(votes.shape) if len(found) else np.zeros(votes.shape, bool)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The part of the ontology that a set of used terms needs: they and their ancestors, in information order."""

    upward: Upward
    closure: Bools  # (n, n): row lies at or below column
    related: Bools  # (n, n): the two share a descendant

    @classmethod
    def of(cls, used: Ints, ontology: CellOntology) -> _Frame:
        upward = Upward.of(used, ontology)
        closure = ontology.ancestor_rows(upward.terms)[:, upward.terms]
        shape = (len(ontology), len(ontology))
        ones = np.ones(len(ontology.closure_indices), np.int32)
        below = csr_matrix((ones, ontology.closure_indices, ontology.closure_indptr), shape=shape)[:, upward.terms]
        related = (below.T @ below).toarray() > 0
        return cls(upward, closure, related)


def _reduce(
    mass: csr_matrix,
    votes: Ints,
    ontology: CellOntology,
    *,
    threshold: float | NDArray[np.float64],
    too_general: Bools,
    share: Floats,
    climb: bool = False,
) -> Reduced:
    """Reduce rows of mass (n, n_ontology_terms) with the votes (n, k) behind them; ``share`` is each vote's weight."""
    wanted = per_row(threshold, len(votes))
    used = used_terms(ontology, mass.indices, votes)
    if not len(used):
        return _nobody(len(votes))
    frame = _Frame.of(used, ontology)
    terms = frame.upward.terms
    # -1 stays -1: one more row and column of False at the end stand for "no vote".
    place = np.where(votes < 0, -1, np.searchsorted(terms, np.maximum(votes, 0)))
    parts = []
    for rows in row_blocks(len(votes), max(len(terms), 4 * votes.shape[1] ** 2)):
        held = Held.of(mass, rows, frame.upward)
        top, runner_up = _two_largest(held.ranked)
        if climb:
            end, support = walk_to(held, top, frame.upward, wanted[rows])
        else:
            end, support = _first_reaching(held, frame, wanted[rows])
        parts.append(_reduce_block(end, support, top, runner_up, place[rows], share[rows], frame, too_general[terms]))
    return Reduced(*(np.concatenate([getattr(part, name) for part in parts]) for name in Reduced.__slots__))


def _reduce_block(
    end: NDArray[np.int64],
    support: Floats,
    top: NDArray[np.int64],
    runner_up: NDArray[np.int64],
    votes: NDArray[np.int64],
    share: Floats,
    frame: _Frame,
    too_general: Bools,
) -> Reduced:
    voted = end >= 0
    called = voted & ~too_general[end]
    top_place = np.where(top >= 0, frame.upward.used[top], -1)
    beside_top = called & (top_place >= 0) & (end != top_place) & ~_padded(frame.closure)[end, top_place]
    status = np.where(called, np.where(beside_top, Status.BACKED_OFF, Status.RESOLVED), Status.UNRESOLVED)
    term = np.where(called, end, -1)

    at_or_below = _padded(frame.closure)
    below = at_or_below[votes, term[:, None]]
    coarser = at_or_below[term[:, None], votes] & (votes != term[:, None])
    crossing = _padded(frame.related)[votes, term[:, None]] & ~below & ~coarser
    agreement = (share * below).sum(axis=1)
    coarse = (share * coarser).sum(axis=1)
    across = (share * crossing).sum(axis=1)
    camps = _camps(votes, share, frame)
    conflict = np.where(called, share.sum(axis=1) - agreement - coarse - across, share.sum(axis=1) - camps.size_a)

    def ids(place: NDArray[np.int64]) -> Ints:
        return np.where(place >= 0, frame.upward.terms[place], -1).astype(np.int32)

    def of_used(column: NDArray[np.int64]) -> Ints:
        return ids(np.where(column >= 0, frame.upward.used[column], -1))

    def unit(values: Floats) -> Floats:
        return np.clip(np.round(values, DIGITS), 0, 1).astype(np.float32)

    return Reduced(
        term=ids(term),
        end=ids(end),
        top_term=of_used(top),
        runner_up=of_used(runner_up),
        status=status.astype(np.int8),
        support=unit(np.where(called, support, 0)),
        agreement=unit(agreement),
        coarser=unit(coarse),
        conflict=unit(conflict),
        n_votes=(votes >= 0).sum(axis=1).astype(np.int16),
        camp_a=ids(camps.a),
        camp_b=ids(camps.b),
        size_a=unit(camps.size_a),
        size_b=unit(camps.size_b),
        crossed=camps.crossed,
        mixed=camps.mixed,
    )


def _first_reaching(held: Held, frame: _Frame, threshold: NDArray[np.float64]) -> tuple[NDArray[np.int64], Floats]:
    """Return the first place whose reach passes, -1 = none, and its reach; both (n,).

    At one half two branches can pass at once, each with votes that the other lacks. Neither is called by chance: such
    rows go on to the first term that holds more than half.
    """
    total = np.maximum(held.total, 1).astype(np.float32)[:, None]
    reach = held.reach / total
    rows = np.arange(len(reach))
    passes = reach >= (threshold - TOLERANCE).astype(np.float32)[:, None]
    first = passes.argmax(axis=1)
    found = passes[rows, first]
    half = found & (threshold <= 0.5 + TOLERANCE) & (reach[rows, first] <= 0.5 + TOLERANCE)
    if half.any():
        unlike = ~(frame.closure | frame.closure.T)
        tied = np.flatnonzero(half)
        tied = tied[(passes[tied] & unlike[first[tied]]).any(axis=1)]
        # What a passing term holds of the first one's votes; one that holds them all is another parent, no rival.
        shared = held.mass[tied]
        shared.data *= frame.upward.below[shared.indices, np.repeat(first[tied], np.diff(shared.indptr))]
        lacks = shared @ frame.upward.below / total[tied] < reach[tied, first[tied]][:, None] - TOLERANCE
        tied = tied[(passes[tied] & unlike[first[tied]] & lacks).any(axis=1)]
        first[tied] = (reach[tied] > 0.5 + TOLERANCE).argmax(axis=1)
        found[tied] = reach[tied, first[tied]] > 0.5 + TOLERANCE
    return np.where(found, first, -1), np.where(found, reach[rows, first], 0).astype(np.float32)


def _two_largest(ranked: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns with most and second most mass, -1 = none; of equals the more informative. Wipes the most from ``ranked``."""
    top = top_columns(ranked)
    ranked[np.arange(len(ranked)), top] = 0
    return top, top_columns(ranked)


@dataclass(frozen=True, slots=True)
class _Camps:
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    size_a: Floats
    size_b: Floats
    crossed: Bools
    mixed: Bools


def _camps(votes: NDArray[np.int64], share: Floats, frame: _Frame) -> _Camps:
    """Find the two largest camps among votes (n, k), given as places in the frame."""
    n = len(votes)
    # One look-up for both questions: bit 1 = at or below, bit 2 = shares a descendant.
    relation = np.pad(frame.closure + 2 * frame.related.astype(np.int8), ((0, 1), (0, 1)))
    looked_up = relation[votes[:, :, None], votes[:, None, :]]
    # pair[r, i, j]: vote i lies at or below vote j.
    pair = (looked_up & 1).astype(bool)
    same = votes[:, :, None] == votes[:, None, :]
    cast = votes >= 0
    strictly_above = pair.transpose(0, 2, 1) & ~same
    lowest = cast & ~strictly_above.any(axis=2)
    rival = (looked_up & 2 == 0) & lowest[:, :, None] & lowest[:, None, :]
    rivalled = rival.any(axis=2)
    size = np.einsum("rij,rj->ri", pair, share)
    rows = np.arange(n)
    i = _largest(size, _preferred(rivalled, lowest), votes, len(frame.closure))
    a = np.where(lowest[rows, i], votes[rows, i], -1)
    above_a = pair[rows, i]
    size = np.einsum("rij,rj->ri", pair & ~above_a[:, None, :], share)
    other = lowest & (votes != a[:, None])
    j = _largest(size, _preferred(rival[rows, i], other), votes, len(frame.closure))
    b = np.where(other[rows, j], votes[rows, j], -1)
    above_b = pair[rows, j] & (b >= 0)[:, None]
    in_a = above_a & ~above_b & (a >= 0)[:, None]
    in_b = above_b & ~above_a
    return _Camps(
        # Places ascend with falling information: the largest place is the camp's most general vote.
        np.where(in_a, votes, -1).max(axis=1, initial=-1),
        np.where(in_b, votes, -1).max(axis=1, initial=-1),
        (share * in_a).sum(axis=1).astype(np.float32),
        (share * in_b).sum(axis=1).astype(np.float32),
        _padded(frame.related)[a, b] & (b >= 0),
        (pair & ~same).any(axis=(1, 2)),
    )


def _preferred(first: Bools, otherwise: Bools) -> Bools:
    """Return ``first`` in rows that have any, else ``otherwise``; bool (n, k)."""
    return np.where(first.any(axis=1, keepdims=True), first, otherwise)


def _largest(size: Floats, among: Bools, votes: NDArray[np.int64], n_terms: int) -> NDArray[np.int64]:
    """Column of the largest size ``among`` some, per row; of equals the more informative, whatever the members' order."""
    # A place is an integer below n_terms, so this term is below any difference between two sizes.
    return np.where(among, np.round(size, 4) - 1e-5 * votes / max(n_terms, 1), -1).argmax(axis=1)


def _padded(square: Bools) -> Bools:
    """Return the matrix with one more row and column of False, so that index -1 means "none"."""
    return np.pad(square, ((0, 1), (0, 1)))


def _nobody(n: int) -> Reduced:
    none, zero = np.full(n, -1, np.int32), np.zeros(n, np.float32)
    no = np.zeros(n, bool)
    status = np.full(n, Status.UNRESOLVED, np.int8)
    counts = np.zeros(n, np.int16)
    return Reduced(none, none, none, none, status, zero, zero, zero, zero, counts, none, none, zero, zero, no, no)
