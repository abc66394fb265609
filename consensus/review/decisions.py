"""The log of decisions in a database: events are added, never changed and never taken out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from celljury import __version__
from celljury.errors import InputError, UnreadableFileError
from celljury.review.database import Database
from celljury.review.drafts import Draft, new_key
from celljury.review.events import Action, Event, Outcome
from celljury.review.schema import events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["Decisions", "Draft", "new_key"]


@dataclass(frozen=True, slots=True)
class Decisions:
    """The log of one run.

    Attributes
    ----------
    database
        Where it is; accounts and locks are in the same.
    run
        Whose log it is among those that the database holds. Stays the same when the run is made again, since decisions
        outlive it; empty for a file of its own.
    """

    database: Database
    run: str = ""

    @classmethod
    def open(cls, where: Path | str, *, run: str = "", read_only: bool = False) -> Self:
        """Open the log at a path (SQLite, made when missing) or database URL (``postgresql://user@host/name``).

        Raises
        ------
        InputError
            If the URL is of an unknown kind, no server answers, or the format is not this version's.
        UnreadableFileError
            If the file is damaged, or no log of decisions; its child NothingDecidedError with ``read_only`` if there is none.
        OutputError
            If the file cannot be made or written.
        MemberUnavailableError
            If PostgreSQL's driver is not installed.
        """
        return cls(Database.open(where, read_only=read_only), run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def append(self, drafts: Sequence[Draft]) -> tuple[Event, ...]:
        """Add events in one transaction and return them; on return they are on the disk.

        A draft whose key is in the log already is returned as it stands there: a retry after a lost answer never
        doubles.

        Raises
        ------
        InputError
            If an undo names no event of its reviewer, or a key is another reviewer's.
        OutputError
            If the database cannot be written.
        In both cases none was added.
        """
        if not drafts:
            return ()
        with self.database.writing(f"log {self.run}") as connection:
            known = {event.key: event for event in self._where(connection, "key", [draft.key for draft in drafts])}
            number = connection.scalar(sa.select(sa.func.max(events.c.number)).where(events.c.run == self.run)) or 0
            new = []
            for draft in drafts:
                if draft.key not in known:
                    number += 1
                    known[draft.key] = _event(draft, number)
                    new.append(known[draft.key])
                elif known[draft.key].reviewer != draft.reviewer:
                    message = f"the key {draft.key!r} of {draft.reviewer!r} is in the log of another reviewer. Take a new key."
                    raise InputError(message)
            self._check_undos(connection, [event for event in new if event.action is Action.UNDO])
            if new:
                connection.execute(sa.insert(events), [{"run": self.run, **_row(event)} for event in new])
        return tuple(known[draft.key] for draft in drafts)

    def _check_undos(self, connection: sa.Connection, undos: Sequence[Event]) -> None:
        wanted = {event.undoes for event in undos}
        whose = {
            event.number: event.reviewer for event in self._where(connection, "number", sorted(filter(None, wanted)))
        }
        for event in undos:
            if whose.get(event.undoes or 0) != event.reviewer:
                message = (
                    f"{event.reviewer!r} cannot undo event {event.undoes}: expected one of their own in the log, got"
                    f" {'one of another reviewer' if event.undoes in whose else 'none with this number'}."
                )
                raise InputError(message)

    def _where(self, connection: sa.Connection, column: str, values: Sequence[Any]) -> Iterator[Event]:
        # SQLite takes a limited number of parameters at once.
        for start in range(0, len(values), 500):
            some = values[start : start + 500]
            found = sa.select(events).where(events.c.run == self.run, events.c[column].in_(some))
            yield from map(self._read, connection.execute(found))

    def events(self, *, after: int = 0) -> tuple[Event, ...]:
        """Return the events with numbers above ``after``, in their order.

        Raises
        ------
        UnreadableFileError
            If the log cannot be read, or an event of it means nothing to this version.
        """
        wanted = sa.select(events).where(events.c.run == self.run, events.c.number > after)
        with self.database.reading() as connection:
            return tuple(map(self._read, connection.execute(wanted.order_by(events.c.number))))

    def logs(self) -> dict[str, int]:
        """Return how many events the database holds under each run's name, in the order of the names."""
        wanted = sa.select(events.c.run, sa.func.count()).group_by(events.c.run).order_by(events.c.run)
        with self.database.reading() as connection:
            return {str(run): int(n) for run, n in connection.execute(wanted)}

    def _read(self, row: sa.Row[Any]) -> Event:
        found = dict(row._mapping)
        del found["run"]
        try:
            for name in ("before", "after"):
                term, status = found.pop(f"{name}_term"), found.pop(f"{name}_status")
                found[name] = None if status is None else Outcome(term, status)
            return Event(**{**found, "action": Action(found["action"])})
        except ValueError as error:
            said = str(error).rstrip(".")
            message = (
                f"event {row.number} in {self.database.name}, written by celljury {row.version}, cannot be read: {said}. It is"
                " a newer version's, or was changed by hand. Update: pip install --upgrade celljury; or put a copy of the log"
                " in its place."
            )
            raise UnreadableFileError(message) from error

    def close(self) -> None:
        """Let go of the database's connections."""
        self.database.close()


def _event(draft: Draft, number: int) -> Event:
    return Event(
        number=number,
        key=draft.key,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reviewer=draft.reviewer,
        item_id=draft.item_id,
        action=draft.action,
        before=draft.before,
        after=draft.after,
        note=draft.note,
        evidence=draft.evidence,
        version=__version__,
        undoes=draft.undoes,
        group=draft.group,
        by=draft.by,
    )


def _row(event: Event) -> dict[str, Any]:
    row = event.to_json()
    for name in ("before", "after"):
        outcome = row.pop(name)
        row[f"{name}_term"] = outcome and outcome["term"]
        row[f"{name}_status"] = outcome and outcome["status"]
    return row
