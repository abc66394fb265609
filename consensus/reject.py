"""Does the cell belong to the reference? Strangeness of several kinds, one score, a p-value against held-out cells.

Which label a cell gets and whether it belongs are different questions: a projection always succeeds, and a softmax is
as sure of a cell that it has never seen the like of. Each signal is brought to one scale by what held-out reference
cells showed on the same path, moved by the query's own shift (which takes the batch effect out), averaged within its
kind over the members that give it, and summed over kinds with equal weights. A few left-out types teach a weighted
stack the wrong signs (`decision.md`, E: .74 / .52 against .93 / .80 for the plain sum), so nothing is learned here.

What each choice gave, mean AUROC over thirteen pairs with types left out of the reference (the five reported ones and
eight more) and share of their cells caught at eps: residual, Mahalanobis, relative and local outlier factor .879 / .51;
with the distance from the nearest type's own profile in place of the last .89; `PER_TYPE` kinds read against held-out
cells of the same called type .895 / .60, and on each reported pair at or above its target. Scale is that of held-out
cells, not of the query (a query of which a third is unseen has a wide spread of its own), and lower quartiles are
matched instead of medians: of left-out monocytes .79 are caught, .11 before. Latents of scVI and scANVI are used only
where no linear member takes part: a network draws a compartment that it never saw into its latent's middle (AUROC of
the relative distance there: .03 and .16), and with them in the sum the left-out monocytes fell from .98 to .80.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.votes import Votes

    Doubles = NDArray[np.float64]
    Signal = tuple[str, str]  # kind, member

# Distances to the nearest type differ from type to type, so they are read against held-out cells of the called type.
PER_TYPE = frozenset({"mahalanobis"})
# What is used of heavy members where no light one gives signals.
LATENT_KINDS = frozenset({"mahalanobis", "crowding"})
QUANTILE = 0.25  # of the query that is matched to the held-out cells'
MAD_TO_SD = 1.4826
# With n cells of a type its own location and spread weigh n / (n + this).
TYPE_PRIOR = 10.0
# With n cells of the query its own shift weighs n / (n + this).
SHIFT_PRIOR = 30.0
CLIP = (-3.0, 8.0)  # spreads: one wild signal must not decide alone
MIN_STRATUM = 100  # held-out cells of a compartment that get a distribution of their own: p-values down to 1 %


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a cell's strangeness is compared with.

    Attributes
    ----------
    signals
        (kind, member) of each signal used, in order; empty = nothing can be tested.
    center, spread
        Of held-out cells called each term, float64 (n_signals, n_terms): signals are read in these units.
    base
        Lower quartile of held-out cells in these units, float64 (n_signals,).
    shift
        By how much the query lies above it, float64 (n_signals,); 0 before `for_query`.
    scores
        Sorted scores of held-out cells of each stratum, the last one of all; float64 (n,) each.
    stratum
        Stratum of each term, int32 (n_terms,); one with few held-out cells is -1, the last of ``scores``.
    """

    signals: tuple[Signal, ...]
    center: Doubles
    spread: Doubles
    base: Doubles
    shift: Doubles
    scores: tuple[Doubles, ...]
    stratum: NDArray[np.int32]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of signal used."""
        return tuple(dict.fromkeys(kind for kind, _ in self.signals))

    def units(self, votes: Votes, called: NDArray[np.int32]) -> Doubles:
        """Return signals in held-out spreads before the query's shift, float64 (n_cells, n_signals), NaN = none.

        ``called`` is each cell's likeliest term as a column, int32 (n_cells,), -1 = none.
        """
        return in_units(stacked(votes, self.signals), called, self.center, self.spread)

    def for_query(self, units: Doubles) -> Belonging:
        """Return the same with the shift of a query, from `units` of all its cells."""
        return Belonging(self.signals, self.center, self.spread, self.base, shift_of(units, self.base), self.scores,
                         self.stratum)  # fmt: skip

    def score(self, units: Doubles) -> Doubles:
        """Return the strangeness of cells, float64 (n_cells,): larger is stranger, NaN where no signal is known."""
        return summed(units - self.shift, self.signals)

    def by_kind(self, units: Doubles) -> Doubles:
        """Return the mean of each kind in spreads, float64 (n_cells, n_kinds)."""
        return _by_kind(np.clip(units - self.shift, *CLIP), self.signals)

    def p_seen(self, score: Doubles, called: NDArray[np.int32]) -> Doubles:
        """Return conformal p-values (1 + held-out cells at least as strange) / (n + 1), float64 (n_cells,), NaN = unknown.

        Vovk 2005; with exchangeable cells at most a share eps of seen cells has p <= eps.
        """
        found = np.full(len(score), np.nan)
        which = np.where(called >= 0, self.stratum[np.maximum(called, 0)], -1) if len(self.stratum) else called * 0 - 1
        for i, scores in enumerate(self.scores):
            rows = which == (i if i < len(self.scores) - 1 else -1)
            found[rows] = p_values(score[rows], scores)
        return found


def stacked(votes: Votes, signals: Sequence[Signal]) -> Doubles:
    """Return the signals side by side, float64 (n_cells, n_signals); NaN where a member gave none."""
    columns = np.full((votes.n_cells, len(signals)), np.nan)
    for j, key in enumerate(signals):
        if key in votes.signals:
            columns[:, j] = votes.signals[key]
    return columns


def in_units(values: Doubles, called: NDArray[np.int32], center: Doubles, spread: Doubles) -> Doubles:
    """Return (value - center) / spread of the called term; cells without a call are read as of the first term's."""
    term = np.maximum(called, 0)
    return np.asarray((values - center[:, term].T) / spread[:, term].T, np.float64)


def shift_of(units: Doubles, base: Doubles) -> Doubles:
    """Return by how much the lower quartile of each signal lies above ``base``, drawn to 0 for few cells."""
    shift = np.zeros(units.shape[1])
    for j in range(units.shape[1]):
        known = units[np.isfinite(units[:, j]), j]
        if len(known):
            weight = len(known) / (len(known) + SHIFT_PRIOR)
            shift[j] = weight * (np.quantile(known, QUANTILE) - base[j])
    return shift


def summed(units: Doubles, signals: Sequence[Signal]) -> Doubles:
    """Return the sum over kinds of the mean over members, each signal clipped to `CLIP`; float64 (n_cells,)."""
    if not signals:
        return np.full(len(units), np.nan)
    kinds = _by_kind(np.clip(units, *CLIP), signals)
    unknown = np.isnan(kinds)
    # A kind that is not known of a cell counts as its mean kind, so that scores stay on one scale.
    n_known = (~unknown).sum(axis=1)
    total = np.where(unknown, 0.0, kinds).sum(axis=1)
    return np.where(n_known > 0, total / np.maximum(n_known, 1) * kinds.shape[1], np.nan)


def _by_kind(units: Doubles, signals: Sequence[Signal]) -> Doubles:
    kinds = tuple(dict.fromkeys(kind for kind, _ in signals))
    found = np.full((len(units), len(kinds)), np.nan)
    for i, kind in enumerate(kinds):
        here = units[:, [j for j, (k, _) in enumerate(signals) if k == kind]]
        known = np.isfinite(here)
        n_known = known.sum(axis=1)
        total = np.where(known, here, 0.0).sum(axis=1)
        found[:, i] = np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)
    return found


def p_values(score: Doubles, held_out: Doubles) -> Doubles:
    """Return (1 + number of sorted ``held_out`` scores at least as large) / (n + 1), float64 (n,); NaN for NaN."""
    at_least = len(held_out) - np.searchsorted(held_out, score, side="left")
    return np.where(np.isnan(score), np.nan, (1.0 + at_least) / (len(held_out) + 1.0))


def learn_belonging(
    votes: Votes,
    called: NDArray[np.int32],
    fold: Mapping[str, NDArray[np.int32]],
    *,
    heavy: frozenset[str],
    stratum: NDArray[np.int32],
) -> Belonging:
    """Learn scale, quartile and distribution of strangeness from held-out reference cells.

    Parameters
    ----------
    votes
        Votes on held-out cells with their signals, from members that were not trained on them.
    called
        Likeliest term of each as a column, int32 (n_cells,).
    fold
        Per member the fold of each cell, int32 (n_cells,): cells of one fold are to their model what a query is.
    heavy
        Names of heavy members: their signals count only where no other member gives any.
    stratum
        Compartment of each term, int32 (n_terms,), -1 = none.
    """
    signals = used_signals(votes, heavy)
    values = stacked(votes, signals)
    n_terms = len(stratum)
    center, spread = np.zeros((len(signals), n_terms)), np.ones((len(signals), n_terms))
    for j, (kind, _) in enumerate(signals):
        known = np.isfinite(values[:, j])
        whole = _robust(values[known, j])
        center[j], spread[j] = whole
        if kind in PER_TYPE:
            for term in np.unique(called[known & (called >= 0)]):
                here = values[known & (called == term), j]
                of_term, weight = _robust(here), len(here) / (len(here) + TYPE_PRIOR)
                center[j, term] = weight * of_term[0] + (1 - weight) * whole[0]
                spread[j, term] = weight * of_term[1] + (1 - weight) * whole[1]
    units = in_units(values, called, center, spread)
    base = np.array([np.nanquantile(units[:, j], QUANTILE) for j in range(len(signals))])
    # Each fold is moved to the common quartile, as a query will be.
    for j, (_, member) in enumerate(signals):
        for f in np.unique(fold[member]):
            rows = fold[member] == f
            units[rows, j] -= shift_of(units[rows, j : j + 1], base[j : j + 1])
    scores = summed(units, signals)
    of_cell = np.where(called >= 0, stratum[np.maximum(called, 0)], -1)
    own = np.full(n_terms, -1, np.int32)
    lists: list[Doubles] = []
    for code in np.unique(stratum[stratum >= 0]):
        here = scores[(of_cell == code) & np.isfinite(scores)]
        if len(here) >= MIN_STRATUM:
            own[stratum == code] = len(lists)
            lists.append(np.sort(here))
    lists.append(np.sort(scores[np.isfinite(scores)]))
    return Belonging(signals, center, spread, base, np.zeros(len(signals)), tuple(lists), own)


def used_signals(votes: Votes, heavy: frozenset[str]) -> tuple[Signal, ...]:
    """Return the signals that count: those of light members, else the distances and crowding in latents."""
    known = [key for key, values in votes.signals.items() if np.isfinite(values).sum() > 1]
    light = tuple(key for key in known if key[1] not in heavy)
    return light or tuple(key for key in known if key[0] in LATENT_KINDS)


def _robust(values: Doubles) -> tuple[float, float]:
    """Return median and scaled median absolute deviation; the latter is never 0."""
    middle = float(np.median(values))
    return middle, max(MAD_TO_SD * float(np.median(np.abs(values - middle))), 1e-6)


def own_p_values(query: NDArray[np.float32], held: NDArray[np.float32], fold: NDArray[np.int32]) -> Doubles:
    """Return p-values of one member's own score against held-out cells, float64 (n_query,), NaN = unknown.

    Query and folds are each moved to the held-out cells' lower quartile first, as in `Belonging`.
    """
    found = np.full(len(query), np.nan)
    known = np.isfinite(held)
    if not known.any() or not np.isfinite(query).any():
        return found
    values = held[known].astype(np.float64)
    base = np.array([np.quantile(values, QUANTILE)])
    for f in np.unique(fold[known]):
        rows = fold[known] == f
        values[rows] -= shift_of(values[rows][:, np.newaxis], base)[0]
    own = query.astype(np.float64)
    return p_values(own - shift_of(own[:, np.newaxis], base)[0], np.sort(values))
