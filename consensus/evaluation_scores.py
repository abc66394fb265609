"""The part of an evaluation that looks at scores: ranking of errors, review, calibration, types the reference lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from celljury import metrics, selective
from celljury.evaluation_calls import shares
from celljury.intervals import Estimate, estimate
from celljury.ontology.patterns import distinct_rows
from celljury.selective import Tally
from celljury.unseen import NAMED, Belongs, belonging, judge_node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.evaluation_calls import Cells

    Floats = NDArray[np.float64]

# Shares of the labelled cells that a curator might look at.
REVIEWED = (0.05, 0.10, 0.20)


def selective_part(cells: Cells) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return how well the score ranks errors, and the risk-coverage curves.

    Over labelled cells with a score; an error is a strict one.
    """
    name, score = cells.score
    kept = cells.ranked
    tally = Tally.of(score[kept], cells.holds[kept])

    def scores(weights: Floats) -> dict[str, Floats]:
        right, wrong = tally.split(weights)
        area, best = selective.aurc(right, wrong), selective.best_aurc(right, wrong)
        found = {"auroc": selective.auroc(right, wrong), "aurc": area, "aurc_best": best, "aurc_excess": area - best}
        for share in REVIEWED:
            found[f"errors_in_lowest_{share:.0%}"] = selective.review_yield(right, wrong, share=share)
        return found

    resampling = cells.resampling.among(kept)
    made: dict[str, Any] = {"ranked_by": name, "n_errors": int((~cells.holds[kept]).sum())}
    made |= estimate(scores, tally.row, tally.n_rows, resampling, n=int(kept.sum()))
    # With information as coverage, cells of one score still differ by their pair.
    judged, which = cells.pairs
    place = tally.row // 2
    rows = np.stack([place, which[kept]], axis=1).astype(np.int32)
    first, row = distinct_rows(rows)
    by_score = csr_matrix(
        (np.ones(len(first)), (np.arange(len(first)), place[first])), shape=(len(first), len(tally.score))
    )
    given, holds = judged.given[which[kept][first]], judged.holds[which[kept][first]]

    def amounts(weights: Floats) -> tuple[Floats, Floats]:
        return (weights * (given * holds)) @ by_score, (weights * (given * ~holds)) @ by_score

    made |= estimate(
        lambda weights: {"information_aurc": selective.information_aurc(*amounts(weights))},
        row, len(first), resampling, n=int(kept.sum()),
    )  # fmt: skip
    made |= _review(cells)
    coverage, risk = selective.risk_coverage(*tally.split())
    point = np.bincount(row, minlength=len(first)).astype(np.float64)
    information, information_risk = selective.risk_coverage(*amounts(point), total=point.sum(axis=-1))
    curve = {"score": tally.score[::-1], "coverage": coverage, "risk": risk, "information": information}
    return made, pd.DataFrame(curve | {"information_risk": information_risk})


def _review(cells: Cells) -> dict[str, Estimate]:
    """Return the share of cells that need review, and the share of all errors among them."""
    wrong = cells.labelled & ~cells.holds
    row = cells.needs_review * 2 + wrong.astype(np.int64)
    flagged = np.array([0, 0, 1, 1], bool)
    made = shares(cells, row, {"needs_review": flagged}, np.ones(4, bool))
    made |= shares(cells, row, {"errors_in_review": flagged}, np.array([0, 1, 0, 1], bool))
    return made | shares(cells, row, {"review_is_error": np.array([0, 1, 0, 1], bool)}, flagged)


def calibration_part(cells: Cells) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return whether support means what it says, P(true term at or below the call), and the reliability table."""
    kept = cells.labelled & np.isfinite(cells.support)
    columns = ["low_support", "high_support", "n", "mean_support", "share_right", "low", "high"]
    if not kept.any():
        return {"absent": "no labelled cell has a support"}, pd.DataFrame(columns=columns)
    tally = Tally.of(cells.support[kept], cells.holds[kept])
    right, wrong = tally.split()
    bins = selective.equal_mass_bins(right + wrong)
    used, bins = np.unique(bins, return_inverse=True)

    def scores(weights: Floats) -> dict[str, Floats]:
        r, w = tally.split(weights)
        return {
            "calibration_error": selective.calibration_error(tally.score, r, w, bins),
            "log_loss": selective.log_loss(tally.score, r, w),
            "mean_support": metrics.ratio((r + w) @ tally.score, (r + w).sum(axis=-1)),
            "share_right": metrics.ratio(r.sum(axis=-1), (r + w).sum(axis=-1)),
        } | {f"bin:{b}": metrics.ratio(r[..., bins == b].sum(axis=-1), (r + w)[..., bins == b].sum(axis=-1))
             for b in range(len(used))}  # fmt: skip

    made = estimate(scores, tally.row, tally.n_rows, cells.resampling.among(kept), n=int(kept.sum()))
    rows = []
    for b in range(len(used)):
        here, m, share = bins == b, (right + wrong)[bins == b], made.pop(f"bin:{b}")
        mean = float(m @ tally.score[here] / m.sum())
        rows.append((*tally.score[here][[0, -1]].tolist(), int(m.sum()), mean, share.value, share.low, share.high))
    return {"n_bins": len(used), **made}, pd.DataFrame(rows, columns=columns)


def unseen_part(cells: Cells, reference: NDArray[np.int32] | None) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Return what became of cells whose type the reference lacks, and the ROC curve of 1 - p_seen.

    Parameters
    ----------
    reference
        Terms of the reference, int32; None = not known.
    """
    if reference is None:
        why = "which types the reference held is not known; name them with --seen-types"
        return {"absent": why}, None
    lies = belonging(cells.truth, reference, cells.ontology)
    unseen, seen = lies.kind == Belongs.UNSEEN, lies.kind == Belongs.SEEN
    made: dict[str, Any] = {
        "n_unseen": int(unseen.sum()), "n_seen": int(seen.sum()), "n_open": int((lies.kind == Belongs.OPEN).sum()),
        "types": sorted({cells.ontology.labels[i] for i in np.unique(cells.truth[unseen]).tolist()}),
    }  # fmt: skip
    if not unseen.any():
        made["absent"] = "no cell is of a type that the reference lacks"
    tested = np.isfinite(cells.p_seen)
    if not tested.any() and not cells.said_unseen.any():
        made["absent"] = made.get(
            "absent", "this run did not test whether cells belong to the reference (p_seen is empty)"
        )
    wrong = cells.labelled & ~cells.holds
    row = (lies.kind.astype(np.int64) * 2 + cells.said_unseen) * 2 + wrong
    kind, caught, error = np.unravel_index(np.arange(12), (3, 2, 2))
    made |= shares(cells, row, {"wrong_label": error == 1}, kind == Belongs.UNSEEN)
    if tested.any() or cells.said_unseen.any():
        made |= shares(cells, row, {"caught": caught == 1}, kind == Belongs.UNSEEN)
        made |= shares(cells, row, {"false_unseen": caught == 1}, kind == Belongs.SEEN)
    if (here := unseen & cells.said_unseen).any():
        made |= _named_nodes(cells, lies.best, here)
    kept = tested & (unseen | seen)
    if not (unseen & kept).any() or not (seen & kept).any():
        return made, None
    tally = Tally.of(1 - cells.p_seen[kept], unseen[kept])

    def scores(weights: Floats) -> dict[str, Floats]:
        positive, negative = tally.split(weights)
        return {
            "auroc": selective.auroc(positive, negative),
            "fpr_at_95_tpr": selective.fpr_at_tpr(positive, negative, tpr=0.95),
        }

    made |= estimate(scores, tally.row, tally.n_rows, cells.resampling.among(kept), n=int(kept.sum()))
    false, true = selective.roc(*tally.split())
    curve = {
        "p_seen": 1 - np.append(np.inf, tally.score[::-1]),
        "false_positive_rate": false,
        "true_positive_rate": true,
    }
    return made, pd.DataFrame(curve)


def _named_nodes(cells: Cells, best: NDArray[np.int32], here: NDArray[np.bool_]) -> dict[str, Estimate]:
    """Return how often the node of an unseen call is right, and what it keeps of the best one that could be named."""
    first, which = distinct_rows(np.stack([cells.term, cells.truth, best], axis=1))
    named, kept = judge_node(cells.term[first], cells.truth[first], best[first], cells.ontology)
    hits: dict[str, NDArray[Any]] = {f"node_{name.replace(' ', '_')}": named == i for i, name in enumerate(NAMED)}
    return shares(cells, which, hits | {"node_information": kept}, np.ones(len(first), bool), kept=here)
