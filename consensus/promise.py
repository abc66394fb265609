"""What is promised of a run's calls, in words, and whether its batches are like the donors that the promise rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from celljury.calibrate import MIN_DONORS, needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.calibrate import Threshold

    Doubles = NDArray[np.float64]

# Of query batches that are like the donors one in a hundred is taken for unlike; with the few donors that a reference
# has, a laxer level would find batches within the donors' own range.
LEVEL = 0.01
# With two donors the interval is 64 standard deviations to either side and more: it would accept anything.
MIN_INTERVAL_DONORS = 3
# A statistic that is equal in all donors still differs from itself in the last digits.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Exchangeability:
    """Whether query batches lie where a further held-out donor would.

    Attributes
    ----------
    statistics
        Names of the statistics, as people read them.
    n_donors
        Held-out donors; with fewer than 3 there is no interval and nothing is checked.
    values
        Statistics of the query batches, float64 (n_batches, n_statistics).
    low, high
        Prediction interval of one further donor, float64 (n_statistics,); infinite where nothing is checked.
    least, most
        Range of the donors themselves, float64 (n_statistics,).
    outside
        Which values lie outside the interval, bool (n_batches, n_statistics); all False where nothing is checked.
    """

    statistics: tuple[str, ...]
    n_donors: int
    values: Doubles
    low: Doubles
    high: Doubles
    least: Doubles
    most: Doubles
    outside: NDArray[np.bool_]

    @property
    def checked(self) -> bool:
        """Whether there were donors enough to check anything."""
        return self.n_donors >= MIN_INTERVAL_DONORS

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Batches that were checked and lie inside, bool (n_batches,); the rest is unlike the donors, or unchecked."""
        return np.asarray(~self.unlike & self.checked)

    @property
    def unlike(self) -> NDArray[np.bool_]:
        """Batches found outside, bool (n_batches,): no error rate is promised for their cells."""
        return np.asarray(self.outside.any(axis=1))

    def lying_outside(self, i_batch: int) -> tuple[str, ...]:
        """Return the names of the statistics in which a batch lies outside."""
        return tuple(name for name, out in zip(self.statistics, self.outside[i_batch], strict=True) if out)

    def sentences(self, batches: Sequence[str]) -> tuple[str, ...]:
        """Return a sentence for each batch that lies outside, or one that nothing can be checked; for `promise`."""
        if not self.checked:
            return (
                "Whether this query is like the held-out donors cannot be checked: that needs at least"
                f" {MIN_INTERVAL_DONORS} of them, and the calibration has {self.n_donors}.",
            )
        return tuple(
            f"Batch {batch!r} is unlike the held-out donors: {self._differences(i)}. No error rate is promised for"
            " its cells."
            for i, batch in enumerate(batches)
            if self.unlike[i]
        )

    def _differences(self, i_batch: int) -> str:
        return "; ".join(
            f"{self.statistics[j]} is {_number(self.values[i_batch, j])}, in {self.n_donors} donors"
            f" {_number(self.least[j])} to {_number(self.most[j])} (expected of a further donor: {_number(self.low[j])} to"
            f" {_number(self.high[j])})"
            for j in np.flatnonzero(self.outside[i_batch])
        )


def check_exchangeable(
    calibration: Mapping[str, Doubles],
    query: Mapping[str, Doubles],
    *,
    level: float = LEVEL,
    tolerance: Mapping[str, float] | None = None,
) -> Exchangeability:
    """Return which query batches lie outside the prediction interval of one further donor.

    The interval of each statistic is mean +- t(K-1, 1 - level/(2 S)) sd sqrt(1 + 1/K) over K donors: the normal prediction
    interval, with ``level`` shared out over S statistics (Bonferroni), so that a batch like the donors is found outside
    with probability ``level`` at most. Batches are judged each alone. A batch inside is not shown to be exchangeable: few
    donors make wide intervals, and these are a few summaries only.

    A statistic that is equal in all donors has an interval of no width: any other value lies outside. Give none that is
    constant by construction.

    Parameters
    ----------
    calibration
        By name of a statistic, its value in each held-out donor, float64 (n_donors,).
    query
        By the same names, its value in each query batch, float64 (n_batches,).
    level
        Share of batches like the donors that may be found outside, between 0 and 1.
    tolerance
        By name, a distance from the donors' mean that is too small to matter: an interval is at least that wide to
        either side. Donors that hardly differ would else find any batch outside.

    Raises
    ------
    ValueError
        If the names or lengths differ, there is no statistic, a value is not finite, or level is out of range.
    """
    names = tuple(calibration)
    if not names or set(names) != set(query):
        message = f"query: expected the statistics {sorted(names) or 'of at least one name'}, got {sorted(query)}"
        raise ValueError(message)
    if not 0 < level < 1:
        message = f"level: expected a share between 0 and 1, got {level}"
        raise ValueError(message)
    donors, values = _table(calibration, names), _table(query, names)
    n_donors = len(donors)
    least, most = donors.min(axis=0, initial=np.inf), donors.max(axis=0, initial=-np.inf)
    if n_donors < MIN_INTERVAL_DONORS:
        wide = np.full(len(names), np.inf)
        return Exchangeability(names, n_donors, values, -wide, wide, least, most, np.zeros(values.shape, bool))
    mean, sd = donors.mean(axis=0), donors.std(axis=0, ddof=1)
    half = stdtrit(n_donors - 1, 1 - level / (2 * len(names))) * sd * np.sqrt(1 + 1 / n_donors)
    half = np.maximum(half, [(tolerance or {}).get(name, 0.0) for name in names])
    slack = ROUNDING * np.maximum(np.abs(mean), 1)
    outside = np.abs(values - mean) > half + slack
    return Exchangeability(names, n_donors, values, mean - half, mean + half, least, most, outside)


def _table(statistics: Mapping[str, Doubles], names: tuple[str, ...]) -> Doubles:
    columns = [np.asarray(statistics[name], np.float64) for name in names]
    if any(column.ndim != 1 or len(column) != len(columns[0]) for column in columns):
        message = f"statistics: expected one number each, got {[column.shape for column in columns]} for {names}"
        raise ValueError(message)
    table = np.column_stack(columns)
    if not np.isfinite(table).all():
        message = (
            f"statistics: expected finite numbers, got others in {[names[j] for j in _columns(~np.isfinite(table))]}"
        )
        raise ValueError(message)
    return table


def _columns(cells: NDArray[np.bool_]) -> list[int]:
    return [int(j) for j in np.flatnonzero(cells.any(axis=0))]


def promise(
    threshold: Threshold,
    *,
    unit: Literal["donor", "batch"] | None,
    downgraded: Sequence[str] = (),
    eps: float | None = None,
) -> str:
    """Return what is promised of the calls and what is not, in plain sentences.

    Parameters
    ----------
    threshold
        The threshold behind the calls.
    unit
        What was held out whole: donors, batches standing in for donors, or single cells (None).
    downgraded
        Sentences of `Exchangeability.sentences`, to be said after the promise.
    eps
        Share of cells of known types that the test for unseen cells may take for unseen; None = not tested.
    """
    tiers = {"exact-donor": _exact_donor, "cluster-t": _cluster_t, "cell": _cell, "none": _none}
    sentences = [
        *tiers[threshold.tier](threshold, unit or "donor"),
        *([f"Why this one: {_in_units(threshold.why, unit)}."] if threshold.why and threshold.tier != "none" else []),
        *_strata(threshold, unit or "donor"),
        *downgraded,
        *_unseen(eps),
    ]
    return " ".join(sentences)


WRONG = "Wrong means that the cell's true type is neither the called term nor a kind of it; a cell without a call is not wrong."


def _exact_donor(threshold: Threshold, unit: str) -> list[str]:
    return [
        f"Promised: in a new {unit}, at most {_percent(threshold.alpha)} of the cells get a wrong call, on average over new"
        f" {_many(unit)}.",
        WRONG,
        f"This is exact as long as new {_many(unit)} come from the same source as the {threshold.n_donors} that were held"
        f" out (left out of training, then called); there, {_measured(threshold, unit)}.",
        f"Not promised: that every single {unit}, or every cell type, stays below {_percent(threshold.alpha)}. The average is"
        " also one over references drawn like this one.",
    ]


def _cluster_t(threshold: Threshold, unit: str) -> list[str]:
    exact = needed("exact-donor", threshold.alpha)
    held = f"{threshold.n_donors} {_many(unit)} were held out (left out of training, then called)"
    return [
        f"Aimed at: in a new {unit}, at most {_percent(threshold.alpha)} of the cells get a wrong call, on average over new"
        f" {_many(unit)}.",
        WRONG,
        f"This is approximate: {held}; there, {_measured(threshold, unit)}. A margin for the differences between them was"
        f" added, {_percent(threshold.bound)} with it.",
        f"Not promised: that the average stays below {_percent(threshold.alpha)} for certain, or that every single {unit},"
        f" or every cell type, does. An exact promise needs at least {exact} {_many(unit)} and a stricter threshold (tier"
        " exact-donor).",
    ]


def _cell(threshold: Threshold, unit: str) -> list[str]:
    n_units = threshold.n_donors
    source = f"It is not known which {_many(unit)} the held-out cells come from."
    if n_units:
        source = f"The held-out cells come from {n_units} {_many(unit) if n_units > 1 else unit}."
    return [
        f"Promised: of cells like the {threshold.n_cells:,} that were held out (left out of training, then called), at most"
        f" {_percent(threshold.alpha)} get a wrong call, on average.",
        WRONG,
        f"Not promised: anything about a new {unit}, whose cells can be wrong more often. {source}",
        _wanting(threshold, unit),
    ]


def _none(threshold: Threshold, unit: str) -> list[str]:
    sentences = [
        f"No error rate is promised{f': {_in_units(threshold.why, unit)}' if threshold.why else ''}.",
        "A call's support is a share of votes or of pooled probability, not a probability of being right.",
    ]
    if threshold.n_cells:
        sentences.append(
            f"Of {threshold.n_cells:,} held-out cells (left out of training, then called) {_percent(threshold.mean_risk)}"
            " got a wrong call."
        )
    return [*sentences, _wanting(threshold, unit)]


def _wanting(threshold: Threshold, unit: str) -> str:
    exact = needed("exact-donor", threshold.alpha)
    had = f"there were {threshold.n_donors}" if threshold.n_donors else "none is known"
    return (
        f"A promise about new {_many(unit)} needs at least {MIN_DONORS} of them held out (approximate) or {exact} (exact);"
        f" here {had}."
    )


def _in_units(why: str, unit: str | None) -> str:
    """Return a reason with the units that were held out: batches may stand in for donors."""
    return why.replace("donors", "batches").replace("donor", "batch") if unit == "batch" else why


def _strata(threshold: Threshold, unit: str) -> list[str]:
    if threshold.scope == "all":
        return []
    whom = "this compartment (branch of cell types)"
    if threshold.scope == "rest":
        whom = "the compartments (branches of cell types) that have too few cells of their own, taken together"
    source = "" if threshold.tier == "cell" else f", and in {_many(unit)} that have enough of them"
    return [f"This speaks of cells in {whom}{source}; not of all compartments at once."]


def _unseen(eps: float | None) -> list[str]:
    if eps is None:
        return ["Whether a cell's type is in the reference at all was not tested."]
    return [
        f"Cells of types that the reference knows are called unseen by mistake in about {_percent(eps)} of cases.",
        "How many cells of unknown types are missed is estimated by leaving known types out, and never bounded.",
    ]


def _measured(threshold: Threshold, unit: str) -> str:
    worst = "" if threshold.max_risk is None else f", and {_percent(threshold.max_risk)} in the worst {unit}"
    return f"{_percent(threshold.mean_risk)} of the cells were wrong on average{worst}"


def _many(unit: str) -> str:
    return f"{unit}es" if unit == "batch" else f"{unit}s"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
