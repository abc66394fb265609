"""Votes to a term: distinct patterns, mass, closure, threshold, first term that passes.

All rules share one path. A term's support S(v) is the mass at or below it; the call is the most informative term with
S(v) >= threshold. ``lca`` is the threshold 1 (below all votes), ``quorum`` a share of 0.5 to 1. Terms are numbered in
order of falling information content, which is a linear extension of the ontology, so the first column that passes is
a lowest one; folding pairwise common ancestors would be wrong where terms have several parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from celljury.ontology.patterns import distinct_rows
from celljury.pool import checked_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Floats = NDArray[np.float32]
    Bools = NDArray[np.bool_]

# Float32 sums of up to a few dozen shares are off by less.
TOLERANCE = 1e-5
# Shares are kept to this many digits: all votes are then 1, not 0.9999999, however the sum was made.
DIGITS = 6
CHUNK_BYTES = 1 << 26


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
    used = np.unique(rows[rows >= 0]).astype(np.int32)
    cast = (rows >= 0) * weight
    total = cast.sum(axis=1, keepdims=True)
    share = np.divide(cast, total, out=np.zeros_like(cast), where=total > 0).astype(np.float32)
    lost = rows < 0
    column = np.searchsorted(used, np.where(lost, used[0] if len(used) else 0, rows))
    flat = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)[~lost]
    mass = csr_matrix((share[~lost], (flat, column[~lost])), shape=(len(rows), len(used)))
    return _reduce(mass, used, rows, ontology, threshold=threshold, too_general=too_general, share=share).take(inverse)


def reduce_mass(
    pooled: csr_matrix,
    terms: Ints,
    ontology: CellOntology,
    *,
    threshold: float,
    too_general: Bools,
) -> Reduced:
    """Reduce pooled mass, CSR (n_cells, n_ontology_terms); agreement and camps still come from the top votes ``terms``."""
    used = np.unique(np.concatenate([pooled.indices, terms[terms >= 0]])).astype(np.int32)
    terms = np.sort(terms, axis=1)  # members' order is forgotten, as in `reduce_votes`
    cast = (terms >= 0).astype(np.float32)
    total = cast.sum(axis=1, keepdims=True)
    share = np.divide(cast, total, out=np.zeros_like(cast), where=total > 0)
    mass = csr_matrix(
        (pooled.data, np.searchsorted(used, pooled.indices), pooled.indptr), shape=(len(terms), len(used))
    )
    return _reduce(mass, used, terms, ontology, threshold=threshold, too_general=too_general, share=share)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The part of the ontology that a set of used terms needs: they and their ancestors, in information order."""

    terms: Ints  # (n,) ontology index, ascending: most informative first
    closure: Bools  # (n, n): row lies at or below column
    related: Bools  # (n, n): the two share a descendant
    used: NDArray[np.int64]  # positions of the used terms

    @classmethod
    def of(cls, used: Ints, ontology: CellOntology) -> _Frame:
        rows = ontology.ancestor_rows(used)
        terms = np.flatnonzero(rows.any(axis=0)).astype(np.int32)
        closure = ontology.ancestor_rows(terms)[:, terms]
        shape = (len(ontology), len(ontology))
        ones = np.ones(len(ontology.closure_indices), np.int32)
        below = csr_matrix((ones, ontology.closure_indices, ontology.closure_indptr), shape=shape)[:, terms]
        related = (below.T @ below).toarray() > 0
        return cls(terms, closure, related, np.searchsorted(terms, used))


def _reduce(
    mass: csr_matrix,
    used: Ints,
    votes: Ints,
    ontology: CellOntology,
    *,
    threshold: float,
    too_general: Bools,
    share: Floats,
) -> Reduced:
    """Reduce rows of mass (n, n_used) with the votes (n, k) behind them; ``share`` is each vote's weight (n, k)."""
    if not len(used):
        return _nobody(len(votes))
    mass.sort_indices()  # a row's sums then run in one order, whatever the block
    frame = _Frame.of(used, ontology)
    closure = frame.closure[frame.used].astype(np.float32)
    # -1 stays -1: one more row and column of False at the end stand for "no vote".
    place = np.where(votes < 0, -1, np.searchsorted(frame.terms, np.maximum(votes, 0)))
    parts = [
        _reduce_chunk(mass[rows], place[rows], share[rows], frame, closure, too_general[frame.terms], threshold)
        for rows in _chunks(len(votes), max(closure.shape[1], 4 * votes.shape[1] ** 2))
    ]
    return Reduced(*(np.concatenate([getattr(part, name) for part in parts]) for name in Reduced.__slots__))


def _reduce_chunk(
    mass: csr_matrix,
    votes: NDArray[np.int64],
    share: Floats,
    frame: _Frame,
    closure: Floats,
    too_general: Bools,
    threshold: float,
) -> Reduced:
    # Row by row in the sparse form: a dense product is slower, and its last bits change with the size of the block.
    reach = mass @ closure
    end, support = _first_reaching(reach, mass, closure, frame, threshold)
    top, runner_up = _two_largest(mass.toarray())
    voted = end >= 0
    called = voted & ~too_general[end]
    top_place = np.where(top >= 0, frame.used[top], -1)
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
        return np.where(place >= 0, frame.terms[place], -1).astype(np.int32)

    def of_used(column: NDArray[np.int64]) -> Ints:
        return ids(np.where(column >= 0, frame.used[column], -1))

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


def _first_reaching(
    reach: Floats, mass: csr_matrix, closure: Floats, frame: _Frame, threshold: float
) -> tuple[NDArray[np.int64], Floats]:
    """Return the first place whose reach passes, -1 = none, and its reach; both (n,).

    At one half two branches can pass at once, each with votes that the other lacks. Neither is called by chance: such
    rows go on to the first term that holds more than half.
    """
    rows = np.arange(len(reach))
    passes = reach >= threshold - TOLERANCE
    first = passes.argmax(axis=1)
    found = passes[rows, first]
    if threshold <= 0.5 + TOLERANCE:
        half = found & (reach[rows, first] <= 0.5 + TOLERANCE)
        unlike = ~(frame.closure | frame.closure.T)
        tied = np.flatnonzero(half)
        tied = tied[(passes[tied] & unlike[first[tied]]).any(axis=1)]
        # What a passing term holds of the first one's votes; one that holds them all is another parent, no rival.
        held = mass[tied]
        held.data *= closure[held.indices, np.repeat(first[tied], np.diff(held.indptr))]
        lacks = held @ closure < reach[tied, first[tied]][:, None] - TOLERANCE
        tied = tied[(passes[tied] & unlike[first[tied]] & lacks).any(axis=1)]
        first[tied] = (reach[tied] > 0.5 + TOLERANCE).argmax(axis=1)
        found[tied] = reach[tied, first[tied]] > 0.5 + TOLERANCE
    return np.where(found, first, -1), np.where(found, reach[rows, first], 0).astype(np.float32)


def _two_largest(dense: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns with most and second most mass, -1 = none; of equals the more informative."""
    rounded = np.round(dense, 5)
    rows = np.arange(len(dense))
    top = rounded.argmax(axis=1)
    top = np.where(rounded[rows, top] > 0, top, -1)
    rounded[rows, top] = 0
    second = rounded.argmax(axis=1)
    return top, np.where(rounded[rows, second] > 0, second, -1)


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
    i = _largest(size, _preferred(rivalled, lowest), votes, len(frame.terms))
    a = np.where(lowest[rows, i], votes[rows, i], -1)
    above_a = pair[rows, i]
    size = np.einsum("rij,rj->ri", pair & ~above_a[:, None, :], share)
    other = lowest & (votes != a[:, None])
    j = _largest(size, _preferred(rival[rows, i], other), votes, len(frame.terms))
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


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, CHUNK_BYTES // (4 * max(width, 1)))
    for start in range(0, n, step):
        yield slice(start, start + step)


def _nobody(n: int) -> Reduced:
    none, zero = np.full(n, -1, np.int32), np.zeros(n, np.float32)
    no = np.zeros(n, bool)
    status = np.full(n, Status.UNRESOLVED, np.int8)
    counts = np.zeros(n, np.int16)
    return Reduced(none, none, none, none, status, zero, zero, zero, zero, counts, none, none, zero, zero, no, no)
