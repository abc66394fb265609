"""What the log of decisions says now: every event replayed, nothing kept but the events themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celljury.review.agreement import Agreement, agreements
from celljury.review.events import DECIDING, PART, Action, Event, Outcome, item_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DECIDING", "PART", "Action", "Event", "ItemState", "Ledger", "Outcome", "item_of", "parts_of", "replay"]


@dataclass(frozen=True, slots=True)
class ItemState:
    """Where an item or part stands.

    Attributes
    ----------
    status
        ``open``, ``decided``, ``conflict``, ``skipped``, ``reopened`` or ``split``.
    outcome
        What holds for its cells; None unless it is decided.
    by_reviewer
        Each reviewer's standing decision, or skip where the reviewer decided nothing.
    notes
        Events that stand and carry a note, also those on other evidence.
    split
        The split that stands.
    stale
        Decisions and splits that were made on other evidence and do not count.
    """

    item_id: str
    status: str = "open"
    outcome: Outcome | None = None
    by_reviewer: Mapping[str, Event] = field(default_factory=dict)
    notes: tuple[Event, ...] = ()
    split: Event | None = None
    stale: tuple[Event, ...] = ()


def replay(events: Iterable[Event], evidence: Mapping[str, str]) -> Ledger:
    """Return what the events say now, in the order of their numbers.

    Parameters
    ----------
    evidence
        The present evidence of every item, and of parts where it is told; other parts have their item's. An event that
        was made on other evidence, or on an item that is gone, does not count.
    """
    return Ledger(evidence).after(events)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The log's meaning; see `replay`.

    Rules: a reviewer's later decision replaces the earlier one. Different decisions of two reviewers are a conflict
    until somebody settles it; what is decided after that is compared with the settlement, which stands also when who
    settled says the same again. A skip is no decision and takes none back. The first split that stands holds; the parts
    are then decided on their own. An undo takes back an event of the same reviewer and, where that was one of a group,
    the group; an undone undo has no effect.
    """

    evidence: Mapping[str, str]
    _events: dict[int, Event] = field(default_factory=dict)
    _of_item: dict[str, list[int]] = field(default_factory=dict)
    _of_group: dict[str, list[int]] = field(default_factory=dict)
    # Event -> how many undos that stand take it back; events that stand are not in it.
    _undone: dict[int, int] = field(default_factory=dict)
    _states: dict[str, ItemState] = field(default_factory=dict)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event, in the order of the numbers."""
        return tuple(self._events.values())

    @property
    def last(self) -> int:
        """Number of the last event; 0 = none."""
        return next(reversed(self._events), 0)

    def event(self, number: int | None) -> Event | None:
        """Return the event of a number; None where there is none."""
        return self._events.get(number or 0)

    def after(self, more: Iterable[Event]) -> Ledger:
        """Return the ledger with further events; only the items that they touch are worked out again."""
        new = sorted((event for event in more if event.number not in self._events), key=lambda event: event.number)
        if not new:
            return self
        if new[0].number < self.last:
            return replay([*self.events, *new], self.evidence)
        longer = _Longer(self)
        for event in new:
            longer.add(event)
        for item_id in longer.touched:
            longer.states[item_id] = longer.state(item_id, self.evidence_of(item_id))
        return Ledger(self.evidence, longer.events, longer.of_item, longer.of_group, longer.undone, longer.states)

    def state(self, item_id: str) -> ItemState:
        """Return where an item or part stands; open where nothing is known of it."""
        return self._states.get(item_id) or ItemState(item_id)

    def evidence_of(self, part_id: str) -> str | None:
        """Return the present evidence of an item or part; None where it is gone."""
        found = self.evidence.get(part_id)
        return self.evidence.get(item_of(part_id)) if found is None else found

    def stands(self, event: Event) -> bool:
        """Whether no undo takes the event back."""
        return event.number in self._events and event.number not in self._undone

    def history(self, item_id: str) -> tuple[Event, ...]:
        """Return every event on an item or part itself, also those undone."""
        return tuple(self._events[number] for number in self._of_item.get(item_id, ()))

    def leaves(self, item_id: str) -> tuple[str, ...]:
        """Return what the item's cells are decided by: itself, or the parts that its splits made."""
        split = self.state(item_id).split
        if split is None:
            return (item_id,)
        return tuple(leaf for part in parts_of(item_id, split.by) for leaf in self.leaves(part))

    def holds(self, part_id: str) -> bool:
        """Whether the item or part is there and not itself split."""
        return item_of(part_id) in self.evidence and part_id in self.leaves(item_of(part_id))

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcome of every item or part that is decided; no cell is in two of them."""
        found = {}
        for item_id in self._states:
            if PART not in item_id:
                for leaf in self.leaves(item_id):
                    if (outcome := self.state(leaf).outcome) is not None:
                        found[leaf] = outcome
        return found

    def undoable(self, reviewer: str) -> Event | None:
        """Return the reviewer's last event that stands and is no undo: what the undo key takes back."""
        own = (event for event in reversed(self._events.values()) if event.reviewer == reviewer)
        return next((e for e in own if e.action is not Action.UNDO and self.stands(e)), None)

    def redoable(self, reviewer: str) -> Event | None:
        """Return the undo that the redo key takes back: the last that stands, if nothing was done since."""
        for event in reversed(self._events.values()):
            if event.reviewer == reviewer and self.stands(event):
                if event.action is not Action.UNDO:
                    return None
                target = self.event(event.undoes)
                if target is not None and target.action is not Action.UNDO:
                    return event
        return None

    def kappa(self) -> tuple[Agreement, ...]:
        """Return how far each pair of reviewers agree over what both decided, beyond chance.

        Each reviewer's first decision on the present evidence that stands counts: once they have decided, also blind
        reviewers see what others said. Who settles has seen it too, so whose first decision is a settlement has none.
        """
        rated: dict[str, dict[str, Outcome]] = {}
        for item_id in self._states:
            if PART not in item_id and item_id in self.evidence:
                for leaf in self.leaves(item_id):
                    first: dict[str, Event] = {}
                    for event in self.history(leaf):
                        if event.after is not None and event.evidence == self.evidence_of(leaf) and self.stands(event):
                            first.setdefault(event.reviewer, event)
                    for reviewer, event in first.items():
                        if event.after is not None and event.action is not Action.SETTLE:
                            rated.setdefault(reviewer, {})[leaf] = event.after
        return agreements(rated)


class _Longer:
    """A copy of a ledger's tables to which events are added; lists are copied when first added to."""

    def __init__(self, ledger: Ledger) -> None:
        self.events = dict(ledger._events)
        self.of_item = dict(ledger._of_item)
        self.of_group = dict(ledger._of_group)
        self.undone = dict(ledger._undone)
        self.states = dict(ledger._states)
        self.touched: set[str] = set()
        self._copied: set[str] = set()

    def add(self, event: Event) -> None:
        self.events[event.number] = event
        self._list(self.of_item, event.item_id, "item").append(event.number)
        if event.group:
            self._list(self.of_group, event.group, "group").append(event.number)
        self.touched.add(event.item_id)
        if event.action is Action.UNDO:
            self._undo(event)

    def _list(self, table: dict[str, list[int]], name: str, kind: str) -> list[int]:
        if f"{kind} {name}" not in self._copied:
            self._copied.add(f"{kind} {name}")
            table[name] = [*table.get(name, ())]
        return table[name]

    def _undo(self, event: Event) -> None:
        # Undos only reach back, so counting those that stand on each event ends, whatever undoes what.
        work = [(event, 1)]
        while work:
            undo, step = work.pop()
            for target in self._targets(undo):
                before = self.undone.pop(target.number, 0)
                if before + step:
                    self.undone[target.number] = before + step
                if before and before + step:
                    continue
                self.touched.add(target.item_id)
                if target.action is Action.UNDO:
                    work.append((target, -1 if before + step else 1))

    def _targets(self, undo: Event) -> list[Event]:
        target = self.events.get(undo.undoes or 0)
        if target is None:
            return []
        group = self.of_group[target.group] if target.group else [target.number]
        found = (self.events[number] for number in group if number < undo.number)
        return [event for event in found if event.reviewer == undo.reviewer == target.reviewer]

    def state(self, item_id: str, evidence: str | None) -> ItemState:
        standing: dict[str, Event] = {}
        notes, stale = [], []
        split = None
        for number in self.of_item.get(item_id, ()):
            event = self.events[number]
            if number in self.undone or event.action is Action.UNDO:
                continue
            if event.note:
                notes.append(event)
            decides = event.action in DECIDING and event.after is not None
            if event.evidence != evidence:
                if decides or event.action is Action.SPLIT:
                    stale.append(event)
            elif event.action is Action.SPLIT:
                split = split or event
            elif decides:
                if not _settled_already(event, standing.get(event.reviewer)):
                    standing[event.reviewer] = event
            elif event.action is Action.SKIP and event.reviewer not in standing:
                standing[event.reviewer] = event
        status, outcome = _verdict(standing, split=split is not None, stale=bool(stale))
        return ItemState(item_id, status, outcome, standing, tuple(notes), split, tuple(stale))


def _settled_already(event: Event, held: Event | None) -> bool:
    """Whether a decision says once more what its reviewer settled: in its place it would leave the conflict open."""
    settles = held is not None and held.action is Action.SETTLE and event.action is not Action.SETTLE
    return settles and held is not None and held.after == event.after


def _verdict(standing: Mapping[str, Event], *, split: bool, stale: bool) -> tuple[str, Outcome | None]:
    if split:
        return "split", None
    decided = [event for event in standing.values() if event.after is not None]
    if not decided:
        return ("skipped" if standing else "reopened" if stale else "open"), None
    settled = max((event.number for event in decided if event.action is Action.SETTLE), default=0)
    outcomes = {event.after for event in decided if event.number >= settled}
    return ("decided", outcomes.pop()) if len(outcomes) == 1 else ("conflict", None)
