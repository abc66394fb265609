"""Sentences on how a run's votes became calls: what was held out, the rule, and the test for unseen cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.report.methods_words import all_cells, cells, given, listed, percent, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

WRONG = {
    "strict": "A call counts as wrong where the true type is neither the called term nor a kind of it.",
    "lenient": "A call counts as wrong where the true type is neither the called term nor a kind of it, and is not merely"
    " coarser than the call.",
}
POOLS = {
    "reliability": "The calibrated probabilities were averaged, each vote weighted by the log-odds that it is right;"
    " these were learned from the query's own votes [@dawid1979], with the confusion on held-out cells as a prior"
    " worth {prior:g} votes.",
    "held-out": "The calibrated probabilities were averaged, each member weighted by the log-odds of its accuracy on"
    " held-out cells.",
    "calibrated": "The calibrated probabilities were averaged with equal weights.",
    "equal": "The members' probabilities were averaged with equal weights and were not calibrated one by one.",
    "dawid-skene": "The members' votes were pooled by the model of Dawid and Skene [@dawid1979], fitted to the query's votes.",
}
SIGNALS = {
    "residual": "the residual from the reference's principal components",
    "class_residual": "the residual from the mean of the nearest type",
    "mahalanobis": "the Mahalanobis distance to the nearest type",
    "relative": "the relative Mahalanobis distance [@ren2021]",
    "crowding": "the distance to the nearest reference cells relative to their own",
}


def is_calibrated(record: Mapping[str, Any]) -> bool:
    """Return whether the calls rest on held-out cells: not the rules that count votes, and never labels alone."""
    return record.get("rule") == "calibrated" and bool(record.get("calibration"))


def calibration(record: Mapping[str, Any]) -> list[str]:
    """Return what was held out, and how members were calibrated and pooled; nothing where the calls do not rest on it."""
    if not is_calibrated(record):
        return []
    found = record["calibration"]
    settings, n_cells, unit = found["settings"], found["n_cells"], found["unit"]
    n_units = len(found["donors"])
    if unit is None:
        held = f"{cells(n_cells)} of the reference were held out in random folds and called by members trained without them."
    else:
        stand = " (standing in for donors)" if unit == "batch" else ""
        held = (
            f"{cells(n_cells)} of the reference, from {n_units:,} {plural(unit, n_units)}{stand}, were called by members"
            f" trained without the {unit} that each cell comes from."
        )
    lines = [held[0].upper() + held[1:]]
    if found.get("matching", {}).get("matched"):
        lines.append("They were predicted again with the query's genes only and thinned to its depth.")
    methods = {row["method"] for row in found["evidence"]["members"]} if settings["pool"] != "equal" else set()
    how = {
        "temperature": "a temperature [@guo2017]",
        "confusion": "the smoothed confusion of its votes with the true types",
    }
    used = [how[name] for name in ("temperature", "confusion") if name in methods]
    if used:
        lines.append(f"On them each member's probabilities were calibrated, by {' or '.join(used)}.")
    return [*lines, POOLS[settings["pool"]].format(prior=settings["prior_votes"])]


def rule(record: Mapping[str, Any]) -> list[str]:
    """Return how votes or probabilities became a term, and what is claimed of it."""
    if is_calibrated(record):
        return _calibrated(record)
    if not record.get("rule"):
        return []
    reduce = (record.get("config") or {}).get("reduce") or {"quorum": 0.5, "tail": 0.05}
    on_mass = reduce.get("on") == "mass"
    what = "the members' pooled probability lies" if on_mass else "the votes cast for it lie"
    if record.get("rule") == "quorum":
        least = f"at least {100 * reduce['quorum']:g} % of {what}"
    else:
        least = f"at least {100 * (1 - reduce['tail']):g} % of {what}" if on_mass else "all votes cast for it lie"
    common = " (their lowest common ancestor)" if record.get("rule") == "lca" and not on_mass else ""
    return [
        f"Each cell was called the most specific term that {least} at or below{common}; of several such terms the one"
        " with most information content.",
        "Cells whose votes meet only at a term too general to be a label are unresolved.",
        f"The calls were not calibrated: a cell's agreement is a share of {'probability' if on_mass else 'votes'}, not a"
        " probability of being right, and no error rate is claimed.",
    ]


def _calibrated(record: Mapping[str, Any]) -> list[str]:
    found = record["calibration"]
    thresholds, alpha = found["thresholds"], percent(record["alpha"])
    values = sorted(row["value"] for row in thresholds)
    several = len(values) > 1
    enough = f"{values[0]:.3g} or more" if not several else "enough"
    branches = f" (thresholds by branch of cell types: {values[0]:.3g} to {values[-1]:.3g})" if several else ""
    lines = [
        "From its most probable term each cell was moved up the ontology, step by step to the parent that gains most"
        f" probability per bit of information given up, to the first term that holds {enough} of the pooled"
        f" probability{branches}.",
    ]
    tier, unit = record["tier"], found["unit"] or "donor"
    n_units = max((row["n_donors"] for row in thresholds), default=0)
    are = "These thresholds are the lowest at which" if several else "This threshold is the lowest at which"
    if tier == "cell":
        lines += [
            f"{are} the expected share of wrong calls among held-out cells is at most {alpha} [conformal risk control;"
            " @angelopoulos2024].",
            f"This holds for cells like those held out and says nothing of a new {unit}.",
        ]
    elif tier == "exact-donor":
        lines.append(
            f"{are} the expected share of wrong calls in a new {unit} like the {n_units:,} held out is at most {alpha}"
            " [conformal risk control; @angelopoulos2024]."
        )
    elif tier == "cluster-t":
        lines.append(
            f"{are} the upper limit of a one-sided 90 % t interval for the mean share of wrong calls over {n_units:,}"
            f" held-out {plural(unit, n_units)} is at most {alpha}; this is approximate."
        )
    else:
        lines.append("No error rate is claimed for the calls.")
    unlike = (found.get("exchangeable") or {}).get("unlike") or []
    if unlike and tier != "none":
        n = len(unlike)
        lines.append(f"For {n:,} of the query's batches, unlike the held-out ones, no error rate is claimed.")
    loss = WRONG[found["settings"]["loss"]] if tier != "none" else ""
    return [*lines, *([loss] if loss else []), "Cells that end at a term too general to be a label are unresolved."]


def unseen(record: Mapping[str, Any]) -> list[str]:
    """Return how cells of unknown types were told, or that they were not; nothing of labels alone."""
    if record.get("command") == "vote":
        return []
    found = record.get("calibration")
    if not found or not found["settings"]["unseen"] or not found["signals"]:
        return ["Whether a cell's type is in the reference at all was not tested."]
    kinds = list(dict.fromkeys(kind for kind, _ in found["signals"]))
    eps, n_unseen = found["settings"]["eps"], found.get("n_unseen")
    many = f" ({n_unseen:,} of {all_cells(record)})" if n_unseen is not None else ""
    sums = f"{'the sum of ' if len(kinds) > 1 else ''}{listed([SIGNALS.get(kind, given(kind)) for kind in kinds])}"
    return [
        "Whether a cell's type is in the reference was tested with conformal p-values [@bates2023]: the cell's strangeness,"
        f" {sums}, was compared with that of held-out cells after the query's own shift was taken out.",
        f"Cells with p of at most {eps:g}{many} are unseen; they are placed under the last node of the ontology at which"
        " they still belong and are never counted as cells of that node.",
        "How many cells of unknown types are missed has no bound.",
    ]
