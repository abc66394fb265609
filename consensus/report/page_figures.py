"""A figure of a run inside a page: the drawing itself as a data: image, its words, and where its files are."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final

from celljury.markup import Html, el, folded
from celljury.report.figure_style import DPI, WIDTH

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.report.figure_style import DrawnFigure

ENLARGED: Final = 1.3
"""Lettering is drawn for print; a screen is read from farther away."""
LIGHT_SVG: Final = 250_000
"""Bytes; of heavier drawings pages show the lighter file. A report of twenty samples is 8 MB with it, 12 MB without."""
_TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


def figure_block(figure: DrawnFigure, *, fold: bool = False) -> Html:
    """Return a figure with its caption; SVG where it is light, else PNG where that is lighter.

    Parameters
    ----------
    fold
        Whether it opens only when it is asked for.
    """
    path = shown_file(figure)
    width = round(ENLARGED * 96 * _inches(path))
    alt = f"{figure.title}. {figure.alt}".strip()
    image = el("img", src=data_url(path), alt=alt, width=width, style=f"--own:{width}px")
    suffixes = ", ".join(suffix[1:] for suffix in sorted(figure.paths))
    made = el(
        "figure",
        # Small lettering needs its width: on a narrow screen the figure scrolls, also by keys.
        el("div", image, class_="scroll", tabindex=0, role="region", aria_label=figure.title),
        el("figcaption", figure.about),  # the title is part of the drawing
        el("p", f"As files: {path.parent.name}/{figure.name} ({suffixes}).", class_="note file"),
    )
    return folded(f"{figure.title} (figure)", made) if fold else made


def data_url(path: Path) -> str:
    """Return an image as a ``data:`` address."""
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def shown_file(figure: DrawnFigure) -> Path:
    """Return the file of a figure that pages show."""
    svg, png = figure.paths.get(".svg"), figure.paths.get(".png")
    if svg is None or png is None:
        return figure.paths[".png" if svg is None else ".svg"]
    size = svg.stat().st_size
    return svg if size <= max(LIGHT_SVG, png.stat().st_size) else png


def _inches(path: Path) -> float:
    """Return how wide a drawing is in print."""
    with path.open("rb") as file:
        head = file.read(4000)
    if path.suffix == ".png":
        return int.from_bytes(head[16:20], "big") / DPI
    found = re.search(rb'<svg[^>]*\bwidth="([0-9.]+)pt"', head)
    return float(found[1]) / 72 if found else WIDTH
