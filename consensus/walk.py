"""The calibrated walk: from the likeliest term upwards, by mass gained per bit given up, to the first that holds enough.

S(v) is the share of a cell's mass at or below v. From v the walk goes to the direct parent p with the largest
(S(p) - S(v)) / (IC(v) - IC(p)). Where it goes does not depend on the threshold, only where it stops: a cell's candidate
terms are nested, so the loss "the true term is not at or below the call" can only fall as the threshold rises, which
is what conformal risk control asks for (Angelopoulos et al. 2023, arXiv 2208.02814). Corbetta et al. 2024 (arXiv
2410.23786) do this with sets of terms; the greedy walk to a single one is ours.

Mass is counted in whole units of 2**-23: float32 adds them up without error in any order, so a product of matrices of
any size, sparse or dense, with any number of threads, gives the same bits. `celljury.reduce.reduce_mass` with walks, on
1,000,000 cells, 164 labels of CL 2026-03-26, 5 members and one busy core: 4.7 s where every cell has mass on all labels,
3.5 s where on 10 to 30 of them, 0.25 GB beside the input (a sparse product of the dense rows alone took 14 s).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from celljury.ontology.graph import CellOntology

    Ints = NDArray[np.int32]
    Places = NDArray[np.int64]
    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]
    Loss = Literal["strict", "lenient"]

# Float32 holds every whole number up to 2**24. A row's mass is 1, so its units sum to about half of that; a row of more
# than LIMIT would leave the exact range and is refused.
UNITS = 2.0**23
LIMIT = 1.01
# Shares are compared to five digits, as top terms are: 0.5 + 0.2 and 0.7 are then one number, however they were added.
STEPS = 1e5
# Gains that differ by less than this part of them are equal: 4/17 for one bit and 8/17 for two, each rounded to units.
EQUAL = 1e-5
# A dense product does so many more multiplications a second than a sparse one (measured: 7 to 20).
DENSE_IS_FASTER = 10
CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Climb:
    """Where the walks of n rows began and ended.

    Attributes
    ----------
    top
        Ontology index of the term with most mass, int32 (n,), -1 = nobody voted.
    end
        Ontology index of the first term of the walk that holds enough, int32 (n,), -1 = nobody voted, or none does.
    support
        Share of the mass at or below ``end``, float32 (n,) 0-1 in steps of 1e-5 (0 where there is no end).
    """

    top: Ints
    end: Ints
    support: Floats


@dataclass(frozen=True, slots=True)
class Upward:
    """Some used terms and all terms above them: the places that a walk can reach, most informative first.

    Attributes
    ----------
    terms
        Ontology index of each place, int32 (n_places,), ascending.
    used
        Places of the used terms, int64 (n_used,), ascending.
    column
        Position of each ontology term among the used ones, int32 (n_terms,); 0 for others.
    below
        1 where the used term lies at or below the place, float32 (n_used, n_places).
    parents
        Places of the direct parents, int64 (n_places, most parents), ascending, -1 = no more.
    bits
        Information given up on the way to each parent, float64, as ``parents``; 1 where there is none.
    """

    terms: Ints
    used: Places
    column: Ints
    below: Floats
    parents: Places
    bits: Doubles

    @classmethod
    def of(cls, used: Ints, ontology: CellOntology) -> Upward:
        """Return the places above ``used`` terms, int32 ascending and distinct."""
        rows = ontology.ancestor_rows(used)
        terms = np.flatnonzero(rows.any(axis=0)).astype(np.int32)
        column = np.zeros(len(ontology), np.int32)
        column[used] = np.arange(len(used), dtype=np.int32)
        lengths = np.diff(ontology.parents_indptr)[terms]
        slot = np.arange(lengths.max(initial=1))
        has = slot < lengths[:, None]
        parents = np.full(has.shape, -1, np.int64)
        at = ontology.parents_indptr[terms][:, None] + slot
        parents[has] = np.searchsorted(terms, ontology.parents_indices[at[has]])
        ic = ontology.ic[terms]
        bits = np.where(has, ic[:, None] - ic[parents], 1.0)
        places = np.searchsorted(terms, used)
        return cls(terms, places, column, rows[:, terms].astype(np.float32), parents, bits)


@dataclass(frozen=True, slots=True)
class Held:
    """What each place holds of the mass of a block of rows, in units.

    Attributes
    ----------
    mass
        Units on each used term, CSR float32 (n_rows, n_used) of whole numbers.
    reach
        Units at or below each place, float32 (n_rows, n_places), whole numbers.
    total
        Units of the row, float64 (n_rows,); 0 = nobody voted.
    ranked
        Mass on each used term in steps of 1e-5, float32 (n_rows, n_used): what top terms are chosen by.
    """

    mass: csr_matrix
    reach: Floats
    total: Doubles
    ranked: Floats

    @classmethod
    def of(cls, pooled: csr_matrix, rows: slice, upward: Upward) -> Held:
        """Return what ``rows`` of pooled mass, CSR (n, n_ontology_terms), hold.

        Raises
        ------
        ValueError
            If a share is below zero or not a number, or a row's mass is over 1.
        """
        start, stop, _ = rows.indices(pooled.shape[0])
        indptr = pooled.indptr[start : stop + 1]
        stored = slice(indptr[0], indptr[-1])
        units = np.rint(pooled.data[stored] * np.float32(UNITS), dtype=np.float32)
        shape = (stop - start, len(upward.used))
        mass = csr_matrix((units, upward.column[pooled.indices[stored]], indptr - indptr[0]), shape=shape)
        total = np.asarray(mass @ np.ones(shape[1], np.float32), np.float64)
        if not (units.min(initial=0) >= 0 and total.max(initial=0) <= LIMIT * UNITS):
            message = (
                f"pooled mass: expected shares from 0 that sum to at most 1 a row, got sums up to {total.max() / UNITS}"
            )
            raise ValueError(message)
        dense = mass.toarray()
        sparse = mass.nnz * DENSE_IS_FASTER < dense.size
        reach = mass @ upward.below if sparse else dense @ upward.below
        dense *= np.float32(STEPS / UNITS)
        return cls(mass, reach, total, np.rint(dense, out=dense))

    def share(self, row: Places, place: Places) -> Doubles:
        """Return the share that each row's place holds, float64 (len(row),), to five digits."""
        # A whole number below 2**41 over another: one rounding, of the quotient.
        return np.rint(self.reach[row, place] * STEPS / self.total[row]) / STEPS


def top_columns(ranked: Floats) -> Places:
    """Columns with most mass, int64 (n_rows,), -1 = none has any; of equals the more informative."""
    top = ranked.argmax(axis=1)
    return np.where(ranked[np.arange(len(ranked)), top] > 0, top, -1)


def walk_to(held: Held, top: Places, upward: Upward, threshold: Doubles) -> tuple[Places, Floats]:
    """Return the place where each walk ends, int64 (n_rows,), -1 = none holds enough, and its share, float32 (n_rows,).

    Parameters
    ----------
    top
        Columns of the top terms, int64 (n_rows,), -1 = nobody voted.
    threshold
        Share to reach, float64 (n_rows,).
    """
    end, share = np.full(len(top), -1), np.zeros(len(top), np.float32)
    for row, place, holds, _ in _nodes(held, top, upward, until=threshold):
        enough = holds >= threshold[row]
        end[row[enough]] = place[enough]
        share[row[enough]] = holds[enough]
    return end, share


def climb(pooled: csr_matrix, ontology: CellOntology, *, threshold: float | Doubles) -> Climb:
    """Walk up from each row's top term.

    Parameters
    ----------
    pooled
        CSR float32 (n, n_ontology_terms); rows sum to 1, or to 0 where nobody voted.
    threshold
        Share that the call has to hold, one number or float64 (n,). Infinite: no call.

    Raises
    ------
    ValueError
        If mass or thresholds have another shape, or mass is out of range.
    """
    n = pooled.shape[0]
    wanted = per_row(threshold, n)
    top, end, support = np.full(n, -1, np.int32), np.full(n, -1, np.int32), np.zeros(n, np.float32)
    upward = Upward.of(used_terms(ontology, pooled.indices), ontology)
    for rows, held, column in _blocks(pooled, upward):
        place, support[rows] = walk_to(held, column, upward, wanted[rows])
        top[rows] = np.where(column >= 0, upward.terms[upward.used[column]], -1)
        end[rows] = np.where(place >= 0, upward.terms[place], -1)
    return Climb(top, end, support)


def critical_values(
    pooled: csr_matrix, truth: Ints, ontology: CellOntology, *, loss: Loss = "strict"
) -> NDArray[np.float64]:
    """Return the threshold above which each row's call is no longer wrong, float64 (n,).

    It is the share that the last wrong node of the walk holds; -inf where no node is wrong or nobody voted, +inf where
    even the walk's end is wrong. A call of `climb` at threshold t is wrong only if t <= critical value. With the strict
    loss the reverse holds too: every call at t <= critical value is wrong (there may be no call where votes lie
    under several roots). With the lenient loss a walk may leave the true term's line and come back to it: nodes before
    the last wrong one can be right, and the value errs to the safe side.

    Parameters
    ----------
    truth
        Ontology index of the true term, int32 (n,).
    loss
        ``strict``: a node is wrong where the true term is not at or below it. ``lenient``: nor is it wrong strictly
        below the true term, for a truth that is known to be coarse.

    Raises
    ------
    ValueError
        If shapes differ, a truth is no term, or mass is out of range.
    """
    n = pooled.shape[0]
    if truth.shape != (n,) or not ((truth >= 0) & (truth < len(ontology))).all():
        message = f"truth: expected {n} terms, 0 to {len(ontology) - 1}, got {truth.shape} from {truth.min(initial=0)}"
        raise ValueError(message)
    critical = np.full(n, -np.inf)
    upward = Upward.of(used_terms(ontology, pooled.indices), ontology)
    distinct, code = np.unique(truth, return_inverse=True)
    wrong_at = ~ontology.ancestor_rows(distinct)[:, upward.terms]
    if loss == "lenient":
        wrong_at &= ~ontology.ancestor_rows(upward.terms)[:, distinct].T
    for rows, held, top in _blocks(pooled, upward):
        value, true = critical[rows], code[rows]
        for row, place, share, root in _nodes(held, top, upward, until=np.full(len(top), np.inf)):
            wrong = wrong_at[true[row], place]
            value[row[wrong]] = np.where(root, np.inf, share)[wrong]
    return critical


def per_row(threshold: float | Doubles, n: int) -> Doubles:
    """Return a threshold a row, float64 (n,); raises ValueError where there are as many as neither one nor n."""
    given = np.asarray(threshold, np.float64)
    if given.shape not in ((), (n,)):
        message = f"threshold: expected one number or {n}, got {given.shape}"
        raise ValueError(message)
    return np.broadcast_to(given, n)


def used_terms(ontology: CellOntology, *indices: ArrayLike) -> Ints:
    """Return the distinct terms among some arrays of them, int32 ascending; -1 is left out."""
    found = np.zeros(len(ontology) + 1, np.bool_)
    for given in indices:
        flat = np.asarray(given).ravel()
        # Piece by piece: an index array is widened to int64 before use.
        for rows in row_blocks(len(flat), 2):
            found[flat[rows]] = True
    return np.flatnonzero(found[:-1]).astype(np.int32)


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Cut n rows of ``width`` float32 into blocks that stay small."""
    step = max(1, CHUNK_BYTES // (4 * max(width, 1)))
    for start in range(0, n, step):
        yield slice(start, start + step)


def _blocks(pooled: csr_matrix, upward: Upward) -> Iterator[tuple[slice, Held, Places]]:
    """Yield blocks of rows, what their places hold, and the columns of their top terms."""
    for rows in row_blocks(pooled.shape[0] if len(upward.used) else 0, len(upward.terms)):
        held = Held.of(pooled, rows, upward)
        yield rows, held, top_columns(held.ranked)


def _nodes(
    held: Held, top: Places, upward: Upward, *, until: Doubles
) -> Iterator[tuple[Places, Places, Doubles, NDArray[np.bool_]]]:
    """Yield walks node by node: rows still on their way, their place, its share, and whether it is a root.

    A walk goes on while its share is below ``until``, float64 (n_rows,).
    """
    row = np.flatnonzero(top >= 0)
    place = upward.used[top[row]]
    while len(row):
        share = held.share(row, place)
        above = upward.parents[place]
        root = above[:, 0] < 0
        yield row, place, share, root
        on = ~root & (share < until[row])
        row, place, above = row[on], place[on], above[on]
        units = held.reach[row[:, None], above] - held.reach[row, place][:, None]
        gain = np.where(above < 0, -1, units / upward.bits[place])
        # The first of the equal ones: parents ascend, so the most informative.
        best = (gain >= gain.max(axis=1, keepdims=True) * (1 - EQUAL)).argmax(axis=1)
        place = above[np.arange(len(row)), best]
