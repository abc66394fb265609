"""Anatomical structures: what is a kind or part of what, and which places have nothing in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOOD: Final = "UBERON:0000178"
"""Blood is in every tissue, and with it whatever is stated to be part of it."""


def parts_by_place(within: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return place -> all that is a kind or part of it, itself included, from place -> what it is a kind or part of."""
    below: dict[str, set[str]] = {}
    for place in {*within, *(whole for row in within.values() for whole in row)}:
        seen: set[str] = set()
        todo = [place]
        while todo:
            whole = todo.pop()
            if whole not in seen:
                seen.add(whole)
                todo += within.get(whole, ())
        for whole in seen:
            below.setdefault(whole, set()).add(place)
    return {whole: frozenset(parts) for whole, parts in below.items()}


def apart(parts: Mapping[str, frozenset[str]], place: str, tissue: str) -> bool:
    """Return whether nothing known is in both places.

    Epithelium and lung are not apart, since bronchial epithelium is in both. A place or tissue that ``parts`` does not
    have is apart from nothing, and so is a place in blood.
    """
    if place not in parts or tissue not in parts or place in parts.get(BLOOD, {BLOOD}):
        return False
    return not parts[place] & parts[tissue]
