"""What was decided of an item, and which others a decision would also fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celljury.review.board import TO_DO
from celljury.review.events import PART, line_of
from celljury.review.texts import outcome_name, part_name, what
from celljury.review.views import Alike, HistoryLine, Side

if TYPE_CHECKING:
    from collections.abc import Collection

    from celljury.ontology.graph import CellOntology
    from celljury.review.board import Seen
    from celljury.review.events import Outcome
    from celljury.review.filters import ItemIndex
    from celljury.review.ledger import ItemState
    from celljury.review.pack import Pack


def sides_of(state: ItemState, ontology: CellOntology) -> tuple[Side, ...]:
    """Return the outcomes that stand against each other, each with who says it; () where there is no conflict."""
    if state.status != "conflict":
        return ()
    said: dict[Outcome, list[str]] = {}
    for reviewer, event in state.by_reviewer.items():
        if event.after is not None:
            said.setdefault(event.after, []).append(reviewer)
    return tuple(Side(", ".join(who), outcome_name(o, ontology), o.term, o.status) for o, who in said.items())


def history_of(part_id: str, seen: Seen, ontology: CellOntology) -> tuple[HistoryLine, ...]:
    """Return what was done to an item or part, and to what it is a part of, the latest first."""
    found = []
    for owner in line_of(part_id):
        stale = {event.number for event in seen.state(owner).stale}
        for event in seen.history(owner):
            stands = seen.full.stands(event)
            remark = "" if stands else "undone"
            if event.number in stale:
                remark = "on other evidence, does not count"
            if owner != part_id:
                remark = "; ".join(filter(None, [f"on {part_name(owner) or 'the whole item'}", remark]))
            found.append(
                HistoryLine(
                    event.number, event.at, event.reviewer, what(event, ontology), event.note,
                    stands and event.number not in stale, remark,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda line: -line.number))


def alike_of(
    part_id: str, pack: Pack, index: ItemIndex, seen: Seen, taken: Collection[str]
) -> tuple[list[str], Alike | None]:
    """Return the items of the family that are to do, this one first, and how many; only itself, None where it is alone.

    Parts have no family: what sets them apart from their item is not in it. ``taken`` are items that others are on.
    """
    if PART in part_id:
        return [part_id], None
    items = pack.items
    ids = items["item_id"].to_numpy()
    rows = index.families[str(items["family"].iat[pack.position[part_id]])]
    position, status = seen.entries.position, seen.entries.status
    others = [
        other
        for other in ids[rows].tolist()
        if other != part_id and other in position and status[position[other]] in TO_DO and other not in taken
    ]
    if not others:
        return [part_id], None
    found = [part_id, *others]
    at = [pack.position[item] for item in found]
    n_cells = int((items["stop"].to_numpy()[at] - items["start"].to_numpy()[at]).sum())
    return found, Alike(len(found), n_cells)
