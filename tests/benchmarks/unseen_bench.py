"""Real pairs with a type left out of the reference: how its cells are found, by the run and by simpler signals."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_runs import over_cells
from pair_bench import auroc_of

from celljury.evaluate import cells_of
from celljury.evaluation_scores import unseen_part
from celljury.reject import summed
from celljury.unseen import Belongs, belonging

if TYPE_CHECKING:
    from bench_runs import Case
    from numpy.typing import NDArray

    from celljury.votes import Votes

    Doubles = NDArray[np.float64]

# The rule of the Human Lung Cell Atlas (Sikkema 2023, doi:10.1038/s41591-023-02327-2): unseen above this uncertainty.
HLCA = 0.2


def unseen_report(case: Case) -> dict[str, Any]:
    """Return what became of the cells of the left-out types.

    ``run``: AUROC of 1 - p_seen, false positives at 95 % caught, shares at eps, whether nodes are right; ``nodes``: nodes
    named for cells of each left-out type; ``signals``, ``sums``: AUROC of single signals and of sums without one kind;
    ``hlca``: the Human Lung Cell Atlas' rule, as published and with a threshold from held-out cells; ``own_estimate``:
    the jury's estimate from leaving its own types out.
    """
    cells = cells_of(case.run, case.ontology, case.truth, over_cells(len(case.truth)))
    run, _ = unseen_part(cells, case.terms)
    lies = belonging(case.truth, case.terms, case.ontology)
    kept = lies.kind != Belongs.OPEN
    unseen = lies.kind == Belongs.UNSEEN
    decision = case.decide(case.held)
    found = decision.pool(case.votes)
    largest = found.mass.max(axis=1, initial=0)
    entropy = -(found.mass * np.log(np.maximum(found.mass, 1e-12))).sum(axis=1)
    signals = {f"{kind} ({member})": values for (kind, member), values in case.votes.signals.items()}
    columns = zip(case.votes.members, case.votes.strange.T, strict=True)
    own = {f"own score ({name})": column for name, column in columns}
    single = signals | own | {"entropy of the pool": entropy, "1 - top probability": 1 - largest}
    report: dict[str, Any] = {
        "facts": case.facts,
        "run": run,
        "nodes": named_nodes(case, unseen),
        "signals": {
            name: auroc_of(np.asarray(values, np.float64)[kept], unseen[kept]).value
            for name, values in single.items()
            if np.isfinite(values).any()
        },
        "sums": {},
        "hlca": hlca_rows(case, unseen, kept),
        "own_estimate": own_estimate(case),
        "left_out": left_out_rows(case),
    }
    if decision.belonging is not None:
        units = decision.belonging.units(case.votes, found.top)
        made = decision.belonging.for_query(units)
        moved = units - made.shift
        report["sums"]["all kinds"] = auroc_of(made.score(units)[kept], unseen[kept]).value
        for left in made.kinds:
            columns = [j for j, (kind, _) in enumerate(made.signals) if kind != left]
            score = summed(moved[:, columns], [made.signals[j] for j in columns])
            report["sums"][f"without {left}"] = auroc_of(score[kept], unseen[kept]).value
    return report


def named_nodes(case: Case, unseen: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return how often each node was named for cells of unseen types, most first; ``right``: it is above the truth."""
    calls = case.run.calls
    here = unseen & (calls["status"] == "unseen").to_numpy()
    ids = calls["term"].astype(object).to_numpy()[here]
    counted = Counter(
        (None if not isinstance(term, str) else term, int(truth))
        for term, truth in zip(ids.tolist(), case.truth[here].tolist(), strict=True)
    )
    rows = []
    for (term, truth), n in counted.most_common():
        node = -1 if term is None else int(case.ontology.index(term))
        rows.append({
            "truth": case.ontology.labels[truth],
            "node": "plain" if node < 0 else case.ontology.labels[node],
            "n": n,
            "right": node >= 0 and bool(case.ontology.is_ancestor(node, truth)),
        })  # fmt: skip
    return rows


def hlca_rows(case: Case, unseen: NDArray[np.bool_], kept: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Return the weighted-kNN uncertainty's shares at 0.2 and at the held-out cells' 1 - eps quantile; None without it."""
    name = "scvi_knn"
    if name not in case.votes.members or name in case.absent:
        return None
    own = uncertainty(case.votes, name)
    held = uncertainty(case.held.votes, name)[case.held.known]
    threshold = float(np.quantile(held[np.isfinite(held)], 1 - case.jury.config.calibration.eps, method="higher"))
    seen = kept & ~unseen

    def shares(limit: float) -> dict[str, float]:
        above = own > limit
        return {"threshold": limit, "caught": float(above[unseen].mean()), "false_unseen": float(above[seen].mean())}

    return {
        "auroc": auroc_of(own[kept], unseen[kept]).value,
        "published": shares(HLCA),
        "recalibrated": shares(threshold),
    }


def uncertainty(votes: Votes, member: str) -> Doubles:
    """Return 1 - the largest weight of any label among a cell's neighbours, float64 (n_cells,), NaN = no vote."""
    assert votes.mass is not None
    j = votes.members.index(member)
    largest = np.asarray(votes.mass[j].max(axis=1).todense(), np.float64).ravel()
    return np.where(votes.terms[:, j] >= 0, 1 - largest, np.nan)


def own_estimate(case: Case) -> dict[str, Any] | None:
    """Return the means over the types that the jury left out of its own reference, weighted by their cells."""
    rows = case.jury.about["calibration"]["left_out"]
    if not rows:
        return None
    n = np.array([row["n_cells"] for row in rows], np.float64)
    return {"n_types": len(rows)} | {
        name: float(n @ [row[name] for row in rows] / n.sum()) for name in ("auroc", "caught", "false_unseen")
    }


def left_out_rows(case: Case) -> dict[str, dict[str, Any]]:
    """Return the jury's estimate for each of its types, by label."""
    return {row["label"]: row for row in case.jury.about["calibration"]["left_out"]}
