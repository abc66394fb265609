"""Small pieces of a page: elements whose text is escaped, tables that explain their columns, bars with their numbers.

Labels, gene names and file names come from other people's files. `el` escapes every child that is not `Html`, so text
can only become markup where a function of this module made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_VOID = frozenset({"meta", "rect", "circle", "line", "img"})
NOTHING = "-"
# Characters that a chart has room for; the whole name stands in the table below it.
LONGEST_NAME = 24


class Html(str):
    """Text that is markup already; template engines are told so by `__html__`."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def el(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Return an element; children and values are escaped unless they are `Html`, None is left out.

    ``class_`` is the class, and an underscore inside a name a hyphen: ``stroke_width=2``.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{said}/>" if name in _VOID else f"<{name}{said}>{joined(children)}</{name}>")


def joined(parts: Iterable[Any], between: Any = "") -> Html:
    """Return parts one after the other; None is left out."""
    return Html(_text(between).join(_text(part) for part in parts if part is not None))


def _text(part: Any) -> str:
    return part if isinstance(part, Html) else escape(str(part))


# Numbers: what is read, and the value that stands in card.json -------------------------------------------------------


def figure(value: float | None, said: str) -> Html:
    """Return a number as it is read, with the value itself beside it for programs."""
    return Html(NOTHING) if value is None else el("data", said, value=repr(value))


def decimal(value: float | None, digits: int = 3) -> Html:
    """Return a number with so many digits after the point."""
    return figure(value, "" if value is None else f"{value:.{digits}f}")


def share(value: float | None) -> Html:
    """Return a share, 0 to 1, as per cent."""
    return figure(value, "" if value is None else f"{100 * value:.1f} %")


def count(value: int | None) -> Html:
    """Return a whole number."""
    return figure(value, "" if value is None else f"{value:,}")


# Blocks ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, what its numbers mean in a line (empty = the head says it), and whether they are numbers."""

    head: str
    meaning: str = ""
    number: bool = True


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Any]], *, last: str | None = None) -> Html:
    """Return a table whose caption says what each column means; the first cell of a row names it.

    Parameters
    ----------
    last
        Class of the last row, such as a total; None = a row like the others.
    """
    meanings = [column for column in columns if column.meaning]
    known = joined((joined((el("b", c.head), f": {c.meaning}")) for c in meanings), "; ")
    head = el("tr", *(el("th", c.head, scope="col", class_="n" if c.number else None) for c in columns))
    body = [
        el(
            "tr",
            el("th", row[0], scope="row"),
            *(_cell(cell, column) for cell, column in zip(row[1:], columns[1:], strict=True)),
            class_=last if at == len(rows) - 1 else None,
        )
        for at, row in enumerate(rows)
    ]
    made = el(
        "table",
        el("caption", caption, *((el("span", known, "."),) if meanings else ())),
        el("thead", head),
        el("tbody", *body),
    )
    # A table that is wider than the screen scrolls alone, also by keys.
    return el("div", made, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(cell: Any, column: Column) -> Html:
    if isinstance(cell, Html) and cell.startswith("<td"):
        return cell
    return el("td", NOTHING if cell is None else cell, class_="n" if column.number else None)


def shaded(value: float | None, *more: Any) -> Html:
    """Return a cell of a table with a share and, behind it, a bar of that length."""
    if value is None:
        return el("td", NOTHING, class_="n")
    return el("td", share(value), *more, class_="n bar", style=f"--share:{100 * value:.1f}%")


def section(title: str, *children: Any, name: str, kind: str = "") -> Html:
    """Return a titled block of the page."""
    return el("section", el("h2", title, id=name), *children, class_=f"card {kind}".strip(), aria_labelledby=name)


def stats(rows: Sequence[tuple[Any, str]]) -> Html:
    """Return few numbers that are read at a glance, each with its meaning."""
    return el("dl", *(el("div", el("dd", value), el("dt", meaning)) for value, meaning in rows), class_="stats")


def facts(rows: Sequence[tuple[str, Any]]) -> Html:
    """Return names and values, a line each."""
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in rows), class_="facts")


def folded(title: str, *children: Any) -> Html:
    """Return a block that opens when it is asked for."""
    return el("details", el("summary", title), *children)


def bulleted(items: Iterable[Any]) -> Html:
    """Return a list."""
    return el("ul", *(el("li", item) for item in items))


def flag(sign: str, words: str) -> Html:
    """Return a sign with its meaning in words: colour never speaks alone."""
    return el("span", el("span", sign, aria_hidden="true"), f" {words}", class_="flag")


# Charts ---------------------------------------------------------------------------------------------------------------

_ROW, _WIDTH, _RIGHT = 26, 560, 118


def _chart(title: str, names: Sequence[str], draw: Callable[[int, float, float], list[Html]]) -> Html:
    """Return a chart of one row a name; ``draw`` gets the row, where it begins and how wide it may be."""
    left = 14 + 7 * min(max(len(name) for name in names), LONGEST_NAME)
    drawn = []
    for i, name in enumerate(names):
        short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        drawn += [el("text", short, x=0, y=_ROW * i + 17), *draw(_ROW * i, left, _WIDTH - left - _RIGHT)]
    return el("svg", el("title", title), *drawn, viewBox=f"0 0 {_WIDTH} {_ROW * len(names)}", role="img")


def bars(title: str, rows: Sequence[tuple[str, float | None, str]]) -> Html:
    """Return horizontal bars from 0 to 1: name, value and class of each."""

    def draw(top: int, left: float, width: float) -> list[Html]:
        _, value, kind = rows[top // _ROW]
        if value is None:
            return [el("text", "no votes", x=left, y=top + 17, class_="quiet")]
        return [
            el("rect", x=left, y=top + 5, width=width, height=16, rx=3, class_="room"),
            el("rect", x=left, y=top + 5, width=f"{max(width * value, 1):.1f}", height=16, rx=3, class_=kind),
            el("text", f"{100 * value:.1f} %", x=left + width + 10, y=top + 17, class_="value"),
        ]

    return _chart(title, [name for name, _, _ in rows], draw)


def changes(title: str, rows: Sequence[tuple[str, float | None, float | None, str]]) -> Html:
    """Return where each value was (hollow) and is (filled), 0 at the left: name, before, after and class of each."""
    most = (
        max((value for _, before, after, _ in rows for value in (before, after) if value is not None), default=0) or 1
    )

    def draw(top: int, left: float, width: float) -> list[Html]:
        _, before, after, kind = rows[top // _ROW]
        if after is None:
            return [el("text", "no votes", x=left, y=top + 17, class_="quiet")]
        room = width - 12
        at = {k: left + 6 + room * v / most for k, v in (("before", before), ("after", after)) if v is not None}
        drawn = [el("line", x1=left, x2=left + width, y1=top + 13, y2=top + 13, class_="room")]
        said = f"{after:.3f}"
        if before is not None:
            low, high = sorted(at.values())
            drawn += [
                el("line", x1=f"{low:.1f}", x2=f"{high:.1f}", y1=top + 13, y2=top + 13, class_=kind),
                el("circle", cx=f"{at['before']:.1f}", cy=top + 13, r=5, class_=f"hollow {kind}"),
            ]
            said = f"{before:.3f} → {after:.3f}"
        drawn.append(el("circle", cx=f"{at['after']:.1f}", cy=top + 13, r=5, class_=kind))
        return [*drawn, el("text", said, x=left + width + 10, y=top + 17, class_="value")]

    return _chart(title, [name for name, _, _, _ in rows], draw)
