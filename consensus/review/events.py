"""One line of the log of decisions: who did what to which item, what stood before and what holds after."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from celljury.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PART: Final = "~"
"""Between an item's id, what it was split by, and the number of the part."""

STATUSES: Final = ("resolved", "unseen", "unresolved")


class Action(StrEnum):
    """What a reviewer did."""

    ACCEPT = "accept"
    UP = "up"
    CHOOSE = "choose"
    UNSEEN = "unseen"
    SKIP = "skip"
    NOTE = "note"
    SPLIT = "split"
    UNDO = "undo"
    SETTLE = "settle"


DECIDING: Final = frozenset({Action.ACCEPT, Action.UP, Action.CHOOSE, Action.UNSEEN, Action.SETTLE})
"""Actions that say what the cells are; a decision of the same reviewer replaces an earlier one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision says of the cells.

    Attributes
    ----------
    term
        Ontology id; of unseen cells the node under which they are new; empty = none.
    status
        ``resolved``, ``unseen`` or ``unresolved``.
    """

    term: str
    status: str

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            message = f"an outcome's status must be one of {', '.join(STATUSES)}, got {self.status!r}."
            raise InputError(message)

    def to_json(self) -> dict[str, str]:
        """Return it as a JSON object."""
        return {"term": self.term, "status": self.status}

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Self:
        """Build it from what `to_json` returned."""
        return cls(found["term"], found["status"])


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; nothing in it ever changes.

    Attributes
    ----------
    number
        Its place in the run's log, from 1, without gaps.
    key
        Made by who asked for it; the same key is in a run's log once.
    at
        UTC, ISO 8601, to the millisecond.
    item_id
        The item or part that it is about.
    before
        What stood for this reviewer before; None = nothing.
    after
        What a deciding action says of the cells; None for the others.
    evidence
        Of the item when the reviewer looked at it.
    version
        Of celljury.
    undoes
        Number of the event that an undo takes back.
    group
        Events of one press share it; empty = alone.
    by
        What a split divides by: ``cluster`` or a member's name.
    """

    number: int
    key: str
    at: str
    reviewer: str
    item_id: str
    action: Action
    before: Outcome | None
    after: Outcome | None
    note: str
    evidence: str
    version: str
    undoes: int | None
    group: str
    by: str

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object, fields in their order."""
        found = {name: getattr(self, name) for name in self.__slots__}
        outcomes = {name: found[name] and found[name].to_json() for name in ("before", "after")}
        return found | outcomes | {"action": str(self.action)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Build it from what `to_json` returned."""
        outcomes = {name: found[name] and Outcome.from_json(found[name]) for name in ("before", "after")}
        return cls(**{**found, **outcomes, "action": Action(found["action"])})


def item_of(part_id: str) -> str:
    """Return the item that a part belongs to; an item belongs to itself."""
    return part_id.partition(PART)[0]


def steps_of(part_id: str) -> list[tuple[str, str]]:
    """Return by what its item was split, and which side each time, down to a part; [] of an item.

    Raises
    ------
    ValueError
        If the id names no side for a split.
    """
    _, *steps = part_id.split(PART)
    return list(zip(steps[::2], steps[1::2], strict=True))


def line_of(part_id: str) -> list[str]:
    """Return the item, each part on the way down, and the part itself."""
    line = [item_of(part_id)]
    for by, side in steps_of(part_id):
        line.append(PART.join((line[-1], by, side)))
    return line


def parts_of(item_id: str, by: str) -> tuple[str, str]:
    """Return the ids of the two parts that a split makes."""
    return f"{item_id}{PART}{by}{PART}0", f"{item_id}{PART}{by}{PART}1"
