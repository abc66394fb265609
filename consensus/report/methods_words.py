"""Words of a methods text: numbers, plurals, lists, and texts from files that hold no marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def given(text: Any) -> str:
    """Return a text that comes from a user or a file, so that nothing in it is taken for a mark."""
    return str(text).translate({ord("@"): "\ufe6b", ord("["): "(", ord("]"): ")"})


def cells(n: int) -> str:
    """Return a number of cells."""
    return f"{n:,} {plural('cell', n)}"


def plural(word: str, n: int) -> str:
    """Return a word for n of its kind."""
    return word if n == 1 else f"{word}es" if word.endswith("ch") else f"{word}s"


def number(n: int) -> str:
    """Return a number as journals write it: a word up to twelve."""
    words = "no one two three four five six seven eight nine ten eleven twelve".split()
    return words[n] if 0 <= n < len(words) else f"{n:,}"


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:g} %"


def listed(parts: Sequence[str], *, between: str = ", ") -> str:
    """Return parts in a row with "and" before the last."""
    if len(parts) < 2:
        return "".join(parts)
    last = f"{between}and " if between != ", " else " and "
    return f"{between.join(parts[:-1])}{last}{parts[-1]}"


def all_cells(record: Mapping[str, Any]) -> str:
    """Return the number of a run's cells, as far as it is known."""
    n_cells = (record.get("query") or {}).get("n_cells")
    return "the cells" if n_cells is None else cells(n_cells)
