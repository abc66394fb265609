"""How a table of LaTeX is set: size, upright or turned, which columns wrap, and which share a panel.

Widths are estimated in characters: an average one is half an em wide in Computer Modern, so a line of 16.5 cm has about
105 of them at 9 pt. An estimate only decides on sizes; LaTeX sets the columns.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celljury.report.table_cells import NUMERIC, head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.report.table import TableColumn
    from celljury.report.table_cells import Block

# Size, whether the page is turned, and the characters of a line: upright first.
_SIZES = (("small", False, 98), ("footnotesize", False, 110), ("scriptsize", False, 122),
          ("footnotesize", True, 164), ("scriptsize", True, 190))  # fmt: skip
_GAP, _HEAD, _NARROWEST, _NARROW, _LONGEST_ID, _WIDEST = 2, 9, 16, 22, 24, 46


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is set.

    Attributes
    ----------
    size, turned
        Command of the size, and whether the page is turned.
    cells, widths
        Characters of the widest value of each column, and those that the column gets.
    wraps
        Columns whose texts take several lines.
    panels
        Columns of each panel.
    """

    size: str
    turned: bool
    cells: tuple[int, ...]
    widths: tuple[int, ...]
    wraps: tuple[bool, ...]
    panels: tuple[tuple[int, ...], ...]


def layout_of(columns: Sequence[TableColumn], parts: Sequence[Block]) -> Layout:
    """Return how a table is set: the largest size at which it fits upright, else turned, else in panels."""
    cells = tuple(
        max((len(row[i]) for part in parts for row in (*part.rows, *part.last)), default=1) for i in range(len(columns))
    )
    longest = [
        max(n, max(len(line) for line in head_lines(column, n))) for column, n in zip(columns, cells, strict=True)
    ]
    unbroken = {"text": _NARROWEST, "id": _LONGEST_ID}
    wraps = tuple(n > unbroken.get(column.kind, n) for column, n in zip(columns, longest, strict=True))
    whole = [min(n, _WIDEST) for n in longest]
    for size, turned, line in _SIZES:
        room = line - _GAP * len(columns) - sum(n for n, wrap in zip(whole, wraps, strict=True) if not wrap)
        wanted = sum(n for n, wrap in zip(whole, wraps, strict=True) if wrap)
        least = min(wanted, (_NARROWEST if turned else _NARROW) * sum(wraps))
        if room >= least:
            widths = _shared(whole, wraps, room)
            return Layout(size, turned, cells, widths, wraps, (tuple(range(len(columns))),))
    size, turned, line = _SIZES[-2]
    widths = tuple(min(n, 36) if wrap else n for n, wrap in zip(whole, wraps, strict=True))
    return Layout(size, turned, cells, widths, wraps, _panels(columns, widths, line))


def _shared(whole: Sequence[int], wraps: Sequence[bool], room: int) -> tuple[int, ...]:
    """Share the room out among columns that wrap: none gets more than it needs, the wide ones the same."""
    left, waiting = room, sorted((n for n, wrap in zip(whole, wraps, strict=True) if wrap))
    most = _WIDEST
    for i, n in enumerate(waiting):
        most = left // (len(waiting) - i)
        if n > most:
            break
        left -= n
        most = n
    return tuple(min(n, most) if wrap else n for n, wrap in zip(whole, wraps, strict=True))


def _panels(columns: Sequence[TableColumn], widths: Sequence[int], line: int) -> tuple[tuple[int, ...], ...]:
    """Return the columns of each panel: those that name a row (at most two) in every one, of the others the same number.

    Columns that follow each other in turn, such as count and share of every sample, stay together.
    """
    first_number = next((i for i, column in enumerate(columns) if column.kind in NUMERIC), len(columns))
    names, others = tuple(range(min(first_number, 2))), range(min(first_number, 2), len(columns))
    kinds = [columns[i].kind for i in others]
    turn = next((n for n in range(1, 5) if len(kinds) % n == 0 and kinds == kinds[:n] * (len(kinds) // n)), 1)
    widest = max((widths[i] for i in others), default=1) + _GAP
    room = line - sum(widths[i] + _GAP for i in names)
    most = max(room // (turn * widest), 1) * turn
    n_panels = -(-len(others) // most)
    each = -(-len(others) // (n_panels * turn)) * turn
    return tuple((*names, *others[start : start + each]) for start in range(0, len(others), each))


def head_lines(column: TableColumn, width: int) -> list[str]:
    """Return a head in lines, about as wide as what stands below it."""
    most = max(width, _HEAD) if column.kind in NUMERIC else _WIDEST
    return textwrap.wrap(head(column), most, break_long_words=False, break_on_hyphens=False) or [""]
