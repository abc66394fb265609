"""A jury that weighs its members by what curators decided.

A reviewed item says which member erred where the members disagreed. That is evidence on their weights, and on nothing
else: items are in the queue because they were in doubt, and a threshold or a temperature learned from them would promise
nothing of any donor. So they enter the prior of `celljury.reliability`, one observation an item, as a vote of the query
whose true term is known; thresholds are learned on the held-out donors as ever, with the weights that result.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celljury import origin
from celljury.decide import learn_decision
from celljury.errors import InputError, OutputError
from celljury.heldout import REVIEWED, HeldOut
from celljury.jury import Jury
from celljury.leftout import LeftOut
from celljury.promise import promise
from celljury.provenance import check_folder, make_folder, now, sha256, versions, write_json
from celljury.tell import decision_record, left_out_sentence, pool_warnings, write_card

if TYPE_CHECKING:
    from celljury.decide import Decision
    from celljury.heldout import Reviewed
    from celljury.review.findings import Findings
    from celljury.run import Run

_OPTION: Final = "--new-jury"


def updated_jury(jury_folder: Path | str, findings: Findings, out: Path | str) -> Jury:
    """Write a jury whose members' weights also rest on reviewed items into a new folder, and return it.

    Its members, temperatures and held-out cells are the jury's own. ``calibration/reviewed.npz`` holds the items, apart
    from held-out cells, and ``jury.json`` says under ``reviewed`` where they come from. Thresholds are learned anew on
    the held-out donors with the new weights, as they are for every query, so that what is promised still holds. The
    card's page is not written here.

    Items of a run that was reviewed before are replaced by those given now. A run is accepted whose jury is the given
    one, or one that this was updated from.

    Raises
    ------
    InputError
        If `check_update` refuses the run or its jury, or nothing usable was reviewed.
    OutputError
        If ``out`` cannot be written, holds a jury already, or lies in the jury or around it.
    """
    jury, out = check_update(findings.run, jury_folder, out), Path(out)
    _check_findings(findings)
    assert jury.evidence is not None, "check_update lets no such jury pass"
    held = HeldOut.load(jury.evidence, jury.ontology)
    before = held.reviewed
    if before is not None:
        before = before.take(before.run != findings.calls)
    reviewed = findings.reviewed if before is None else before.with_more(findings.reviewed)
    record = [row for row in jury.about.get("reviewed", []) if row["calls"] != findings.calls]
    record.append(
        {
            "run": str(findings.run.folder), "calls": findings.calls, "jury": findings.run.record["jury"]["sha256"],
            "n_items": len(findings.reviewed), "n_cells": int(findings.reviewed.n_cells.sum()),
            "n_events": findings.n_events, "last_event": findings.last_event, "date": now(), "versions": versions(),
        }
    )  # fmt: skip
    about = {**jury.about, "reviewed": record}
    old, new = (_decision(jury, held, some) for some in (held.reviewed, reviewed))
    card = _card(jury, old, new, held)
    about["calibration"] = card["calibration"]
    make_folder(out, owned="jury.json", option=_OPTION)
    write_json(out / "unfinished.json", {"made": now()})
    shutil.copytree(
        jury.folder, out, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("jury.json", "card.html", "card.json", "log.jsonl", "unfinished.json"),
    )  # fmt: skip
    reviewed.save(out / "calibration" / REVIEWED, jury.ontology)
    write_card(out, card)
    write_json(out / "jury.json", about)
    (out / "unfinished.json").unlink()
    return Jury(out)


def weight_lines(before: Jury, after: Jury) -> list[str]:
    """Say how the members' mean weights on held-out cells differ between two juries."""

    def weights(jury: Jury) -> dict[str, float | None]:
        return {row["name"]: row["weight"] for row in jury.about["calibration"]["evidence"]["members"]}

    def said(weight: float | None) -> str:
        return "-" if weight is None else f"{weight:.2f}"

    was, now_ = weights(before), weights(after)
    width = max(len(name) for name in now_)
    return [f"  {name:<{width}}  {said(was.get(name))} -> {said(weight)}" for name, weight in now_.items()]


def check_update(run: Run, jury_folder: Path | str | None, out: Path | str) -> Jury:
    """Return the jury that what curators decided on a run may update into ``out``; nothing is written.

    What can be known before decisions are applied.

    Parameters
    ----------
    jury_folder
        The jury; None = the one that the run names, where it was or beside the run.

    Raises
    ------
    InputError
        If the run's labels came from no jury, its jury is gone or another one, or does not weigh its members by
        reliability.
    OutputError
        If ``out`` cannot be a new folder for a jury.
    """
    record = run.record
    where = run.folder
    if "jury" not in record:
        message = (
            f"{where} is the consensus of labels that other tools wrote (celljury vote): there is no jury whose members"
            " could be weighed anew. The summary says which of the tools were right."
        )
        raise InputError(message)
    if jury_folder is None and (jury_folder := origin.jury_folder(run)) is None:
        message = (
            f"the jury that made {where} ({record['jury']['folder']}) is not where it was, or was fitted anew since. Name it"
            " with --jury."
        )
        raise InputError(message)
    jury = Jury.load(jury_folder)
    _check_target(jury.folder, Path(out))
    accepted = {sha256(jury.folder / "jury.json"), *(row["jury"] for row in jury.about.get("reviewed", []))}
    if record["jury"]["sha256"] not in accepted:
        message = (
            f"{where} was annotated by another jury than {jury.folder}: run.json names {record['jury']['folder']} with the"
            f" sha256 {record['jury']['sha256'][:12]}..., this one has {sha256(jury.folder / 'jury.json')[:12]}.... Pass the"
            " jury that the run names."
        )
        raise InputError(message)
    if jury.evidence is None:
        message = (
            f"{jury.folder} was fitted without a calibration: it does not weigh its members. Fit it with one first."
        )
        raise InputError(message)
    if (rule := jury.config.calibration.pool) not in ("reliability", "dawid-skene"):
        message = (
            f"{jury.folder} pools by the rule {rule!r}, which does not learn from votes; reviewed items would change nothing."
            " Fit it with calibration.pool = 'reliability'."
        )
        raise InputError(message)
    return jury


def _check_target(jury_folder: Path, out: Path) -> None:
    """Refuse a place for the new jury that is the old one's, lies in it or around it, or is taken."""
    old, new = jury_folder.resolve(), out.resolve()
    if old != new and (old in new.parents or new in old.parents):
        # A copy into itself would have no end.
        how = "lies in" if old in new.parents else "holds"
        raise OutputError.for_path(out, f"it {how} {jury_folder}, the jury that is updated", option=_OPTION)
    check_folder(out, owned="jury.json", option=_OPTION)


def _check_findings(findings: Findings) -> None:
    if not len(findings.reviewed):
        n_decided = findings.n_judged + findings.n_without_term
        message = (
            f"nothing in {findings.run.folder} can teach a jury yet: it takes items that a curator decided to be one of the"
            f" reference's own terms, and {n_decided:,} decided items name none. Review more, or decide more finely."
        )
        raise InputError(message)


def _decision(jury: Jury, held: HeldOut, reviewed: Reviewed | None) -> Decision:
    if reviewed is not None:
        reviewed = reviewed.of(held.votes.members)
    terms = jury.ontology.indices([row["term"] for row in jury.about["terms"]])
    return learn_decision(replace(held, reviewed=reviewed), jury.ontology, jury.config.calibration, terms=terms)


def _card(jury: Jury, old: Decision, new: Decision, held: HeldOut) -> dict[str, Any]:
    """Return the jury's card with what follows from the new weights."""
    card: dict[str, Any] = json.loads((jury.folder / "card.json").read_text(encoding="utf-8"))
    left_out = [LeftOut(**row) for row in (jury.about["calibration"] or {}).get("left_out", [])]
    settings = new.settings
    eps = settings.eps if new.belonging is not None and settings.unseen else None
    said = promise(new.weakest, unit=held.unit, eps=eps)
    if left_out and (more := left_out_sentence(left_out)):
        said += f" {more}"
    gone = set(pool_warnings(old))
    return {
        **card, "tier": new.weakest.tier, "alpha": settings.alpha, "promise": said,
        "calibration": decision_record(new, held, jury.ontology) | {"left_out": [asdict(row) for row in left_out]},
        "warnings": [line for line in card["warnings"] if line not in gone] + pool_warnings(new),
    }  # fmt: skip
