"""Named users of a review that others reach over the network: passwords kept as scrypt hashes, guesses limited."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import threading
import time
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from celljury.errors import InputError
from celljury.review.account_sessions import end_sessions
from celljury.review.drafts import check_name, is_name
from celljury.review.schema import attempts, users

if TYPE_CHECKING:
    from collections.abc import Callable

    from celljury.review.database import Database

# 16 MB and some 50 ms a guess (Percival and Josefsson 2016, RFC 7914; doi:10.17487/RFC7914, section 2).
N, R, P = 2**14, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32

SHORTEST, LONGEST = 8, 1_024
"""Characters of a password; a longer one would be work for nothing."""

N_GUESSES: Final = 5
GUESSING: Final = 300.0
"""Wrong passwords for one name within so many seconds after which the next must wait."""

# Hashes worked out at once: many log-ins must not take all memory and cores.
_TURNS = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class LogIn:
    """What came of a log-in.

    Attributes
    ----------
    right
        The name is known and the password is its.
    wait
        Seconds until the next guess is looked at; 0 = none. While it is above 0 no password is right.
    """

    right: bool
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users that a database knows.

    Attributes
    ----------
    clock
        Seconds since 1970.
    """

    database: Database
    clock: Callable[[], float] = field(default=time.time)

    def names(self) -> tuple[str, ...]:
        """Return all users, in the order of their names."""
        with self.database.reading() as connection:
            return tuple(connection.scalars(sa.select(users.c.name).order_by(users.c.name)))

    def add_user(self, name: str, password: str) -> None:
        """Add a user.

        Raises
        ------
        InputError
            If there is one of this name (upper and lower case taken as equal), or name or password cannot be one.
        """
        name, hashed = check_name(_typed(name)), _hashed(_checked(password))
        with self.database.writing("accounts") as connection:
            same = [n for n in connection.scalars(sa.select(users.c.name)) if n.casefold() == name.casefold()]
            if same:
                message = f"there is a user {same[0]!r} in {self.database.name} already. Take another name."
                raise InputError(message)
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.clock()))
            connection.execute(sa.insert(users).values(name=name, password=hashed, at=at))

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password and end their sessions; raises InputError where there is no such user."""
        name, hashed = _typed(name), _hashed(_checked(password))
        with self.database.writing("accounts") as connection:
            self._changed(
                name, connection.execute(sa.update(users).where(users.c.name == name).values(password=hashed))
            )
            end_sessions(connection, name)

    def remove_user(self, name: str) -> None:
        """Remove a user and end their sessions; their decisions stay. Raises InputError where there is no such user."""
        name = _typed(name)
        with self.database.writing("accounts") as connection:
            self._changed(name, connection.execute(sa.delete(users).where(users.c.name == name)))
            end_sessions(connection, name)

    def _changed(self, name: str, result: sa.CursorResult[tuple[()]]) -> None:
        if result.rowcount == 0:
            message = (
                f"there is no user {name!r} in {self.database.name}. Known: {', '.join(self.names()) or 'nobody'}."
            )
            raise InputError(message)

    def log_in(self, name: str, password: str) -> LogIn:
        """Return whether this is the user's password.

        It takes the same time for a user that does not exist. After N_GUESSES wrong ones within GUESSING seconds for
        one name, known or not, the next must wait. A guess is counted before it is looked at, so that many at once are
        no way around.
        """
        name, attempt = _typed(name), secrets.token_hex(16)
        wait = self._count(name, attempt)
        if wait > 0:
            return LogIn(right=False, wait=wait)
        with self.database.reading() as connection:
            known = name if is_name(name) else ""
            stored = connection.scalar(sa.select(users.c.password).where(users.c.name == known))
        # Both are always worked out and compared.
        matches = _matches(password[:LONGEST], stored or _NOBODY)
        if not matches or stored is None or len(password) > LONGEST:
            return LogIn(right=False)
        with self.database.writing("attempts") as connection:
            connection.execute(sa.delete(attempts).where(attempts.c.name == _anonymous(name)))
        return LogIn(right=True)

    def _count(self, name: str, attempt: str) -> float:
        """Note a guess; return how long it must wait, 0 = it may be looked at."""
        now = self.clock()
        of_name = sa.select(attempts.c.at).where(attempts.c.name == _anonymous(name)).order_by(attempts.c.at.desc())
        with self.database.writing("attempts") as connection:
            connection.execute(sa.delete(attempts).where(attempts.c.at <= now - GUESSING))
            guesses = connection.scalars(of_name.limit(N_GUESSES)).all()
            if len(guesses) == N_GUESSES:
                return max(guesses[-1] + GUESSING - now, math.ulp(1.0))
            connection.execute(sa.insert(attempts).values(attempt=attempt, name=_anonymous(name), at=now))
            return 0.0


def _checked(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        message = f"a password must have {SHORTEST}-{LONGEST:,} characters, got {len(password):,}. Take another one."
        raise InputError(message)
    return password


def _typed(text: str) -> str:
    # Keyboards write the same letter in more than one way.
    return unicodedata.normalize("NFC", text)


def _anonymous(name: str) -> str:
    # People type their password where the name belongs: what is typed there is not kept.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _hashed(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${N}${R}${P}${salt.hex()}${_scrypt(password, salt, N, R, P).hex()}"


def _matches(password: str, stored: str) -> bool:
    _, n, r, p, salt, expected = stored.split("$")
    found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, bytes.fromhex(expected))


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    typed = _typed(password).encode("utf-8", "surrogatepass")
    with _TURNS:
        return hashlib.scrypt(typed, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r * p, dklen=_HASH_BYTES)


# What the password of a user that does not exist is compared with.
_NOBODY = f"scrypt${N}${R}${P}${secrets.token_hex(_SALT_BYTES)}${secrets.token_hex(_HASH_BYTES)}"
