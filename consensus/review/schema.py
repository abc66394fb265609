"""Tables of the review, and the triggers that keep the log of decisions append-only."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

FORMAT: Final = 1
"""Raised when a table changes its meaning; a database of a higher one is refused."""

metadata = sa.MetaData()

# Named with a prefix: a team's database may hold other things.
formats = sa.Table("celljury_format", metadata, sa.Column("format", sa.Integer, nullable=False))

events = sa.Table(
    "celljury_events",
    metadata,
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("before_term", sa.Text),
    sa.Column("before_status", sa.Text),
    sa.Column("after_term", sa.Text),
    sa.Column("after_status", sa.Text),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("undoes", sa.Integer),
    sa.Column("group", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("run", "number"),
    sa.UniqueConstraint("run", "key"),
)

users = sa.Table(
    "celljury_users",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

# Times of what ends by itself are seconds since 1970.
sessions = sa.Table(
    "celljury_sessions",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("began", sa.Double, nullable=False),
    sa.Column("used", sa.Double, nullable=False),
)

attempts = sa.Table(
    "celljury_attempts",
    metadata,
    sa.Column("attempt", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, index=True),
    sa.Column("at", sa.Double, nullable=False),
)

locks = sa.Table(
    "celljury_locks",
    metadata,
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.PrimaryKeyConstraint("run", "item_id"),
)

_SAID: Final = "the log of decisions is append-only"

# An INSERT OR REPLACE deletes rows without firing triggers on deletes: numbers must go up by one, keys must be new.
_SQLITE: Final = (
    *(
        f"CREATE TRIGGER celljury_events_no_{verb} BEFORE {verb} ON celljury_events"
        f" BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
        for verb in ("update", "delete")
    ),
    "CREATE TRIGGER celljury_events_next BEFORE INSERT ON celljury_events"
    " WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM celljury_events WHERE run = NEW.run)"
    " OR EXISTS (SELECT 1 FROM celljury_events WHERE run = NEW.run AND key = NEW.key)"
    f" BEGIN SELECT RAISE(ABORT, '{_SAID}'); END",
)

_POSTGRESQL: Final = (
    "CREATE OR REPLACE FUNCTION celljury_append_only() RETURNS trigger LANGUAGE plpgsql AS"
    f" $$ BEGIN RAISE EXCEPTION '{_SAID}'; END $$",
    "CREATE TRIGGER celljury_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON celljury_events"
    " FOR EACH STATEMENT EXECUTE FUNCTION celljury_append_only()",
)


def create(connection: sa.Connection) -> None:
    """Create the tables and triggers in an open transaction."""
    metadata.create_all(connection)
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL:
        connection.exec_driver_sql(statement)
    connection.execute(sa.insert(formats).values(format=FORMAT))
