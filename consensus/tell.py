"""What held-out donors showed, as plain values: for a jury's card when it is fitted, for ``run.json`` when it annotates."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.audit import HeldOut as AuditedVotes
from celljury.audit import audit_reference
from celljury.decide import learn_decision
from celljury.pool import as_terms
from celljury.promise import promise
from celljury.provenance import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celljury.calibrate import Threshold
    from celljury.config import Config, ReduceSettings
    from celljury.decide import Decision
    from celljury.fitting import Prepared
    from celljury.heldout import HeldOut
    from celljury.leftout import LeftOut
    from celljury.ontology.graph import CellOntology
    from celljury.verdict import Verdict

# A member that voted on a smaller share of held-out cells is named: its weight rests on little.
LEAST_HELD_OUT = 0.8
# A query of which more is found unseen than this has moved the yardstick that its own cells are; it is said.
MUCH_UNSEEN = 0.2
# Below it the shift between query and reference costs more false alarms than eps (tests/consensus/test_reject.py).
FEW_CELLS = 100

NO_CALIBRATION = (
    "Not calibrated (calibration.enabled = false): no error rate is promised, and whether a cell belongs to the reference"
    " at all is not tested."
)


def describe_evidence(
    prepared: Prepared,
    held: HeldOut | None,
    left_out: Sequence[LeftOut],
    ontology: CellOntology,
    config: Config,
) -> dict[str, Any]:
    """Return ``tier``, ``promise``, ``calibration``, ``audit`` and ``warnings`` of a fitted jury."""
    reference = prepared.reference
    terms = ontology.indices(reference.terms)
    donor, donors = prepared.donor, prepared.donors
    if donor is None:
        donor, donors = reference.cells.batch, reference.cells.batches
    decision, votes = None, None
    if held is not None:
        decision = learn_decision(held, ontology, config.calibration, terms=terms)
        votes = _audited(held, decision, ontology, prepared)
    audit = audit_reference(
        reference.label, ontology, terms=terms, cell_ids=prepared.cell_ids, donor=donor, donors=donors,
        batch=reference.cells.batch, batches=reference.cells.batches, held_out=votes,
        rare_cells=config.review.rare_cells, rare_donors=config.review.rare_donors,
    )  # fmt: skip
    told: dict[str, Any] = {"tier": "none", "alpha": None, "promise": NO_CALIBRATION, "calibration": None,
                            "audit": audit.to_dict(), "warnings": list(audit.warnings)}  # fmt: skip
    if held is None or decision is None:
        return told
    worst = decision.weakest
    eps = config.calibration.eps if decision.belonging is not None and config.calibration.unseen else None
    told["tier"], told["alpha"] = worst.tier, config.calibration.alpha
    told["promise"] = promise(worst, unit=held.unit, eps=eps)
    told["calibration"] = decision_record(decision, held, ontology) | {"left_out": [asdict(row) for row in left_out]}
    if left_out and (said := left_out_sentence(left_out)):
        told["promise"] += f" {said}"
    told["warnings"] += pool_warnings(decision)
    return told


def _audited(held: HeldOut, decision: Decision, ontology: CellOntology, prepared: Prepared) -> AuditedVotes:
    """Return held-out votes in the order of the reference's cells, as the audit reads them."""
    found = decision.pool(held.votes)
    place = {str(name): i for i, name in enumerate(prepared.cell_ids.tolist())}
    rows = np.array([place[str(name)] for name in held.votes.cell_ids.tolist()], np.int64)
    n = len(prepared.cell_ids)
    top, agreed = np.full(n, -1, np.int32), np.zeros(n, bool)
    of_held = np.where(found.top >= 0, decision.columns[np.maximum(found.top, 0)], -1)
    # A cell whose type no member could know is no evidence against its label.
    top[rows] = np.where(held.known, of_held, -1)
    cast = held.votes.terms >= 0
    agreed[rows] = (~cast | (held.votes.terms == of_held[:, np.newaxis])).all(axis=1) & cast.any(axis=1)
    mass = np.zeros((n, len(decision.columns)))
    mass[rows[held.known]] = found.mass[held.known]
    return AuditedVotes(top, as_terms(mass, decision.columns, n_terms=len(ontology)), agreed)


def left_out_sentence(rows: Sequence[LeftOut]) -> str:
    """Say what became of the types that were left out of the reference on purpose; empty where there were none."""
    n_cells = sum(row.n_cells for row in rows)
    if not n_cells:
        return ""
    caught = sum(row.caught * row.n_cells for row in rows) / n_cells
    worst = min(rows, key=lambda row: row.caught)
    return (
        f"Estimate, no guarantee: of {len(rows)} types left out of the reference one by one, {100 * caught:.0f} % of the"
        f" cells were found unseen (least of {worst.label}: {100 * worst.caught:.0f} %), by the signals of"
        f" {', '.join(worst.members)} alone."
    )


def pool_warnings(decision: Decision) -> list[str]:
    """Return sentences on members that hardly voted on held-out cells, and where the pool does not beat its best one."""
    said = []
    for row in decision.evidence["members"]:
        if row["n_cells"] < LEAST_HELD_OUT * decision.evidence["n_cells"]:
            said.append(
                f"{row['name']} voted on {row['n_cells']:,} of {decision.evidence['n_cells']:,} held-out cells only: it"
                " abstained on the others, or failed when donors were held out (see log.jsonl)."
            )
    members = [row for row in decision.evidence["members"] if row["accuracy"] is not None]
    own = decision.evidence["pool"]["accuracy"]
    if not members or own is None:
        return said
    best = max(members, key=lambda row: float(row["accuracy"]))
    if own >= best["accuracy"]:
        return said
    return [
        *said,
        f"On held-out cells the pool is right on {100 * own:.1f} %, its best member {best['name']} on"
        f" {100 * best['accuracy']:.1f} %: the others do not help there. Which member is best may differ on a query.",
    ]


def decision_record(decision: Decision, held: HeldOut, ontology: CellOntology) -> dict[str, Any]:
    """Return a decision as plain values: thresholds, weights and what they rest on."""
    return {
        "unit": held.unit, "donors": list(held.donors), "n_cells": held.n_cells,
        "n_unknown_type": int((~held.known).sum()),
        "settings": decision.settings.model_dump(mode="json"),
        "thresholds": thresholds_by_stratum(decision, ontology),
        "evidence": decision.evidence,
        "signals": [list(key) for key in decision.belonging.signals] if decision.belonging else [],
    }  # fmt: skip


def thresholds_by_stratum(decision: Decision, ontology: CellOntology) -> list[dict[str, Any]]:
    """Return one row a threshold, with the terms that it is for."""
    rows = []
    for i, threshold in enumerate(decision.thresholds):
        terms = [ontology.ids[t] for t in decision.columns[decision.stratum == i].tolist()]
        if terms or len(decision.thresholds) == 1:
            rows.append(threshold_row(threshold) | {"terms": terms})
    return rows


def threshold_row(threshold: Threshold) -> dict[str, Any]:
    """Return a threshold as plain values, infinities as None."""
    return {
        name: (None if isinstance(value, float) and not np.isfinite(value) else value)
        for name, value in asdict(threshold).items()
    }


def describe_verdict(
    verdict: Verdict,
    held: HeldOut,
    matching: dict[str, Any],
    no_doublets: str | None,
    *,
    batches: tuple[str, ...],
    ontology: CellOntology,
    settings: ReduceSettings,
) -> dict[str, Any]:
    """Return ``rule``, ``tier``, ``alpha``, ``promise`` and ``calibration`` of a run."""
    decision = verdict.decision
    rule = settings.effective(calibrated=True)
    said = verdict.sentences(batches, unit=held.unit)
    tier = verdict.tier
    if rule != "calibrated":
        tier = "none"
        said = (
            f"No error rate is promised: the rule {rule} was asked for, and only the rule calibrated uses the thresholds"
            " that held-out cells chose."
        )
    notes = [matching["sentence"], *verdict.quality.notes, *([no_doublets] if no_doublets else [])]
    n_cells = len(verdict.batch)
    if verdict.belonging is not None and n_cells < FEW_CELLS:
        notes.append(
            f"With {n_cells} cells the query's own shift is poorly known: more cells of known types may be called unseen"
            f" than {100 * decision.settings.eps:.3g} % (simulated at 5 %: 15 % of 5 cells, 9 % of 20, 8 % of 50)."
        )
    record = decision_record(decision, held, ontology)
    record |= {
        "matching": matching,
        "reliability": {
            name: round(float(value), 4)
            for name, value in zip(decision.members, decision.reliability.accuracy, strict=True)
        },
        "exchangeable": exchangeable_record(verdict, batches),
        "notes": notes,
    }
    if verdict.neighbors is not None:
        record["neighbor_rule"] = {name: round(value, 4) for name, value in verdict.neighbors.items()}
    if verdict.belonging is not None:
        record["shift"] = {
            f"{kind} ({member})": round(float(shift), 3)
            for (kind, member), shift in zip(verdict.belonging.signals, verdict.belonging.shift, strict=True)
        }
    return {"rule": rule, "tier": tier, "alpha": decision.settings.alpha, "promise": said, "calibration": record}


def exchangeable_record(verdict: Verdict, batches: tuple[str, ...]) -> dict[str, Any]:
    """Return what the query's batches were compared in, and which lie outside."""
    found = verdict.exchangeable
    if found is None:
        return {
            "checked": False,
            "sentences": ["Cells, not donors, were held out: there is nothing to compare batches with."],
        }
    values = {
        batch: {name: round(float(v), 4) for name, v in zip(found.statistics, row, strict=True)}
        for batch, row in zip(batches, found.values, strict=True)
    }
    return {"checked": found.checked, "sentences": list(found.sentences(batches)), "values": values,
            "unlike": [batch for batch, out in zip(batches, found.unlike, strict=True) if out]}  # fmt: skip


def unseen_note(n_unseen: int, n_cells: int) -> str | None:
    """Return a warning where much of a query is unseen: its own cells are then a poor yardstick."""
    if not n_cells or n_unseen / n_cells <= MUCH_UNSEEN:
        return None
    return (
        f"{n_unseen:,} of {n_cells:,} cells do not belong to the reference. Strangeness is read against the query's own"
        " lower quartile, so where most of a query is unseen, cells are missed: check whether this reference fits."
    )


def count_unseen(folder: Path) -> int:
    """Return how many cells of a run are unseen."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    status = pq.read_table(folder / "calls.parquet", columns=["status"])["status"].cast("string")
    return int(pc.sum(pc.equal(status, "unseen")).as_py() or 0)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write ``card.json`` of a jury."""
    write_json(folder / "card.json", card)
