"""Sessions of named users, kept in the review's database: they outlive the server and end for all servers at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from celljury.review.schema import sessions
from celljury.review.sessions import IDLEST, LONGEST, hashed, new_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from celljury.review.database import Database

# The time of use is written once in so many seconds: requests come faster than that.
_USED_EVERY: Final = 60.0


@dataclass(frozen=True, slots=True)
class AccountSessions:
    """Sessions of a database; ids are kept as hashes. They end 12 hours after they began or 2 after their last use.

    Attributes
    ----------
    clock
        Seconds since 1970.
    """

    database: Database
    clock: Callable[[], float] = field(default=time.time)

    def begin(self, reviewer: str) -> str:
        """Begin a session; return its id, 256 random bits. Those that are over are taken out."""
        session_id, now = new_secret(), self.clock()
        with self.database.writing("sessions") as connection:
            over = (sessions.c.began < now - LONGEST) | (sessions.c.used < now - IDLEST)
            connection.execute(sa.delete(sessions).where(over))
            row = {"session": hashed(session_id), "reviewer": reviewer, "began": now, "used": now}
            connection.execute(sa.insert(sessions).values(row))
        return session_id

    def reviewer_of(self, session_id: str) -> str | None:
        """Return whose session this is, and note that it was used; None = no such session, or it is over."""
        key, now = hashed(session_id), self.clock()
        with self.database.reading() as connection:
            found = connection.execute(sa.select(sessions).where(sessions.c.session == key)).first()
        if found is None or now - found.began > LONGEST or now - found.used > IDLEST:
            return None
        if now - found.used > _USED_EVERY:
            with self.database.writing("sessions") as connection:
                connection.execute(sa.update(sessions).where(sessions.c.session == key).values(used=now))
        return str(found.reviewer)

    def end(self, session_id: str) -> None:
        """End a session; one that is over already stays over."""
        with self.database.writing("sessions") as connection:
            connection.execute(sa.delete(sessions).where(sessions.c.session == hashed(session_id)))

    def end_all(self, reviewer: str) -> None:
        """End all sessions of a reviewer."""
        with self.database.writing("sessions") as connection:
            end_sessions(connection, reviewer)


def end_sessions(connection: sa.Connection, reviewer: str) -> None:
    """End all sessions of a reviewer in an open transaction."""
    connection.execute(sa.delete(sessions).where(sessions.c.reviewer == reviewer))
