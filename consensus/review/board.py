"""What has been decided, as each reviewer may see it: the ledger kept up to date, and the list of what is to be worked on."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.review.ledger import PART, Action, item_of, replay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.review.decisions import Decisions
    from celljury.review.ledger import Event, ItemState, Ledger
    from celljury.review.pack import Pack

TO_DO: Final = frozenset({"open", "reopened"})


@dataclass(frozen=True, slots=True)
class Entries:
    """The queue as a reviewer works through it: items, and parts in place of what was split.

    Attributes
    ----------
    ids
        Of items and parts, in the order of the queue (n_entries,).
    row
        Row of the item in the pack, int64 (n_entries,).
    status
        As in `ItemState` (n_entries,), never ``split``.
    number
        Of the last event that they know.
    position
        Place of each id.
    """

    ids: tuple[str, ...]
    row: NDArray[np.int64]
    status: NDArray[np.str_]
    number: int
    position: dict[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """The log at one moment, as far as it is open to a reviewer.

    Attributes
    ----------
    reviewer
        Who looks.
    before
        What they may see of an item before they decide it: in blind mode their own events and the splits, else all.
    full
        What they may see of it then.
    entries
        The queue.
    """

    reviewer: str
    before: Ledger
    full: Ledger
    entries: Entries

    def state(self, part_id: str) -> ItemState:
        """Return where an item or part stands."""
        return _ledger_for(part_id, self.reviewer, self.before, self.full).state(part_id)

    def history(self, part_id: str) -> tuple[Event, ...]:
        """Return the events on an item or part, undone ones too."""
        return _ledger_for(part_id, self.reviewer, self.before, self.full).history(part_id)

    def decided_by(self, who: str) -> NDArray[np.bool_]:
        """Return which entries carry a decision or skip of ``who``, bool (n_entries,)."""
        return np.array([who in self.state(part_id).by_reviewer for part_id in self.entries.ids], bool)

    @property
    def reviewers(self) -> list[str]:
        """Names in the log that may be seen, in order, with one's own."""
        blind = self.before is not self.full
        return [self.reviewer] if blind else sorted({e.reviewer for e in self.full.events} | {self.reviewer})

    def live(self, part_id: str) -> str:
        """Return where an id leads: itself if it is listed, else the first part to do of what was split, or what parts became.

        ``part_id`` must be an id that the pack knows.
        """
        position, status = self.entries.position, self.entries.status
        while part_id not in position:
            under = [leaf for leaf in self.entries.ids if leaf.startswith(part_id + PART)]
            if under:
                return next((leaf for leaf in under if status[position[leaf]] in TO_DO), under[0])
            part_id = part_id.rpartition(PART)[0].rpartition(PART)[0]
        return part_id


class Board:
    """The log's meaning for each reviewer; safe to ask from several threads.

    Parameters
    ----------
    blind
        A reviewer sees only their own decisions on an item until they have decided it. Splits are seen by all: they say
        what is to be decided, not how.
    """

    def __init__(self, pack: Pack, decisions: Decisions, *, blind: bool = False) -> None:
        self.pack, self.decisions, self.blind = pack, decisions, blind
        self._items: list[str] = pack.items["item_id"].tolist()
        self._lock = threading.RLock()
        self._full = replay((), pack.evidence)
        self._own: dict[str, Ledger] = {}
        self._entries: dict[str, Entries] = {}
        self._presses: dict[str, list[Event]] = {}
        self._splits: set[int] = set()

    def seen(self, reviewer: str) -> Seen:
        """Take in what was written since, by whomever, and return what a reviewer may see of it."""
        with self._lock:
            full = self._refreshed()
            before = self._before(reviewer) if self.blind else full
            whose = reviewer if self.blind else ""
            entries = self._entries.get(whose)
            if entries is None or entries.number != full.last:
                entries = self._entries[whose] = self._listed(reviewer, before)
            return Seen(reviewer, before, full, entries)

    def pressed(self, key: str) -> tuple[Event, ...]:
        """Return the events of one press; () where it has not arrived."""
        with self._lock:
            self._refreshed()
            return tuple(self._presses.get(key, ()))

    def _refreshed(self) -> Ledger:
        new = self.decisions.events(after=self._full.last)
        for event in new:
            self._presses.setdefault(event.group or event.key, []).append(event)
            # An undo of a split, an undo of that, and so on: what all see is whether the split stands.
            if event.action is Action.SPLIT or event.undoes in self._splits:
                self._splits.add(event.number)
        self._full = self._full.after(new)
        return self._full

    def _before(self, reviewer: str) -> Ledger:
        known = self._own.get(reviewer) or replay((), self._full.evidence)
        new = (
            event
            for event in self._full.events
            if event.number > known.last and (event.reviewer == reviewer or event.number in self._splits)
        )
        self._own[reviewer] = known.after(new)
        return self._own[reviewer]

    def _listed(self, reviewer: str, before: Ledger) -> Entries:
        touched = {item_of(event.item_id) for event in self._full.events}
        ids: list[str] = []
        rows: list[int] = []
        statuses: list[str] = []
        for row, item_id in enumerate(self._items):
            if item_id not in touched:
                ids.append(item_id)
                rows.append(row)
                statuses.append("open")
                continue
            for leaf in before.leaves(item_id):
                ids.append(leaf)
                rows.append(row)
                statuses.append(_ledger_for(leaf, reviewer, before, self._full).state(leaf).status)
        return Entries(
            ids=tuple(ids),
            row=np.array(rows, np.int64),
            status=np.array(statuses, dtype="U10"),
            number=self._full.last,
            position={part_id: i for i, part_id in enumerate(ids)},
        )


def has_decided(state: ItemState, reviewer: str) -> bool:
    """Whether a decision of the reviewer stands; a skip is none."""
    event = state.by_reviewer.get(reviewer)
    return event is not None and event.after is not None


def _ledger_for(part_id: str, reviewer: str, before: Ledger, full: Ledger) -> Ledger:
    return full if before is full or has_decided(before.state(part_id), reviewer) else before
