"""Marker genes of an item beside those of the candidate types: how many cells express them, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, isfinite, radians, sin, sqrt
from typing import TYPE_CHECKING, Literal

from celljury.markup import Html, el
from celljury.review.lettering import FONT, shortened, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Numbers = Sequence[float] | NDArray[np.floating]

INK, MUTED, PAPER = "#1d2733", "#5b6773", "#ffffff"
COLOURS = {"item": "#0b6e99", "reference": "#45525f"}

NAME, GENE, SMALL = 12.0, 10.5, 10.5
LONGEST_NAME, LONGEST_GENE = 150.0, 104.0
ROW, LARGEST, SMALLEST = 26.0, 10.5, 1.2
# Gene names stand at an angle while there is room between them, upright where there is less.
SLANT, UPRIGHT, ROOM_TO_SLANT, LEAST_ROOM = 40.0, 90.0, 18.0, 13.0
PALEST = 0.12
LEGEND_SHARES = (0.1, 0.5, 1.0)
LEGEND_SHADES = 4


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row of dots.

    Attributes
    ----------
    name
        This item, or the term whose reference cells they are.
    share
        Share of the cells that express each gene, 0-1 (n_genes,); NaN = not measured.
    mean
        Mean log1p counts per 10,000 of each gene (n_genes,); NaN = not measured.
    kind
        Whether the cells are the item's or a reference term's.
    """

    name: str
    share: Numbers
    mean: Numbers
    kind: Literal["item", "reference"]


def marker_dots(rows: Sequence[DotRow], genes: Sequence[str], *, width: float = 410, name: str = "markers") -> Html:
    """Return the dot plot as SVG: area is the share of cells that express, shade the mean, a cross means not measured.

    Parameters
    ----------
    rows
        The item first, then the reference's types.
    genes
        Names of the columns (n_genes,).
    width
        Of the drawing; its own units are as large as pixels where all genes fit, else it is drawn smaller.
    name
        Begins the ids of its title and description.
    """
    left = (
        min(max((text_width(row.name, NAME, bold=row.kind == "item") for row in rows), default=0.0), LONGEST_NAME)
        + LARGEST
        + 8
    )
    shown = [shortened(gene, LONGEST_GENE, GENE) for gene in genes]
    lengths = [text_width(gene, GENE) for gene in shown]
    pitch, angle, whole = _columns(lengths, width - left)
    whole += left
    largest = min(LARGEST, pitch / 2 - 0.5) if genes else LARGEST
    head = max((length * sin(radians(angle)) for length in lengths), default=0.0) + GENE
    top = max((m for row in rows for _, m in _pairs(row) if isfinite(m)), default=0.0)
    marks = [
        _gene(gene, short, left + i * pitch, head, angle)
        for i, (gene, short) in enumerate(zip(genes, shown, strict=True))
    ]
    for j, row in enumerate(rows):
        y = head + 8 + ROW * (j + 0.5)
        ink = COLOURS["item"] if row.kind == "item" else INK
        short = shortened(row.name, LONGEST_NAME, NAME)
        marks.append(
            el(
                "text",
                *((el("title", row.name),) if short != row.name else ()),
                short,
                x=0,
                y=_n(y + 4),
                font_size=NAME,
                fill=ink,
                font_weight=600 if row.kind == "item" else None,
            )
        )
        for i, ((share, mean), gene) in enumerate(zip(_pairs(row), genes, strict=True)):
            said = el("title", f"{gene} in {row.name}: {_said(share, mean)}")
            marks.append(el("g", said, *_dot(left + i * pitch, y, share, mean, top, row.kind, largest)))
    missing = any(not isfinite(share) for row in rows for share, _ in _pairs(row))
    legend, height = _legend(head + 8 + ROW * len(rows) + 14, top, largest, missing=missing)
    whole = max(whole, _LEGEND_WIDTH)
    desc = " ".join(
        f"{row.name}: {'; '.join(f'{g} {_said(*pair)}' for g, pair in zip(genes, _pairs(row), strict=True))}."
        for row in rows
    )
    return el(
        "svg", el("title", "Marker genes", id=f"{name}-title"), el("desc", desc or "No markers.", id=f"{name}-desc"),
        *marks, *legend, viewBox=f"0 0 {_n(whole)} {_n(height)}", width=_n(width), height=_n(height * width / whole),
        role="img", aria_labelledby=f"{name}-title", aria_describedby=f"{name}-desc", font_family=FONT, class_="marker-dots",
    )  # fmt: skip


def dots_table(rows: Sequence[DotRow], genes: Sequence[str]) -> Html:
    """Return the same numbers as a table, a row a gene: what the drawing is to those who do not see it."""
    head = el("tr", el("th", "gene", scope="col"), *(el("th", row.name, scope="col") for row in rows))
    pairs = [_pairs(row) for row in rows]
    body = [
        el("tr", el("th", gene, scope="row"), *(el("td", _said(*own[i])) for own in pairs))
        for i, gene in enumerate(genes)
    ]
    caption = "Marker genes: share of cells that express each, and mean log1p counts per 10,000"
    return el("table", el("caption", caption), el("thead", head), el("tbody", *body), class_="marker-table")


def _pairs(row: DotRow) -> list[tuple[float, float]]:
    return [(float(share), float(mean)) for share, mean in zip(row.share, row.mean, strict=True)]


def _said(share: float, mean: float) -> str:
    if not isfinite(share):
        return "not measured"
    return f"{100 * share:.0f} % of cells" + (f", mean {mean:.2f}" if isfinite(mean) else "")


def _columns(lengths: Sequence[float], room: float) -> tuple[float, float, float]:
    """Return the distance between genes, the angle of their names, and the room that all take."""
    if not lengths:
        return 0.0, SLANT, room
    if len(lengths) == 1:
        return 34.0, SLANT, max(room, lengths[0] * cos(radians(SLANT)) + 2)
    # A slanted name reaches beyond its column: the farthest decides, and the first must end inside too.
    n = len(lengths)
    reach = [length * cos(radians(SLANT)) + 2 for length in lengths]
    pitch = min([34.0, *((room - reach[i]) / i for i in range(1, n))])
    if pitch >= ROOM_TO_SLANT and reach[0] <= room:
        return pitch, SLANT, room
    pitch = max(min(ROOM_TO_SLANT, (room - LARGEST) / n), LEAST_ROOM)
    return pitch, UPRIGHT, max(room, pitch * n + LARGEST)


def _gene(gene: str, short: str, x: float, y: float, angle: float) -> Html:
    at = (_n(x + (4 if angle == UPRIGHT else -2)), _n(y))
    return el(
        "text", *((el("title", gene),) if short != gene else ()), short, x=at[0], y=at[1], font_size=GENE, fill=MUTED,
        transform=f"rotate({_n(-angle)} {at[0]} {at[1]})", class_="gene",
    )  # fmt: skip


def _dot(x: float, y: float, share: float, mean: float, top: float, kind: str, largest: float) -> list[Html]:
    colour = COLOURS[kind]
    if not isfinite(share):
        return [_cross(x, y)]
    shade = PALEST + (1 - PALEST) * (mean / top if top > 0 and isfinite(mean) else 0.0)
    return [
        el(
            "circle", cx=_n(x), cy=_n(y), r=_n(max(largest * sqrt(min(max(share, 0.0), 1.0)), SMALLEST)), fill=colour,
            fill_opacity=f"{shade:.2f}", stroke=colour, stroke_width=0.8, stroke_opacity=0.7,
        )
    ]  # fmt: skip


def _cross(x: float, y: float) -> Html:
    path = f"M{_n(x - 3)} {_n(y - 3)} L{_n(x + 3)} {_n(y + 3)} M{_n(x + 3)} {_n(y - 3)} L{_n(x - 3)} {_n(y + 3)}"
    return el("path", d=path, stroke=MUTED, stroke_width=1.2, fill="none", class_="missing")


_LEGEND_WIDTH = 370.0


def _legend(y: float, top: float, largest: float, *, missing: bool) -> tuple[list[Html], float]:
    """Return what size, shade and cross mean, two lines, and where they end."""
    drawn: list[Html] = [_text("cells expressing", 0, y)]
    x = text_width("cells expressing", SMALL) + 16
    for share in LEGEND_SHARES:
        drawn += _dot(x, y, share, 0.0, 0.0, "reference", largest)
        text = f"{100 * share:.0f} %"
        drawn.append(_text(text, x + 14, y))
        x += 14 + text_width(text, SMALL) + 18
    if missing:
        drawn.append(_cross(x, y))
        drawn.append(_text("not measured", x + 8, y))
    y += 21
    drawn.append(_text("mean expression", 0, y))
    x = text_width("mean expression", SMALL) + 16
    drawn.append(_text("0", x - 8, y))
    x += 10
    for i in range(LEGEND_SHADES):
        part = i / (LEGEND_SHADES - 1)
        drawn += _dot(x, y, 0.5, part, 1.0, "reference", largest)
        x += 19
    drawn.append(_text(f"{top:.1f} (log1p counts per 10,000)", x - 3, y))
    return drawn, y + 12


def _text(text: str, x: float, y: float) -> Html:
    return el("text", text, x=_n(x), y=_n(y + 3.7), font_size=SMALL, fill=MUTED)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
