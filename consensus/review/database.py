"""The database that the review writes to: an SQLite file, or PostgreSQL for teams; what goes wrong is said in one error."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, TimeoutError

from celljury.errors import InputError, MemberUnavailableError, OutputError, UnreadableFileError
from celljury.review.schema import FORMAT, create, formats

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT: Final = 30.0
"""Seconds that a writer waits for its turn."""

_SERVERS: Final = ("postgres", "postgresql", "postgresql+psycopg")


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes
    ----------
    name
        Its path, or its URL without the password, for messages.
    """

    engine: sa.Engine
    name: str

    @classmethod
    def open(cls, where: Path | str, *, read_only: bool = False) -> Self:
        """Open a path or URL, and make what is missing unless it is only to be read; errors as in `Decisions.open`."""
        if isinstance(where, str) and "://" in where:
            url = _parsed(where)
            if url.drivername != "sqlite":
                return cls(*_server(url, read_only=read_only))._ready(read_only=read_only)
            where = Path(url.database or "")
        path = Path(where)
        if not read_only:
            _prepare(path)
        elif not path.is_file():
            message = f"{path} does not exist: nothing was decided yet. Start with: celljury review RUN."
            raise UnreadableFileError(message)
        return cls(_file(path, read_only=read_only), str(path))._ready(read_only=read_only)

    def _ready(self, *, read_only: bool) -> Self:
        try:
            with self.reading() as connection:
                made = self._check(connection)
            if not made and read_only:
                message = f"{self.name} holds no decisions. Start with: celljury review RUN."
                raise UnreadableFileError(message)
            if not made:
                # One of several that open it first makes the tables; the others find them.
                with self.writing("celljury tables") as connection:
                    if not self._check(connection):
                        create(connection)
        except BaseException:
            self.engine.dispose()
            raise
        return self

    def _check(self, connection: sa.Connection) -> bool:
        """Return whether the tables are there; raise if they are another program's or a newer version's."""
        tables = sa.inspect(connection).get_table_names()
        if formats.name not in tables:
            if tables and connection.dialect.name == "sqlite":
                message = (
                    f"{self.name} is a database of something else (tables {', '.join(tables[:5])}), expected a log of"
                    " decisions. Name another file."
                )
                raise UnreadableFileError(message)
            return False
        found = connection.scalar(sa.select(sa.func.max(formats.c.format)))
        if found != FORMAT:
            message = (
                f"{self.name} has format {found}, expected {FORMAT}: it was written by another version of celljury. Open"
                " it with that version, or update: pip install --upgrade celljury."
            )
            raise InputError(message)
        if connection.dialect.name == "sqlite":
            damage = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if damage != "ok":
                self._damaged(str(damage))
        return True

    def _damaged(self, said: str) -> NoReturn:
        message = (
            f"{self.name} is no SQLite database or a damaged one ({said}). Put a copy in its place, or move it away and"
            " load the decisions from RUN/review/events.jsonl."
        )
        raise UnreadableFileError(message)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection that sees one state of the database."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except (DBAPIError, TimeoutError) as error:
            self._fail(error, UnreadableFileError, "cannot be read")

    @contextmanager
    def writing(self, turn: str) -> Iterator[sa.Connection]:
        """Give a connection in one transaction, alone with those of the same ``turn``; it is on the disk at the end."""
        try:
            with self.engine.connect() as plain:
                connection = plain.execution_options(celljury_write=True)
                with connection.begin():
                    if connection.dialect.name == "postgresql":
                        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"celljury {turn}", 0))
                        connection.execute(sa.select(lock))
                    yield connection
        except (DBAPIError, TimeoutError) as error:
            self._fail(error, OutputError, "cannot be written, and nothing was")

    def _fail(self, error: SQLAlchemyError, kind: type[InputError | OSError], what: str) -> NoReturn:
        said = _first_line(error, self.engine.url.password)
        if isinstance(getattr(error, "orig", None), sqlite3.DatabaseError) and (
            "malformed" in said or "not a database" in said
        ):
            self._damaged(said)
        message = (
            f"{self.name} {what}: {said}. Check that it is there, not full, and open to this user; then do it again."
        )
        raise kind(message) from error

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _first_line(error: SQLAlchemyError, password: Any) -> str:
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    said = said.splitlines()[0].rstrip(".")
    return said.replace(str(password), "***") if password else said


# SQLite -----------------------------------------------------------------------------------------------------------


def _prepare(path: Path) -> None:
    """Make the folder and the file, and let readers read while one writes (WAL), which the file remembers."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path)) as connection:
            _remember_wal(connection)
    except (OSError, sqlite3.OperationalError) as error:
        said = "it is a directory" if path.is_dir() else getattr(error, "strerror", None) or str(error)
        message = f"cannot write decisions to {path}: {said}. Make the place writable, or name another."
        raise OutputError(message) from error
    except sqlite3.DatabaseError:
        # No database, or a damaged one: said where it is read.
        return


def _remember_wal(connection: sqlite3.Connection) -> None:
    end = time.monotonic() + WAIT
    while connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait for a lock here; another process makes the same file.
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _connect(path: Path, *, mode: str = "mode=rwc") -> sqlite3.Connection:
    # Without an isolation level the driver begins no transaction of its own; the engine says which kind.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False
    )
    # FULL: what was answered is on the disk, also if the machine stops.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _file(path: Path, *, read_only: bool) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        if not read_only:
            return _connect(path)
        # A connection that may not write leaves SQLite's side files behind; one that may takes them away again.
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            connection = _connect(path, mode="mode=rw")
            connection.execute("PRAGMA query_only = ON")
            return connection
        # Where side files cannot be made, a file at rest is read only if SQLite is told that nobody writes it.
        at_rest = not path.with_name(path.name + "-wal").exists()
        return _connect(path, mode="immutable=1" if at_rest else "mode=ro")

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool, hide_parameters=True)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("celljury_write"):
            _begin_writing(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_writing(connection: sa.Connection) -> None:
    """Begin a transaction that is the only one to write; what it reads before it writes is then still true."""
    driver: Any = connection.connection.driver_connection
    # SQLite waits longer each time that it finds another writer, up to 0.1 s, and so finds busy ones again and again.
    driver.execute("PRAGMA busy_timeout = 0")
    end = time.monotonic() + WAIT
    try:
        while time.monotonic() < end:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(random.uniform(0.0005, 0.005))
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout = {WAIT * 1000:.0f}")
    # Once more, for the error.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


# PostgreSQL -------------------------------------------------------------------------------------------------------


def _parsed(text: str) -> sa.URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # What was parsed wrongly may be a part of the password: nothing of the text is repeated.
        message = (
            "the database URL cannot be read. Expected postgresql://USER:PASSWORD@HOST:PORT/NAME, with @ / : and % in a"
            " password written as %40 %2F %3A and %25."
        )
        raise InputError(message) from None
    if url.drivername == "sqlite" and url.database:
        return url
    if url.drivername not in _SERVERS:
        message = (
            f"a database of kind {url.drivername!r} cannot hold decisions. Expected postgresql://USER@HOST/NAME, or the"
            " path of an SQLite file."
        )
        raise InputError(message)
    return url.set(drivername="postgresql+psycopg")


def _server(url: sa.URL, *, read_only: bool) -> tuple[sa.Engine, str]:
    """Return the engine and the name of a PostgreSQL database; raises InputError where it does not answer."""
    if find_spec("psycopg") is None:
        message = "a postgresql:// database needs psycopg. Install: pip install 'celljury[postgres]'"
        raise MemberUnavailableError(message)
    # Without the password, and without the query, which may hold one too.
    name = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database).render_as_string()
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": 10},
        execution_options={"postgresql_readonly": True} if read_only else {},
    )

    @sa.event.listens_for(engine, "connect")
    def set_wait(connection: Any, _: Any) -> None:
        connection.execute(f"SET lock_timeout = '{WAIT:.0f}s'")
        connection.commit()

    try:
        engine.connect().close()
    except DBAPIError as error:
        message = (
            f"{name} does not answer: {_first_line(error, url.password)}. Check that the server runs, the name, and the"
            " user's password."
        )
        raise InputError(message) from None
    return engine, name
