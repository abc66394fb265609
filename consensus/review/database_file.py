"""Decisions in an SQLite file: made once, safe against a machine that stops, shared by several processes."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from celljury.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

WAIT: Final = 30.0
"""Seconds that a writer waits for its turn."""


def prepare(path: Path) -> None:
    """Make the folder and the file, and let readers read while one writes (WAL), which the file remembers.

    A new file is its owner's alone, since it may hold hashes of passwords; SQLite's side files take its mode.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
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


def file_engine(path: Path, *, read_only: bool) -> sa.Engine:
    """Return an engine on a file; one that only reads makes no file that stays."""

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
