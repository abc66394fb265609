"""What a reviewer asks to be put into the log, checked before any database sees it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celljury.errors import InputError
from celljury.review.events import DECIDING, Action

if TYPE_CHECKING:
    from celljury.review.events import Outcome

MAX_NOTE: Final = 4_000
"""Characters of a note."""

MAX_NAME: Final = 64
"""Characters of a reviewer's or user's name."""

_MAX_ID: Final = 512
_MAX_KEY: Final = 128


def new_key() -> str:
    """Return a key for a draft that nobody else has."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a number, a time and a version; fields as in `Event`.

    Raises
    ------
    InputError
        If a text is too long or holds what no database keeps, a deciding action says nothing or another one says
        something, a split does not say by what, or an undo does not say of what.
    """

    key: str
    reviewer: str
    item_id: str
    action: Action
    evidence: str
    before: Outcome | None = None
    after: Outcome | None = None
    note: str = ""
    undoes: int | None = None
    group: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        check_name(self.reviewer)
        _check_text("key", self.key, least=1, most=_MAX_KEY)
        _check_text("item_id", self.item_id, least=1, most=_MAX_ID)
        _check_text("evidence", self.evidence, most=_MAX_KEY)
        _check_text("note", self.note, most=MAX_NOTE)
        _check_text("group", self.group, most=_MAX_KEY)
        _check_text("by", self.by, most=_MAX_KEY)
        for outcome in (self.before, self.after):
            if outcome is not None:
                _check_text("term", outcome.term, most=_MAX_KEY)
        for name, given, wanted in (
            ("after", self.after is not None, self.action in DECIDING),
            ("by", self.by != "", self.action is Action.SPLIT),
            ("undoes", self.undoes is not None, self.action is Action.UNDO),
        ):
            if given != wanted:
                message = (
                    f"{self.action} of item {self.item_id} must be given {name!r}."
                    if wanted
                    else f"{self.action} of item {self.item_id} takes no {name!r}, got {getattr(self, name)!r}."
                )
                raise InputError(message)


def is_name(name: str) -> bool:
    """Whether a reviewer or user can have this name."""
    # Names are joined with semicolons in final.parquet.
    return 0 < len(name) <= MAX_NAME and name == name.strip() and name.isprintable() and ";" not in name


def check_name(name: str) -> str:
    """Return the name of a reviewer or user if it can be one; raises InputError if not."""
    if not is_name(name):
        shown = repr(name) if len(name) <= MAX_NAME else f"{name[:20]!r}... ({len(name):,} characters)"
        message = (
            f"{shown} cannot be a reviewer's name: expected 1-{MAX_NAME} printable characters without semicolons, no"
            " space at either end."
        )
        raise InputError(message)
    return name


def _check_text(name: str, text: str, *, least: int = 0, most: int) -> None:
    if not least <= len(text) <= most:
        message = f"{name} must have {least:,}-{most:,} characters, got {len(text):,}. Shorten it; nothing was written."
        raise InputError(message)
    # PostgreSQL keeps no NUL, and nothing keeps half a surrogate pair.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        message = (
            f"{name} holds a character that is no text (NUL or half a surrogate pair): {text[:40]!r}. Take it out."
        )
        raise InputError(message)
