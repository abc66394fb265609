"""Draw reference donors again and again, choose thresholds, and print what new donors get: the tables of docs/tiers.md.

Run with ``python tests/benchmarks/tiers.py`` (20 seconds). Everything is simulated, so that the truth is known: every
donor has its own share of hard cells, which ranges from next to none to most (Beta(0.6, 2.4): mean 20 %, long tail), hard
cells of a bad donor are wrong with more support, and donors with more hard cells have fewer cells, as poor samples do.
Counting cells then misjudges donors; the rows "any size" have sizes that say nothing of the donor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtrit

from celljury.calibrate import best_threshold, find_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ALPHA = 0.05
DEFAULT = 0.5
N_DRAWS = 400
N_NEW = 200


class Draw(NamedTuple):
    """Cells of some donors."""

    critical: NDArray[np.float64]  # (n_cells,)
    support: NDArray[np.float64]  # (n_cells,) of the top term, before the walk
    donor: NDArray[np.int64]  # (n_cells,)


def draw(n_donors: int, rng: np.random.Generator, *, poor_are_small: bool) -> Draw:
    """Draw donors of 30 to 300 cells."""
    hard = rng.beta(0.6, 2.4, n_donors)
    size = np.clip(300 * (1 - hard) ** 3 * rng.uniform(0.5, 1.5, n_donors), 30, 300).astype(int)
    size = size if poor_are_small else rng.permutation(size)
    donor = np.repeat(np.arange(n_donors), size)
    is_hard = rng.random(len(donor)) < hard[donor]
    wrong = rng.beta(2 + 6 * hard[donor], 3)
    right = rng.beta(9, 1.5, len(donor))
    return Draw(np.where(is_hard, wrong, -np.inf), np.where(is_hard, wrong, right), donor)


def risks(cells: Draw, value: float) -> NDArray[np.float64]:
    """Return each donor's share of wrong calls."""
    return np.bincount(cells.donor, cells.critical >= value) / np.bincount(cells.donor)


def tier_rows() -> Iterator[str]:
    """One row per number of reference donors and tier that can be attained with them."""
    yield (
        "| held-out donors | tier asked for | attained | mean error on new donors | draws whose mean is above 5 %"
        " | new donors above 5 % | cells that keep their top term |"
    )
    yield "|---|---|---|---|---|---|---|"
    for n_donors, poor_are_small in ((4, True), (8, True), (12, True), (24, True), (40, True), (24, False)):
        rng = np.random.default_rng(n_donors)
        sizes = {"poor_are_small": poor_are_small}
        draws = [(draw(n_donors, rng, **sizes), draw(N_NEW, rng, **sizes)) for _ in range(N_DRAWS)]
        donors = f"{n_donors}" if poor_are_small else f"{n_donors}, any size"
        # Without a tier the threshold is fixed, and the number of donors changes nothing: once is enough.
        for tier in ("exact-donor", "cluster-t", "cell", *(("none",) if donors == "24" else ())):
            found = [
                best_threshold(held.critical, held.donor, alpha=ALPHA, wanted=tier, default=DEFAULT)
                for held, _ in draws
            ]
            attained = np.array([threshold.tier == tier for threshold in found])
            if not attained.any():
                continue
            new = [
                (risks(cells, threshold.value), (cells.support >= threshold.value).mean())
                for (_, cells), threshold in zip(draws, found, strict=True)
                if threshold.tier == tier
            ]
            risk = np.array([row for row, _ in new])
            kept = np.mean([share for _, share in new])
            error = risk.mean(axis=1)
            yield (
                f"| {donors} | `{tier}` | {attained.mean():.0%} | {error.mean():.1%} ± {error.std() / len(error) ** 0.5:.1%}"
                f" | {(error > ALPHA).mean():.0%} | {(risk > ALPHA).mean():.0%} | {kept:.0%} |"
            ).replace("%", " %")


def floor_rows() -> Iterator[str]:
    """How ``cluster-t`` fares on few cells, with its floor and without; the true error is known in closed form."""
    yield "| donors x cells | without the floor: attained | mean error | with it: attained | mean error |"
    yield "|---|---|---|---|---|"
    for n_donors, n_cells in ((8, 1), (8, 2), (8, 4), (8, 6), (8, 20), (16, 2), (16, 3)):
        rng = np.random.default_rng(n_cells)
        donor = np.repeat(np.arange(n_donors), n_cells)
        without, with_floor = [], []
        for _ in range(2000):
            hard = rng.beta(0.6, 2.4, n_donors)
            critical = np.where(rng.random(len(donor)) < hard[donor], rng.random(len(donor)), -np.inf)
            without.append(_without_floor(critical, donor))
            found = find_threshold(critical, donor, alpha=ALPHA, tier="cluster-t")
            with_floor.append(np.nan if found is None else found.value)
        cells = " | ".join(_floor_cells(0.2 * (1 - np.array(values))) for values in (without, with_floor))
        yield f"| {n_donors} x {n_cells} | {cells} |".replace("%", " %")


def _floor_cells(true: NDArray[np.float64]) -> str:
    had = ~np.isnan(true)
    return f"{had.mean():.0%} | {f'{true[had].mean():.1%}' if had.any() else ''}"


def _without_floor(critical: NDArray[np.float64], donor: NDArray[np.int64]) -> float:
    """Smallest threshold by the Student bound alone, nan = none."""
    values = np.append(np.nextafter(np.unique(critical[critical >= 0])[::-1], 2), 0)
    wrong = critical >= values[:, None]
    risk = np.stack([wrong[:, donor == k].mean(axis=1) for k in np.unique(donor)], axis=1)
    n = risk.shape[1]
    fails = risk.mean(axis=1) + stdtrit(n - 1, 0.9) * risk.std(axis=1, ddof=1) / n**0.5 > ALPHA
    n_good = fails.argmax() if fails.any() else len(values)
    return values[n_good - 1] if n_good else np.nan


if __name__ == "__main__":
    for table in (tier_rows(), floor_rows()):
        for row in table:
            print(row, flush=True)
        print()
