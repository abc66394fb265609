"""Thresholds that held-out cells chose, and the folds that held them out.

A cell's critical value c says when its call is wrong: at every threshold t <= c and at none above (-inf never, +inf
always). Held-out cells of one donor share that donor's quirks, so the donor is the unit: its risk r_k(t) is the share
of all its cells that carry a wrong call at t, and can only fall as t rises. A cell without a call is not wrong, so
this is no share of the called cells. Each tier is a condition on the risks; conformal risk control (Angelopoulos et
al., arXiv 2208.02814) with donors or cells as units gives the two exact ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]
    Codes = NDArray[np.integer]

Tier = Literal["exact-donor", "cluster-t", "cell", "none"]
Wanted = Literal["auto", "exact-donor", "cluster-t", "cell", "none"]
Scope = Literal["all", "stratum", "rest"]

# One-sided confidence of cluster-t, and its fewest donors: design/decision.md D. tests/benchmarks/tiers.py measures both.
CONFIDENCE = 0.90
MIN_DONORS = 8
# A donor counts in a stratum from this many cells on: below, one wrong cell alone puts its risk above 5 %.
MIN_CELLS = 20
# Sums of a few hundred shares differ by less when donors come in another order.
ROUNDING = 1e-12
CHUNK_BYTES = 1 << 23


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, and what may be said of the calls that it makes.

    Attributes
    ----------
    value
        A term is called where its support, float64 as in calibration, is at least this; above 1 nothing reaches it, 0
        is the top term of every cell.
    tier
        Which condition it meets: ``exact-donor``, ``cluster-t``, ``cell``, or ``none``.
    alpha
        The wanted share of wrong calls, between 0 and 1.
    n_donors, n_cells
        Held-out donors (0 where none are named) and cells behind it.
    mean_risk
        Share of wrong calls at ``value``, mean over donors, or over cells where no donors are named; None without cells.
    sd_risk, max_risk
        Standard deviation over donors and the worst donor; None where there are too few (2, 1) to have one.
    bound
        Left-hand side of the tier's condition, at most ``alpha``; None for tier ``none``.
    scope
        Over which cells the condition holds: ``all``; the cells of one ``stratum``; the ``rest``, pooled over all strata
        without a threshold of their own.
    why
        Why it is not what was asked for, one sentence; empty if it is.
    """

    value: float
    tier: Tier
    alpha: float
    n_donors: int
    n_cells: int
    mean_risk: float | None
    sd_risk: float | None
    max_risk: float | None
    bound: float | None
    scope: Scope = "all"
    why: str = ""

    def downgraded(self, why: str) -> Threshold:
        """Return the same threshold without a promise, for cells that are unlike the held-out ones."""
        return replace(self, tier="none", bound=None, why=why)


def needed(tier: Tier, alpha: float) -> int:
    """Return the fewest held-out donors (cells for tier ``cell``) with which a tier can be attained at ``alpha``."""
    if tier == "none":
        return 0
    # Without a single error the exact conditions read 1 / (n + 1) <= alpha.
    return MIN_DONORS if tier == "cluster-t" else ceil(1 / alpha - 1 - 1e-9)


def find_threshold(critical: Doubles, donor: Codes | None, *, alpha: float, tier: Tier) -> Threshold | None:
    """Return the smallest threshold from which on a tier's condition always holds, or None if there is none.

    Candidates are 0 and the next number above each critical value: risks change nowhere else. The bound of ``cluster-t``
    is not monotone in t (at a smaller t risks can be higher yet more alike), so the scan runs from the largest
    candidate down and stops where the condition first fails; a smaller t that passes again would pass by chance.

    The bound of ``cluster-t`` is never below what n cells without an error leave open, 1 - 0.1^(1/n): a handful of cells
    without an error has mean and spread 0, and would pass at any alpha. Measured (tests/benchmarks/tiers.py): without it
    8 donors of 1 or 2 cells always attain the tier at 5 %, with a true error of about 10 % and 6 %. It does not depend on
    t, so it only decides whether the tier is attained: from 45 cells on at 5 %.

    Parameters
    ----------
    critical
        float64 (n_cells,), -inf = never wrong, +inf = always wrong.
    donor
        Integer codes (n_cells,), not below 0, gaps allowed; None = not known.
    alpha
        Wanted error rate, between 0 and 1.
    tier
        ``none`` has no condition: the result is None.

    Raises
    ------
    ValueError
        If alpha is out of range, lengths differ, a critical value is NaN or a code is below 0.
    """
    return _find(_Held.of(critical, donor, alpha), alpha, tier)


def best_threshold(
    critical: Doubles, donor: Codes | None, *, alpha: float, wanted: Wanted, default: float
) -> Threshold:
    """Return the threshold of the wanted tier, or of the next lower one that can be attained, and why.

    ``auto`` starts at ``cluster-t``. The order is exact-donor, cluster-t, cell, none; ``default`` is the threshold of tier
    ``none``. Other parameters and errors are those of `find_threshold`.
    """
    return _best(_Held.of(critical, donor, alpha), alpha, wanted, default)


def stratified_thresholds(
    critical: Doubles,
    donor: Codes | None,
    stratum: Codes,
    *,
    alpha: float,
    wanted: Wanted,
    default: float,
    n_strata: int,
    min_cells: int = MIN_CELLS,
) -> tuple[Threshold, ...]:
    """Return one threshold per stratum: its own, or one shared by the rest, or that of all cells.

    A stratum gets its own where its donors with at least ``min_cells`` cells of it attain the tier that all cells attain
    (tier ``cell``: where it has as many cells). The rest share one that their pooled cells choose in the same way; where
    these do not attain the tier, the rest take the threshold of all cells.

    Each condition holds over the cells of one stratum, or of the rest as a whole; for a donor tier, over donors that have
    at least ``min_cells`` such cells. It does not hold for all strata at once: of 20 strata at a confidence of 90 %, two
    may exceed alpha.

    Parameters
    ----------
    stratum
        Integer codes (n_cells,), 0 to n_strata - 1, -1 = in none.
    """
    whole = _Held.of(critical, donor, alpha)
    if len(stratum) != len(critical) or (len(stratum) and not -1 <= stratum.min() <= stratum.max() < n_strata):
        message = f"stratum: expected a code from -1 to {n_strata - 1} for each of {len(critical)} cells"
        raise ValueError(message)
    overall = _best(whole, alpha, wanted, default)
    if overall.tier == "none":
        return (overall,) * n_strata
    found = {
        i: replace(threshold, why=overall.why)
        for i in range(n_strata)
        if (threshold := _fit_part(whole, stratum == i, overall, min_cells)) is not None
    }
    own = np.zeros(n_strata + 1, bool)
    own[list(found)] = True
    rest = _fit_part(whole, (stratum >= 0) & ~own[stratum], overall, min_cells)
    few = "cells" if overall.tier == "cell" else f"donors with at least {min_cells} cells"
    lacking = f"too few {few} of this compartment, or too many errors in it, for tier {overall.tier}"
    if rest is None:
        shared, remedy = overall, "the threshold of all cells stands in, and its condition holds over all cells only"
    else:
        shared, remedy = replace(rest, scope="rest"), "pooled with the other compartments like it"
    shared = replace(shared, why="; ".join(filter(None, [f"{lacking}: {remedy}", overall.why])))
    return tuple(found.get(i, shared) for i in range(n_strata))


@dataclass(frozen=True, slots=True)
class _Held:
    """Checked held-out cells."""

    critical: Doubles  # (n_cells,)
    donor: NDArray[np.intp]  # (n_cells,) 0 to n_donors - 1, or all 0
    size: NDArray[np.int64]  # (n_units,) cells of each donor
    named: bool

    @classmethod
    def of(cls, critical: Doubles, donor: Codes | None, alpha: float) -> _Held:
        values = np.asarray(critical, np.float64)
        if not 0 < alpha < 1:
            message = f"alpha: expected a share between 0 and 1, got {alpha}"
            raise ValueError(message)
        if values.ndim != 1 or np.isnan(values).any():
            message = f"critical: expected one number a cell and no NaN, got shape {values.shape}"
            raise ValueError(message)
        codes = np.zeros(len(values), np.intp) if donor is None else np.asarray(donor)
        if codes.shape != values.shape or (codes < 0).any():
            message = f"donor: expected a code not below 0 for each of {len(values)} cells, got shape {codes.shape}"
            raise ValueError(message)
        _, inverse, size = np.unique(codes, return_inverse=True, return_counts=True)
        return cls(values, inverse, size, donor is not None)

    @property
    def n_donors(self) -> int:
        return len(self.size) if self.named else 0

    def subset(self, cells: NDArray[np.bool_]) -> _Held:
        _, inverse, size = np.unique(self.donor[cells], return_inverse=True, return_counts=True)
        return _Held(self.critical[cells], inverse, size, self.named)

    def errors(self, value: float) -> NDArray[np.int64]:
        """Return each donor's wrong calls at a threshold, int64 (n_units,)."""
        return np.bincount(self.donor[self.critical >= value], minlength=len(self.size))


def _find(held: _Held, alpha: float, tier: Tier, scope: Scope = "all") -> Threshold | None:
    n_units = held.n_donors if tier in ("exact-donor", "cluster-t") else len(held.critical)
    if tier == "none" or n_units < needed(tier, alpha):
        return None
    best = None
    for values, bounds in _scan(held, tier):
        fails = bounds > alpha + ROUNDING
        n_good = int(fails.argmax()) if fails.any() else len(values)
        best = float(values[n_good - 1]) if n_good else best
        if n_good < len(values):
            break
    return None if best is None else _describe(held, best, tier, alpha, scope)


def _scan(held: _Held, tier: Tier) -> Iterator[tuple[Doubles, Doubles]]:
    """Yield candidates from the largest down, in chunks, and the left-hand side of the tier's condition at each."""
    some = np.isfinite(held.critical) & (held.critical >= 0)
    order = np.flatnonzero(some)[np.argsort(-held.critical[some])]
    critical = held.critical[order]
    # After i cells of the order are wrong, the next candidate lies just above the next cell's critical value.
    candidates = np.append(np.nextafter(critical, inf), 0.0)
    changes = np.append(critical[1:] != critical[:-1], True) if len(critical) else np.zeros(0, bool)
    unit, size = (np.zeros_like(held.donor), held.size.sum()[None]) if tier == "cell" else (held.donor, held.size)
    unit, errors = unit[order], np.bincount(unit[held.critical == inf], minlength=len(size))
    yield candidates[:1], _bounds(tier, errors[None], size)
    n_rows = max(1, CHUNK_BYTES // (8 * len(size)))
    for start in range(0, len(order), n_rows):
        rows = slice(start, start + n_rows)
        added = np.zeros((len(unit[rows]), len(size)), np.int64)
        added[np.arange(len(added)), unit[rows]] = 1
        total = errors + added.cumsum(axis=0)
        errors = total[-1]
        if changes[rows].any():
            yield candidates[1:][rows][changes[rows]], _bounds(tier, total[changes[rows]], size)


def _bounds(tier: Tier, errors: NDArray[np.int64], size: NDArray[np.int64]) -> Doubles:
    """Return the left-hand side of a tier's condition, (n,), from wrong calls (n, n_units) of units of ``size`` cells."""
    n_units, n_cells = len(size), int(size.sum())
    if tier == "cell":
        return np.asarray((errors.sum(axis=1) + 1) / (n_cells + 1))
    risk = errors / size
    if tier == "exact-donor":
        return np.asarray((risk.sum(axis=1) + 1) / (n_units + 1))
    margin = stdtrit(n_units - 1, CONFIDENCE) * risk.std(axis=1, ddof=1) / np.sqrt(n_units)
    return np.maximum(risk.mean(axis=1) + margin, 1 - (1 - CONFIDENCE) ** (1 / n_cells))


def _describe(held: _Held, value: float, tier: Tier, alpha: float, scope: Scope = "all", why: str = "") -> Threshold:
    errors = held.errors(value)
    # In the order of their risks: sums then do not depend on the donors' codes.
    order = np.lexsort((held.size, errors / held.size))
    errors, size = errors[order], held.size[order]
    risk = errors / size
    return Threshold(
        value=value,
        tier=tier,
        alpha=alpha,
        n_donors=held.n_donors,
        n_cells=len(held.critical),
        mean_risk=float(risk.mean()) if len(risk) else None,
        sd_risk=float(risk.std(ddof=1)) if held.n_donors > 1 else None,
        max_risk=float(risk[-1]) if held.n_donors else None,
        bound=None if tier == "none" else float(_bounds(tier, errors[None], size)[0]),
        scope=scope,
        why=why,
    )


def _best(held: _Held, alpha: float, wanted: Wanted, default: float) -> Threshold:
    order: tuple[Tier, ...] = get_args(Tier)
    start = order.index("cluster-t" if wanted == "auto" else wanted)
    lacking: list[str] = []
    for tier in order[start:-1]:
        found = _find(held, alpha, tier)
        if found is not None:
            return replace(found, why="; ".join(lacking))
        lacking.append(_lacking(held, alpha, tier))
    return _describe(held, default, "none", alpha, why="; ".join(lacking))


def _lacking(held: _Held, alpha: float, tier: Tier) -> str:
    """Say why a tier cannot be attained."""
    unit, n = ("cells", len(held.critical)) if tier == "cell" else ("donors", held.n_donors)
    if unit == "donors" and not held.named:
        return f"tier {tier} needs cells whose donors are known"
    if n < needed(tier, alpha):
        return f"tier {tier} needs at least {needed(tier, alpha)} held-out {unit} at {100 * alpha:g} % and has {n}"
    _, bounds = next(_scan(held, tier))
    return (
        f"tier {tier} allows for {100 * bounds[0]:.1f} % even at its strictest threshold, more than {100 * alpha:g} %"
    )


def _fit_part(whole: _Held, cells: NDArray[np.bool_], overall: Threshold, min_cells: int) -> Threshold | None:
    """Fit the tier of ``overall`` on some of the cells; of donors with at least ``min_cells`` of them, for a donor tier."""
    n_cells = np.bincount(whole.donor[cells], minlength=len(whole.size))
    if overall.tier == "cell":
        part = whole.subset(cells & (n_cells.sum() >= min_cells))
    else:
        part = whole.subset(cells & (n_cells >= min_cells)[whole.donor])
    return _find(part, overall.alpha, overall.tier, "stratum")


def donor_folds(donor: Codes, label: Codes, *, n_folds: int, seed: int) -> NDArray[np.int32]:
    """Return each cell's fold, int32 (n_cells,): whole donors, alike in cells and in each type's cells.

    Donors are placed one by one, largest first, where they leave the folds' shares of each type and of all cells closest
    to even (smallest sum of squares). There are at most as many folds as donors, none is empty, and a single donor lies
    in a single fold (see `cell_folds`). The order of the rows does not matter; ``seed`` orders donors of equal size.

    Parameters
    ----------
    donor
        Integer codes (n_cells,), gaps allowed.
    label
        Integer codes of the types (n_cells,), -1 = no label.
    """
    _check_folds(n_folds)
    _, donors = np.unique(donor, return_inverse=True)
    n_donors, n_labels = donors.max(initial=-1) + 1, label.max(initial=-1) + 1
    labelled = label >= 0
    flat = np.bincount(donors[labelled] * n_labels + label[labelled], minlength=n_donors * n_labels)
    n_cells = np.bincount(donors, minlength=n_donors)
    counts = np.column_stack([flat.reshape(n_donors, n_labels), n_cells])
    share = counts / np.maximum(counts.sum(axis=0), 1)
    held = np.zeros((min(n_folds, n_donors), n_labels + 1))
    fold = np.zeros(n_donors, np.int32)
    tie = np.random.default_rng(seed).permutation(n_donors)
    for i in np.lexsort((tie, -n_cells)):
        # The sum of squares grows by 2 held.share + share.share; an empty fold adds least. Rounded, so that the order of
        # the labels decides nothing.
        fold[i] = np.round(held @ share[i], 12).argmin()
        held[fold[i]] += share[i]
    return fold[donors]


def cell_folds(label: Codes, *, n_folds: int, seed: int, names: NDArray[np.str_]) -> NDArray[np.int32]:
    """Return each cell's fold, int32 (n_cells,), for cells of one donor: each type's cells dealt out in turn.

    A type's cells, and all cells, differ by at most one between folds. Cells are dealt in the order of a hash of their
    names, so the order of the rows does not matter; names must be distinct.
    """
    from pandas.util import hash_array

    _check_folds(n_folds)
    hashed = hash_array(names.astype(object), hash_key=f"{seed % 10**16:016d}")
    fold = np.empty(len(names), np.int32)
    fold[np.lexsort((names, hashed, label))] = np.arange(len(names)) % n_folds
    return fold


def _check_folds(n_folds: int) -> None:
    if n_folds < 2:
        message = f"n_folds: expected at least 2, got {n_folds}"
        raise ValueError(message)
