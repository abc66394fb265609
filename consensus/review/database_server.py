"""Decisions in PostgreSQL, for teams: its URL, its engine, and messages that never show a password."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from celljury.errors import InputError, MemberUnavailableError
from celljury.review.database_file import WAIT

_SERVERS: Final = ("postgres", "postgresql", "postgresql+psycopg")

_UNREADABLE: Final = (
    "the database URL cannot be read. Expected postgresql://USER:PASSWORD@HOST:PORT/NAME, with @ / : ? and % in a user's"
    " name or password written as %40 %2F %3A %3F and %25."
)


def parsed(text: str) -> sa.URL:
    """Return a URL of SQLite, or of PostgreSQL with the driver; raises InputError for any other."""
    # What was parsed wrongly may be a part of the password: nothing of the text is repeated.
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError(_UNREADABLE) from None
    if url.drivername == "sqlite" and url.database:
        return url
    if text.count("@") > (url.username is not None):
        # An @ that does not end user and password: a part of them would be taken for the host, the name, or the query.
        raise InputError(_UNREADABLE)
    if url.drivername not in _SERVERS:
        message = (
            f"a database of kind {url.drivername!r} cannot hold decisions. Expected postgresql://USER@HOST/NAME, or the"
            " path of an SQLite file."
        )
        raise InputError(message)
    return url.set(drivername="postgresql+psycopg")


def server_engine(url: sa.URL, *, read_only: bool) -> tuple[sa.Engine, str]:
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
            f"{name} does not answer: {first_line(error, url.password)}. Check that the server runs, the name, and the"
            " user's password."
        )
        raise InputError(message) from None
    return engine, name


def first_line(error: SQLAlchemyError, password: Any) -> str:
    """Return the first line of what a database said, without the password."""
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    said = said.splitlines()[0].rstrip(".")
    return said.replace(str(password), "***") if password else said
