"""Who is at the screen: sessions that a browser holds by a secret cookie, and what a cookie's forms must carry."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST: Final = 12 * 3600.0
IDLEST: Final = 2 * 3600.0
"""Seconds after which a session ends: since it began, and since it was last used."""

N_SESSIONS: Final = 1000
"""The token opens a session each time it is used; the oldest go first."""


class Sessions(Protocol):
    """What the guard asks of those who keep sessions."""

    def begin(self, reviewer: str) -> str:
        """Begin a session; return its id, the value of the cookie."""
        ...

    def reviewer_of(self, session_id: str) -> str | None:
        """Return whose session this is, and note that it was used; None = no such session, or it is over."""
        ...

    def end(self, session_id: str) -> None:
        """End a session."""
        ...


@dataclass(frozen=True, slots=True)
class _Session:
    reviewer: str
    began: float
    used: float


class SessionsInMemory:
    """Sessions of one process: they end with it. Ids are kept as hashes.

    Parameters
    ----------
    clock
        Seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def begin(self, reviewer: str) -> str:
        """Begin a session; return its id, 256 random bits."""
        session_id, now = new_secret(), self._clock()
        with self._lock:
            while len(self._sessions) >= N_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[hashed(session_id)] = _Session(reviewer, now, now)
        return session_id

    def reviewer_of(self, session_id: str) -> str | None:
        """Return whose session this is, and note that it was used; None = no such session, or it is over."""
        key, now = hashed(session_id), self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.began > LONGEST or now - session.used > IDLEST:
                del self._sessions[key]
                return None
            self._sessions[key] = replace(session, used=now)
            return session.reviewer

    def end(self, session_id: str) -> None:
        """End a session; one that is over already stays over."""
        with self._lock:
            self._sessions.pop(hashed(session_id), None)


def new_secret() -> str:
    """Return 256 random bits as text that a URL and a cookie can hold."""
    return secrets.token_urlsafe(32)


def form_token(session_id: str) -> str:
    """Return what every form of a session must carry: it follows from the cookie, which other sites cannot read."""
    return hmac.new(session_id.encode(), b"celljury review form", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Return whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


def hashed(session_id: str) -> str:
    """Return what is kept of a session's id."""
    # A look-up by hash: the time it takes says nothing about the id.
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()
