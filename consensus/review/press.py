"""One press of a key: what it asks for, whether it may, and the events that it becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from celljury.errors import CelljuryError, UnknownTermError
from celljury.review.drafts import Draft
from celljury.review.events import STATUSES, Action, Outcome, item_of
from celljury.review.texts import label_of, outcome_above, outcome_of_call, what

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.review.board import Seen
    from celljury.review.events import Event
    from celljury.review.filters import ItemIndex
    from celljury.review.pack import Pack

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


class RefusedPressError(CelljuryError, ValueError):
    """A press asks for what cannot be done here; nothing was written."""

    @classmethod
    def for_text(cls, text: str, near: Sequence[tuple[str, str]]) -> Self:
        """Build the error for a text that names no term."""
        hint = "; ".join(f"{label} ({term})" for term, label in near)
        return cls(f"{text!r} names no term. Nearest: {hint or 'none'}. Nothing was written.")


@dataclass(frozen=True, slots=True)
class Press:
    """What a reviewer asks for.

    Attributes
    ----------
    part_id
        The item or part on the screen.
    key
        Made once a press; the same key again is the same press.
    term
        Id, label or synonym that is chosen; for one step up which of several parents; for a settlement its term.
    status
        Of a settlement.
    note
        Goes with any action.
    by
        What a split divides by.
    alike
        All open items of the family at once.
    redo
        An undo of the last undo.
    """

    reviewer: str
    part_id: str
    action: Action
    key: str
    term: str = ""
    status: str = "resolved"
    note: str = ""
    by: str = ""
    alike: bool = False
    redo: bool = False

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            message = "the press carries no key of 8-64 letters, digits, hyphens or underscores. Load the page again."
            raise RefusedPressError(message)


ON_MANY: Final = frozenset({Action.ACCEPT, Action.UP, Action.CHOOSE, Action.UNSEEN, Action.SKIP})


def drafts_of(press: Press, targets: Sequence[str], pack: Pack, index: ItemIndex, seen: Seen) -> list[Draft]:
    """Return what a press writes on each of ``targets``, items or parts that may be written on.

    Raises
    ------
    RefusedPressError
        If the press says nothing sensible of the item.
    """
    if press.action is Action.UNDO:
        return [_undo(press, seen)]
    if press.action is Action.NOTE and not press.note.strip():
        message = "The note is empty. Nothing was written."
        raise RefusedPressError(message)
    if press.action is Action.SPLIT:
        _check_split(press, pack)
    drafts = []
    for target in targets:
        own = seen.state(target).by_reviewer.get(press.reviewer)
        drafts.append(
            Draft(
                # The item on the screen has the press's own key, however many others there are: of two that come at once
                # with different others it is logged once.
                key=press.key if target == targets[0] else f"{press.key}:{target}",
                reviewer=press.reviewer,
                item_id=target,
                action=press.action,
                evidence=pack.evidence[target],
                before=own.after if own is not None else None,
                after=_outcome(press, _row(target, pack), pack, index),
                note=press.note.strip(),
                group=press.key if len(targets) > 1 else "",
                by=press.by if press.action is Action.SPLIT else "",
            )
        )
    return drafts


def check_same(press: Press, event: Event, pack: Pack, index: ItemIndex, seen: Seen) -> None:
    """Raise RefusedPressError where the press that wrote an event under this key was another one.

    A page that the browser went back to still has the key of what was pressed on it.
    """
    if event.reviewer != press.reviewer:
        message = "This press is somebody else's."
        raise RefusedPressError(message)
    same = event.action is press.action
    if same and press.action is Action.UNDO:
        # An undo is logged on what it takes back, whatever was on the screen.
        undone = seen.full.event(event.undoes)
        same = undone is None or press.redo == (undone.action is Action.UNDO)
    elif same:
        after = _outcome(press, _row(press.part_id, pack), pack, index)
        wanted = (press.part_id, after, press.note.strip(), press.by if press.action is Action.SPLIT else "")
        same = (event.item_id, event.after, event.note, event.by) == wanted
    if not same:
        message = (
            f"This page was used already, for a press that {what(event, pack.ontology)}. Load it again and repeat this one."
            " Nothing more was written."
        )
        raise RefusedPressError(message)


def _row(part_id: str, pack: Pack) -> int:
    """Return the row of an item, or of what a part is of."""
    return pack.position[item_of(part_id)]


def _undo(press: Press, seen: Seen) -> Draft:
    event = seen.full.redoable(press.reviewer) if press.redo else seen.full.undoable(press.reviewer)
    if event is None:
        raise RefusedPressError(
            "There is nothing of yours to redo." if press.redo else "There is nothing of yours to undo."
        )
    if event.group:
        # The first of a group is the item that was on the screen; undoing one undoes all.
        event = next(e for e in seen.full.events if e.group == event.group and e.reviewer == press.reviewer)
    return Draft(
        key=press.key,
        reviewer=press.reviewer,
        item_id=event.item_id,
        action=Action.UNDO,
        evidence=event.evidence,
        undoes=event.number,
    )


def _check_split(press: Press, pack: Pack) -> None:
    ways = pack.splits(press.part_id)
    if press.by not in ways:
        text = (
            f"Splitting by {press.by[:60]!r} gives no two parts with cells; possible: {', '.join(ways) or 'nothing'}."
        )
        raise RefusedPressError(text)


def _outcome(press: Press, at: int, pack: Pack, index: ItemIndex) -> Outcome | None:
    """Return what a press says of the cells of the item in row ``at``; None for actions that say nothing."""
    call = outcome_of_call(str(pack.items["term"].iat[at]), str(pack.items["status"].iat[at]))
    if press.action is Action.ACCEPT:
        return call
    if press.action is Action.UP:
        return outcome_above(_parent(press, call.term, pack), call.status)
    if press.action is Action.CHOOSE:
        return Outcome(chosen_term(press.term, index), "resolved")
    if press.action is Action.UNSEEN:
        return Outcome(chosen_term(press.term, index) if press.term else call.term, "unseen")
    if press.action is Action.SETTLE:
        if press.status not in STATUSES:
            message = f"A settlement cannot be {press.status[:40]!r}."
            raise RefusedPressError(message)
        return Outcome(chosen_term(press.term, index) if press.term or press.status == "resolved" else "", press.status)
    return None


def _parent(press: Press, term: str, pack: Pack) -> str:
    ontology = pack.ontology
    parents = [ontology.ids[i] for i in ontology.parents(ontology.index(term)).tolist()] if term else []
    if press.term:
        if press.term not in parents:
            message = f"{press.term[:60]!r} is not directly above {label_of(term, ontology)!r}."
            raise RefusedPressError(message)
        return press.term
    if len(parents) != 1:
        text = "There is no step up from here." if not parents else "There are several steps up: choose one of them."
        raise RefusedPressError(text)
    return parents[0]


def chosen_term(text: str, index: ItemIndex) -> str:
    """Return the id of the term that a text names; raises RefusedPressError, with the nearest, where it names none."""
    ontology = index.pack.ontology
    match = index.names.lookup(text) if text.strip() else None
    if match is not None:
        return ontology.ids[match.i_term]
    try:
        near = [(ontology.ids[i], ontology.labels[i]) for i, _ in index.names.search(text[:200], limit=5)]
    except UnknownTermError:
        near = []
    raise RefusedPressError.for_text(text[:80], near)
