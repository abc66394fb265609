"""The semi-synthetic atlas S: what each tier and each simple rule gets on thirty new donors, and unseen types on them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from atlas import leave_out_types, make_atlas
from bench_runs import ready
from pairs import B_CELL, NK_CELL

from celljury.baselines import majority
from celljury.intervals import Resampling
from celljury.metrics import judge, ratio
from celljury.reduce import reduce_votes
from celljury.selective import Tally, auroc
from celljury.unseen import Belongs, belonging

if TYPE_CHECKING:
    from pathlib import Path

    from bench_runs import Case
    from numpy.typing import NDArray
    from pairs import Made

    Ints = NDArray[np.int32]

N_REFERENCE, N_QUERY = 30, 30
LIGHT = ("logistic", "celltypist", "symphony", "singler")
SEEDS = (0, 1, 2, 3, 4)
TIERS = ("exact-donor", "cluster-t", "cell", "none")
LEFT_OUT = {"NK": NK_CELL, "B": B_CELL}
MIN_UNSEEN = 3  # cells of the left-out type in a donor whose AUROC is counted


def make_case(seed: int, terms: tuple[str, ...]) -> Made:
    """Return thirty reference donors without these types and thirty whole query donors, 150 cells each."""
    atlas = make_atlas(n_donors=N_REFERENCE + N_QUERY, seed=seed)
    return leave_out_types(atlas, terms, n_reference=N_REFERENCE, name=f"S{seed}")


def atlas_report(work: Path, *, seeds: tuple[int, ...], members: tuple[str, ...] | None, heavy: bool) -> dict[str, Any]:
    """Return tiers and rules on S for each seed with light members, for seed 0 with all, and with types left out.

    Parameters
    ----------
    members
        Members in place of `LIGHT`.
    heavy
        Whether seed 0 is run with the default six members too.
    """
    light = members or LIGHT
    cases = {f"seed {seed}, light": ready(f"S{seed}", partial(make_case, seed, ()), work, members=light, seed=0)
             for seed in seeds}  # fmt: skip
    if heavy:
        cases["seed 0, all six"] = ready("S0", partial(make_case, 0, ()), work, members=None, seed=0)
    return {
        "n_reference_donors": N_REFERENCE,
        "n_query_donors": N_QUERY,
        "light": list(light),
        "runs": {name: tier_rows(case) for name, case in cases.items()},
        "cost": {name: case.cost for name, case in cases.items()},
        "unseen": {
            name: unseen_rows(
                ready(f"S0-{name}", partial(make_case, 0, (term,)), work, members=light, seed=0)
            )
            for name, term in LEFT_OUT.items()
        },
    }  # fmt: skip


def donors_of(case: Case) -> NDArray[np.int64]:
    """Return the donor of each query cell as 0 .. n - 1."""
    return np.unique(case.obs["donor"].astype(str), return_inverse=True)[1].astype(np.int64)


def tier_rows(case: Case) -> dict[str, Any]:
    """Return error on query donors, information kept and coverage of every tier and simple rule.

    Of each tier twice: as a run calls, with cells that do not seem to belong left out, and with every cell taken to belong,
    which is what the threshold alone does. Simple rules answer everything, however general the answer; strict LCA is also
    shown with the cells left out that the run calls unseen, since a rule that never rejects cannot be compared with one
    that does.
    """
    donor = donors_of(case)
    resampling = Resampling.of(donor, len(donor))
    alpha = case.jury.config.calibration.alpha
    no = np.zeros(len(case.ontology), bool)
    rows: dict[str, Any] = {}
    decision = case.decide(case.held)
    if not case.agrees(case.judged(decision, resampling)):
        message = f"{case.folder}: calls that were computed again differ from those of its run"
        raise AssertionError(message)
    for tier in TIERS:
        decision = case.decide(case.held, tier=tier)
        about = {"attained": decision.weakest.tier, "thresholds": [t.value for t in decision.thresholds]}
        for name, unseen in ((tier, True), (f"{tier}, all taken to belong", False)):
            cells = case.judged(decision, resampling, unseen=unseen)
            rows[name] = donor_row(cells.call, case, donor, alpha) | about
    found = decision.pool(case.votes)
    rows["pool's top term"] = donor_row(
        np.where(found.top >= 0, decision.columns[np.maximum(found.top, 0)], np.int32(-1)), case, donor, alpha
    )
    rows["majority"] = donor_row(majority(case.votes.terms), case, donor, alpha)
    rows["quorum 0.5"] = donor_row(
        reduce_votes(case.votes.terms, case.ontology, threshold=0.5, too_general=no).term, case, donor, alpha
    )
    lca = case.ontology.lca_rows(case.votes.terms)
    rows["strict LCA"] = donor_row(lca, case, donor, alpha)
    left_out = (case.run.calls["status"] == "unseen").to_numpy()
    rows["strict LCA, unseen as in the run"] = donor_row(np.where(left_out, np.int32(-1), lca), case, donor, alpha)
    for j, name in enumerate(case.votes.members):
        rows[f"member: {name}"] = donor_row(case.votes.terms[:, j], case, donor, alpha)
    exchangeable = case.run.record["calibration"]["exchangeable"]
    return {
        "rows": rows,
        "n_unlike": len(exchangeable.get("unlike", [])),
        "tier": case.run.record["tier"],
        "n_query": len(donor),
    }


def donor_row(call: Ints, case: Case, donor: NDArray[np.int64], alpha: float) -> dict[str, float]:
    """Return means over donors of what became of their cells, and the share of donors above alpha."""
    judged = judge(call, case.truth, case.ontology)
    n = np.bincount(donor)
    wrong = np.bincount(donor, judged.labelled & ~judged.holds)
    labelled = np.bincount(donor, judged.labelled)
    error, covered = wrong / n, ratio(wrong, labelled)
    return {
        "error": float(error.mean()),
        "error_se": float(error.std(ddof=1) / len(n) ** 0.5),
        "above_alpha": float((error > alpha).mean()),
        "covered_error": float(np.nanmean(covered)),
        "covered_above_alpha": float((covered > alpha).mean()),
        "information_kept": float((np.bincount(donor, np.where(judged.holds, judged.kept, 0.0)) / n).mean()),
        "exact": float((np.bincount(donor, judged.exact) / n).mean()),
        "coverage": float((labelled / n).mean()),
    }


def unseen_rows(case: Case) -> dict[str, Any]:
    """Return how cells of the left-out type are found, over all cells and donor by donor."""
    donor = donors_of(case)
    lies = belonging(case.truth, case.terms, case.ontology)
    unseen, seen = lies.kind == Belongs.UNSEEN, lies.kind == Belongs.SEEN
    calls = case.run.calls
    said = (calls["status"] == "unseen").to_numpy()
    strange = 1 - calls["p_seen"].to_numpy(np.float64)
    per_donor = []
    for k in np.unique(donor):
        here = donor == k
        if (here & unseen).sum() >= MIN_UNSEEN:
            own = here & (unseen | seen)
            per_donor.append((
                float(auroc(*Tally.of(strange[own], unseen[own]).split())),
                float(said[here & unseen].mean()), float(said[here & seen].mean()),
            ))  # fmt: skip
    table = np.array(per_donor)
    own = unseen | seen
    return {
        "n_unseen": int(unseen.sum()),
        "auroc": float(auroc(*Tally.of(strange[own], unseen[own]).split())),
        "caught": float(said[unseen].mean()),
        "false_unseen": float(said[seen].mean()),
        "n_donors": len(table),
        "per_donor": {
            name: {"mean": float(column.mean()), "least": float(column.min()), "most": float(column.max())}
            for name, column in zip(("auroc", "caught", "false_unseen"), table.T, strict=True)
        },
        "own_estimate": {row["label"]: row for row in case.jury.about["calibration"]["left_out"]},
    }
