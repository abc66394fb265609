"""The part of an evaluation that looks at calls: cells beside their truth, metrics, types, depths and donors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury import metrics
from celljury.intervals import Estimate, estimate
from celljury.ontology.patterns import distinct_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.intervals import Resampling
    from celljury.metrics import Judged
    from celljury.ontology.graph import CellOntology

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """A run's cells of known type; every array has one entry a cell.

    Attributes
    ----------
    ontology
        The index behind the numbers.
    truth
        True term, int32.
    term
        Term of the call whatever its status, int32, -1 = none.
    call
        The same where the status is ``resolved`` or ``backed_off``, else -1: what a user would take as the label.
    said_unseen
        Whether the status is ``unseen``, bool.
    support, agreement, p_seen
        As in the calls, float64, NaN = empty.
    needs_review
        Whether the cell is in the queue, bool.
    resampling
        How intervals are made.
    """

    ontology: CellOntology
    truth: NDArray[np.int32]
    term: NDArray[np.int32]
    call: NDArray[np.int32]
    said_unseen: NDArray[np.bool_]
    support: Floats
    agreement: Floats
    p_seen: Floats
    needs_review: NDArray[np.bool_]
    resampling: Resampling

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def pairs(self) -> tuple[Judged, NDArray[np.int64]]:
        """Distinct (call, truth) pairs judged, and the pair of each cell, int64 (n_cells,)."""
        return self.judged_pairs(self.call)

    def judged_pairs(self, call: NDArray[np.int32]) -> tuple[Judged, NDArray[np.int64]]:
        """Return the distinct pairs of other calls with the truth, judged, and the pair of each cell."""
        first, which = distinct_rows(np.stack([call, self.truth], axis=1))
        return metrics.judge(call[first], self.truth[first], self.ontology), which

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether a cell has a label, bool."""
        return self.call >= 0

    @cached_property
    def holds(self) -> NDArray[np.bool_]:
        """Whether the true term is at or below the label, bool."""
        judged, which = self.pairs
        return judged.holds[which]

    @cached_property
    def score(self) -> tuple[str, Floats]:
        """What ranks the calls: ``support``, or ``agreement`` where a run has none."""
        known = np.isfinite(self.support[self.labelled])
        return ("support", self.support) if known.any() or not len(known) else ("agreement", self.agreement)

    @cached_property
    def ranked(self) -> NDArray[np.bool_]:
        """Labelled cells that have a score, bool."""
        return self.labelled & np.isfinite(self.score[1])


def calls_part(
    cells: Cells, *, call: NDArray[np.int32] | None = None, names: Sequence[str] = tuple(metrics.METRICS)
) -> dict[str, Estimate]:
    """Return metrics of the calls, or of other calls on the same cells, by the names of `celljury.metrics.METRICS`."""
    judged, which = cells.pairs if call is None else cells.judged_pairs(call)
    n = {"all": len(cells), "labelled": int(judged.labelled[which].sum())}
    wanted = {name: metrics.METRICS[name] for name in names}
    return estimate(
        lambda weights: {name: metric(judged, weights) for name, (metric, _) in wanted.items()},
        which, len(judged.call), cells.resampling, n={name: n[over] for name, (_, over) in wanted.items()},
    )  # fmt: skip


def match_part(cells: Cells) -> dict[str, Estimate]:
    """Return the share of cells in each category of `celljury.metrics.MATCHES`."""
    judged, which = cells.pairs
    kind = metrics.match_kinds(judged, cells.ontology)
    return shares(cells, which, {name: kind == i for i, name in enumerate(metrics.MATCHES)}, np.ones(len(kind), bool))


def shares(
    cells: Cells,
    row: NDArray[np.int64],
    hits: dict[str, NDArray[Any]],
    among: NDArray[np.bool_],
    *,
    kept: NDArray[np.bool_] | None = None,
) -> dict[str, Estimate]:
    """Return sum of hits / number of rows ``among``, for each name; columns are over rows, ``kept`` is over cells."""
    resampling = cells.resampling if kept is None else cells.resampling.among(kept)
    row = row if kept is None else row[kept]

    def scores(weights: Floats) -> dict[str, Floats]:
        whole = weights @ among
        return {name: metrics.ratio(weights @ (hit * among), whole) for name, hit in hits.items()}

    return estimate(scores, row, len(among), resampling, n=int(among[row].sum()))


def type_table(cells: Cells) -> pd.DataFrame:
    """Return a row a true type, most cells first: n, n_called, n_right, recall, precision, f1 with intervals."""
    judged, which = cells.pairs
    point = metrics.per_type(judged, np.bincount(which, minlength=len(judged.call)).astype(np.float64))
    fields = ("recall", "precision", "f1")

    def scores(weights: Floats) -> dict[str, Floats]:
        found = metrics.per_type(judged, weights)
        return {f"{name}:{i}": getattr(found, name)[..., i] for name in fields for i in range(len(found.term))}

    made = estimate(scores, which, len(judged.call), cells.resampling, n=len(cells))
    table: dict[str, Any] = {
        "term": [cells.ontology.ids[i] for i in point.term.tolist()],
        "label": [cells.ontology.labels[i] for i in point.term.tolist()],
        "n": point.n.astype(np.int64),
        "n_called": point.n_called.astype(np.int64),
        "n_right": point.n_right.astype(np.int64),
    }
    for name in fields:
        for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            table[name + suffix] = [getattr(made[f"{name}:{i}"], part) for i in range(len(point.term))]
    return pd.DataFrame(table).sort_values(["n", "term"], ascending=[False, True], ignore_index=True)


def depth_table(cells: Cells) -> pd.DataFrame:
    """Return a row a depth of the label: n, covered error strict and lenient with intervals."""
    judged, which = cells.pairs
    depth = np.where(judged.labelled, cells.ontology.depth[judged.call], -1)
    wrong = judged.labelled & ~judged.holds
    lenient = wrong & ~judged.coarser
    levels = np.unique(depth[depth >= 0]).tolist()

    def scores(weights: Floats) -> dict[str, Floats]:
        found = {}
        for level in levels:
            whole = weights @ (depth == level)
            found[f"n:{level}"] = whole
            for name, hit in (("strict", wrong), ("lenient", lenient)):
                found[f"{name}:{level}"] = metrics.ratio(weights @ (hit & (depth == level)), whole)
        return found

    made = estimate(scores, which, len(judged.call), cells.resampling, n=len(cells))
    rows = []
    for level in levels:
        strict = made[f"strict:{level}"]
        n = int(made[f"n:{level}"].value)
        rows.append((level, n, strict.value, strict.low, strict.high, made[f"lenient:{level}"].value))
    return pd.DataFrame(rows, columns=["depth", "n", "error", "low", "high", "error_lenient"])


def donor_part(
    cells: Cells, donor: NDArray[np.int64] | None, donors: Sequence[str], *, alpha: float | None
) -> dict[str, Any]:
    """Return each donor's realised covered error, and the share of donors above alpha.

    Parameters
    ----------
    donor
        Donor of each cell, int64 (n_cells,), index into ``donors``; None = not known.
    alpha
        The error that the run promised; None = it promised none.
    """
    if donor is None:
        return {"absent": "no column of donors was named (--donor)"}
    judged, which = cells.pairs
    labelled = judged.labelled[which]
    wrong = labelled & ~judged.holds[which]
    lenient = wrong & ~judged.coarser[which]
    n, n_labelled, n_wrong, n_lenient = (
        np.bincount(donor, weights=column, minlength=len(donors)) for column in (np.ones(len(donor)), labelled, wrong, lenient)
    )  # fmt: skip
    error = metrics.ratio(n_wrong, n_labelled)
    above = error > (np.nan if alpha is None else alpha)
    rows = [
        {"donor": name, "n": int(n[i]), "n_labelled": int(n_labelled[i]), "covered_error": error[i],
         "covered_error_lenient": metrics.ratio(n_lenient, n_labelled)[i],
         "above_alpha": None if alpha is None else bool(above[i])}
        for i, name in enumerate(donors) if n[i]
    ]  # fmt: skip
    known = np.isfinite(error) & (n > 0)
    return {
        "alpha": alpha,
        "n_donors": int(known.sum()),
        "share_above_alpha": None if alpha is None else float(above[known].mean()) if known.any() else None,
        "mean_covered_error": float(error[known].mean()) if known.any() else None,
        "rows": rows,
    }
