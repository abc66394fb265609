"""Bootstrap intervals: donors drawn with replacement, or cells where there are no donors to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Weights (draws x rows) are made in chunks of about this many bytes.
CHUNK_BYTES = 1 << 25
# A percentile interval from a thousand draws is off by a few per cent of its length (Efron & Tibshirani 1993, ch. 19).
N_DRAWS = 1000
# With many rows (200,000 cells that all differ) fewer draws are made, so that an interval takes seconds: draws x rows.
MAX_WORK = 40_000_000
MIN_DRAWS = 100

Scores = Callable[["NDArray[np.float64]"], Mapping[str, "NDArray[np.float64]"]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its interval and what it rests on.

    Attributes
    ----------
    value, low, high
        Point and percentile interval; NaN where there is none.
    n
        Cells behind it.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made.

    Attributes
    ----------
    unit
        What is drawn together: donor of each cell as 0 .. n_units - 1, int64 (n_cells,).
    n_units
        Number of donors, or of cells.
    over
        ``donors``, or ``cells`` where there are fewer than two donors: cells of a donor are alike, so an interval over
        cells says nothing of another donor.
    n_draws, seed, level
        Draws, their seed, and the share of them inside the interval.
    """

    unit: NDArray[np.int64]
    n_units: int
    over: Literal["donors", "cells"]
    n_draws: int = N_DRAWS
    seed: int = 0
    level: float = 0.95

    @classmethod
    def of(cls, donor: NDArray[np.int64] | None, n_cells: int, *, n_draws: int = N_DRAWS, seed: int = 0) -> Self:
        """Draw donors where ``donor`` (n_cells,) names two or more, else cells."""
        if donor is not None:
            names, unit = np.unique(donor, return_inverse=True)
            if len(names) > 1:
                return cls(unit.ravel().astype(np.int64), len(names), "donors", n_draws, seed)
        return cls(np.arange(n_cells), n_cells, "cells", n_draws, seed)

    def among(self, kept: NDArray[np.bool_]) -> Resampling:
        """Return the same draws over some of the cells only; a donor without any of them can still be drawn."""
        if self.over == "donors":
            return replace(self, unit=self.unit[kept])
        n_cells = int(kept.sum())
        return replace(self, unit=np.arange(n_cells), n_units=n_cells)

    def weights(self, row: NDArray[np.int64], n_rows: int) -> Iterator[NDArray[np.float64]]:
        """Yield how often each row counts in each draw, float64 (some draws, n_rows).

        Parameters
        ----------
        row
            Row of each cell, int64 (n_cells,): cells with the same row have the same part in every metric. Drawing n
            cells with replacement is then one multinomial draw over rows, and drawing donors one product with the
            table of donors by rows.
        """
        rng = np.random.default_rng(self.seed)
        step = max(1, CHUNK_BYTES // (8 * max(n_rows, self.n_units if self.over == "donors" else 1)))
        table = csr_matrix((np.ones(len(row)), (self.unit, row)), shape=(self.n_units, n_rows))
        share = np.bincount(row, minlength=n_rows) / max(len(row), 1)
        n_draws = min(self.n_draws, max(MIN_DRAWS, MAX_WORK // max(n_rows, 1)))
        for start in range(0, n_draws, step):
            n = min(step, n_draws - start)
            if self.over == "donors":
                drawn = rng.multinomial(self.n_units, np.full(self.n_units, 1 / self.n_units), size=n)
                yield np.asarray(drawn @ table, np.float64)
            else:
                yield rng.multinomial(len(row), share, size=n).astype(np.float64)


def estimate(
    scores: Scores, row: NDArray[np.int64], n_rows: int, resampling: Resampling, *, n: Mapping[str, int] | int
) -> dict[str, Estimate]:
    """Return each score with its interval.

    Parameters
    ----------
    scores
        Weights (..., n_rows) -> name -> numbers (...,).
    row
        Row of each cell, int64 (n_cells,).
    n
        Cells behind the scores, by name or one for all.
    """
    point = scores(np.bincount(row, minlength=n_rows).astype(np.float64))
    if not len(row) or resampling.n_draws < 1:
        drawn = {name: np.full(1, np.nan) for name in point}
    else:
        chunks = [scores(weights) for weights in resampling.weights(row, n_rows)]
        drawn = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in point}
    return {
        name: Estimate(float(value), *interval(drawn[name], resampling.level), n if isinstance(n, int) else n[name])
        for name, value in point.items()
    }


def interval(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return the percentile interval of draws; draws without a value are passed over, (NaN, NaN) if none has one."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
