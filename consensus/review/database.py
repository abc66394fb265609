"""The database that the review writes to: an SQLite file, or PostgreSQL for teams; what goes wrong is said in one error."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError

from celljury.errors import InputError, OutputError, UnreadableFileError
from celljury.review.database_file import file_engine, prepare
from celljury.review.database_server import first_line, parsed, server_engine
from celljury.review.schema import FORMAT, create, formats

if TYPE_CHECKING:
    from collections.abc import Iterator


class NothingDecidedError(UnreadableFileError):
    """There is no log of decisions to read: nobody has begun."""

    @classmethod
    def for_place(cls, name: str) -> Self:
        """Build the error for a file or a database."""
        return cls(f"{name} holds no log: nothing was decided yet. Start with: celljury review RUN.")


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
            url = parsed(where)
            if url.drivername != "sqlite":
                return cls(*server_engine(url, read_only=read_only))._ready(read_only=read_only)
            where = Path(url.database or "")
        path = Path(where)
        if not read_only:
            prepare(path)
        elif not path.is_file():
            raise NothingDecidedError.for_place(str(path))
        return cls(file_engine(path, read_only=read_only), str(path))._ready(read_only=read_only)

    def _ready(self, *, read_only: bool) -> Self:
        try:
            with self.reading() as connection:
                made = self._check(connection)
            if not made and read_only:
                raise NothingDecidedError.for_place(self.name)
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
            f"{self.name} is no SQLite database or a damaged one ({said}). Put a copy in its place, or move it away to"
            " begin anew."
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
        said = first_line(error, self.engine.url.password)
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
