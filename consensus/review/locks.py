"""Who is at work on an item, so that two reviewers do not decide the same one at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from celljury.review.drafts import check_name
from celljury.review.schema import locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from celljury.review.database import Database

SECONDS: Final = 300.0
"""How long a lock lasts from the holder's last request."""

# Requests come by the second: one in this part of the time is written.
_RENEWED_AFTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds an item or part, and until when: UTC, ISO 8601, to the second."""

    item_id: str
    reviewer: str
    until: str


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of one run.

    Attributes
    ----------
    clock
        Seconds since 1970.
    """

    database: Database
    run: str = ""
    clock: Callable[[], float] = field(default=time.time)

    def take(self, item_id: str, reviewer: str, *, seconds: float = SECONDS, force: bool = False) -> Lock:
        """Return the item's lock: the reviewer's own, new or renewed, or that of who holds it.

        Of several that ask at once one gets it. A lock that is over is anybody's; ``force`` takes any.
        """
        check_name(reviewer)
        now = self.clock()
        # Most requests find what they need without a write.
        with self.database.reading() as connection:
            held = self._found(connection, item_id, now)
        if held is not None and held.reviewer == reviewer and held.until - now > (1 - _RENEWED_AFTER) * seconds:
            return _lock(held)
        if held is not None and held.reviewer != reviewer and not force:
            return _lock(held)
        with self.database.writing(f"locks {self.run}") as connection:
            held = self._found(connection, item_id, now)
            if held is not None and held.reviewer != reviewer and not force:
                return _lock(held)
            connection.execute(sa.delete(locks).where(locks.c.run == self.run, locks.c.item_id == item_id))
            row = {"run": self.run, "item_id": item_id, "reviewer": reviewer, "until": now + seconds}
            connection.execute(sa.insert(locks).values(row))
        return Lock(item_id, reviewer, _iso(now + seconds))

    def release(self, item_id: str, reviewer: str) -> None:
        """Let go of an item if the reviewer holds it."""
        whose = (locks.c.run == self.run, locks.c.item_id == item_id, locks.c.reviewer == reviewer)
        with self.database.writing(f"locks {self.run}") as connection:
            connection.execute(sa.delete(locks).where(*whose))

    def held(self) -> tuple[Lock, ...]:
        """Return the locks that last, in the order of the items."""
        wanted = sa.select(locks).where(locks.c.run == self.run, locks.c.until > self.clock())
        with self.database.reading() as connection:
            return tuple(map(_lock, connection.execute(wanted.order_by(locks.c.item_id))))

    def _found(self, connection: sa.Connection, item_id: str, now: float) -> sa.Row[Any] | None:
        at = (locks.c.run == self.run, locks.c.item_id == item_id, locks.c.until > now)
        return connection.execute(sa.select(locks).where(*at)).first()


def _lock(row: sa.Row[Any]) -> Lock:
    return Lock(row.item_id, row.reviewer, _iso(row.until))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
