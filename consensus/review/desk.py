"""The review desk: all that the screen shows and does, without a word of HTTP."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from celljury.errors import OutputError
from celljury.review.board import Board, Seen
from celljury.review.events import Action, item_of, parts_of
from celljury.review.filters import Filters, ItemIndex
from celljury.review.happened import alike_of
from celljury.review.item_view import item_view
from celljury.review.lists import QueueList
from celljury.review.points import drawn_points, embedding_of
from celljury.review.press import ON_MANY, Press, RefusedPressError, check_same, drafts_of
from celljury.review.suggestions import Suggestions
from celljury.review.texts import capital, what
from celljury.review.views import Embedding, Heading, ItemView, LockNote, TermName

if TYPE_CHECKING:
    from celljury.review.decisions import Decisions
    from celljury.review.events import Event
    from celljury.review.locks import Locks
    from celljury.review.pack import Pack


_log = logging.getLogger(__name__)


class LockedItemError(RefusedPressError):
    """Somebody else is on the item."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a press did: its events, the number to say it by, and the item to go on with."""

    events: tuple[Event, ...]
    goto: str

    @property
    def number(self) -> int:
        """Of the first event."""
        return self.events[0].number


class Desk:
    """One run's queue and its log, for any number of reviewers; safe to ask from several threads.

    Parameters
    ----------
    locks
        Who is on which item; None, or blind mode, = nobody is told.
    blind
        See `celljury.review.board.Board`.
    """

    def __init__(self, pack: Pack, decisions: Decisions, *, locks: Locks | None = None, blind: bool = False) -> None:
        self.pack, self.decisions = pack, decisions
        self.locks = None if blind else locks
        self.blind = blind
        self.index = ItemIndex(pack)
        self.board = Board(pack, decisions, blind=blind)
        self.lists = QueueList(pack, self.index, self.locks)

    def seen(self, reviewer: str) -> Seen:
        """Return the log as the reviewer may see it now."""
        return self.board.seen(reviewer)

    @cached_property
    def heading(self) -> Heading:
        """The run in the page's head."""
        about = self.pack.about
        in_full = str(about.get("promise") or "")
        tier, alpha = about.get("tier"), about.get("alpha")
        short = f"promise: error ≤ {100 * float(alpha):g} % ({tier})" if alpha and tier else "no error rate is promised"
        folder = self.pack.folder.resolve()
        return Heading(f"{folder.parent.name}/{folder.name}", short, in_full, f"CL {about['release']}")

    def item(self, part_id: str, filters: Filters, seen: Seen, lock: LockNote | None = None) -> ItemView:
        """Return an item's or part's screen; raises UnknownItemError."""
        return item_view(part_id, self.lists, filters, seen, lock)

    def search(self, text: str, part_id: str = "") -> tuple[TermName, ...]:
        """Return the terms that a text may mean, best first, each with how it stands to the item's call."""
        item_id = item_of(part_id)
        at = self.pack.position.get(item_id, -1)
        return self.suggestions.of(text, call=int(self.index.i_term[at]) if at >= 0 else -1)

    @cached_property
    def suggestions(self) -> Suggestions:
        """Terms by what is typed of them."""
        return Suggestions(self.index.names)

    @cached_property
    def drawn(self) -> bytes:
        """See `celljury.review.points.drawn_points`."""
        return drawn_points(self.pack)

    @cached_property
    def embedding(self) -> Embedding | None:
        """See `celljury.review.points.embedding_of`."""
        return embedding_of(self.pack)

    # Doing ----------------------------------------------------------------------------------------------------------

    def act(self, press: Press, filters: Filters) -> Done:
        """Do what a press asks for, once however often it comes.

        Raises
        ------
        UnknownItemError
            If there is no such item.
        LockedItemError
            If somebody else is on it.
        RefusedPressError
            If it cannot be done here.
        InputError, OutputError
            If a text is too long, or the log cannot be written; then nothing was.
        """
        self.pack.rows_of(press.part_id)
        # In this order: the same press may come twice at once, and what the other of the two has done must not be seen
        # without being known as its doing.
        seen = self.seen(press.reviewer)
        events = self.board.pressed(press.key)
        if events:
            check_same(press, events[0], self.pack, self.index, seen)
        else:
            drafts = drafts_of(press, self._targets(press, seen), self.pack, self.index, seen)
            events = self.decisions.append(drafts)
        return Done(events, self._goto(events[0], filters, self.seen(press.reviewer)))

    def _targets(self, press: Press, seen: Seen) -> list[str]:
        """Return what a press writes on."""
        if press.action is Action.UNDO:
            return []
        state = seen.state(press.part_id)
        if press.action is not Action.NOTE:
            taken = self.lists.taken(press.reviewer)
            if (lock := taken.get(press.part_id)) is not None:
                message = f"{lock.reviewer} is on this item. Take it over first, or go on with another."
                raise LockedItemError(message)
            if not seen.full.holds(press.part_id):
                message = "This was split, or put together again, meanwhile. Nothing was written."
                raise RefusedPressError(message)
            if press.action is Action.SETTLE and state.status != "conflict":
                message = "There is no conflict here that you may settle. Nothing was written."
                raise RefusedPressError(message)
            if press.alike and press.action in ON_MANY:
                return alike_of(press.part_id, self.pack, self.index, seen, taken)[0]
        return [press.part_id]

    def _goto(self, event: Event, filters: Filters, seen: Seen) -> str:
        """Return the item to go on with after an event."""
        if event.action is Action.SPLIT:
            return seen.live(parts_of(event.item_id, event.by)[0])
        if event.action in (Action.NOTE, Action.UNDO):
            return (
                seen.live(event.item_id)
                if item_of(event.item_id) in self.pack.position
                else self.lists.first(filters, seen)
            )
        return self.lists.after(event.item_id, filters, seen) or seen.live(event.item_id)

    def say(self, number: int, seen: Seen) -> str:
        """Return what one of the reviewer's own presses did, in a line; "" where it is not theirs."""
        event = seen.full.event(number)
        if event is None or event.reviewer != seen.reviewer:
            return ""
        ontology = self.pack.ontology
        if event.action is Action.UNDO:
            of = seen.full.event(event.undoes) or event
            if of.action is Action.UNDO:
                first = seen.full.event(of.undoes) or of
                return f"Done again: {what(first, ontology)}. Z undoes."
            return f"Undone: {what(of, ontology)}{self._size(of)}. Y does it again."
        cells = "" if event.action is Action.NOTE else self._size(event)
        left = "" if self.lists.after("", Filters(), seen) else " Nothing is left to do."
        return f"{capital(what(event, ontology))}{cells}. Z undoes.{left}"

    def _size(self, event: Event) -> str:
        group = self.board.pressed(event.group) if event.group else (event,)
        ids = [e.item_id for e in group if item_of(e.item_id) in self.pack.position and e.action is event.action]
        n_cells = sum(self.lists.n_cells(part_id) for part_id in ids)
        between = " for" if event.after is not None else ":"
        return f"{between} {f'{len(ids):,} items, ' if len(ids) > 1 else ''}{n_cells:,} {'cell' if n_cells == 1 else 'cells'}"

    def enter(self, part_id: str, reviewer: str, *, force: bool = False) -> LockNote | None:
        """Take an item's lock and let go of others; return who has it where that is somebody else.

        Raises
        ------
        OutputError
            With ``force``, if the lock cannot be written; without it the item is only looked at, and needs none.
        """
        if self.locks is None:
            return None
        try:
            self.locks.take(part_id, reviewer, force=force)
            # Who looks through the list must not leave a trail of locks.
            for other in self.locks.held():
                if other.reviewer == reviewer and other.item_id != part_id:
                    self.locks.release(other.item_id, reviewer)
        except OutputError as error:
            if force:
                raise
            _log.warning("%s is shown without a lock: %s", part_id, error)
        return self.lists.taken(reviewer).get(part_id)
