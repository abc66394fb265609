"""How figures look and how they are written: one palette, one lettering, one saver for PNG, SVG and PDF."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from celljury.provenance import written_beside
from celljury.report.figure_text import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

INK, MUTED, GREY, FAINT = "#1d2733", "#66727f", "#c4cad1", "#e8ebef"
CALL, STRANGE = "#0b6e99", "#b3261e"
CAMPS: Final = ("#c2571a", "#5b3fa3", "#2d7d46")
TYPE_COLOURS: Final = (
    "#0b6e99", "#f0b429", "#5b3fa3", "#8fd0e8", "#a8410f", "#e58fbd", "#1d5b3a", "#f6e58d", "#8c2f66", "#b9e4c9",
    "#25345e", "#c48a5c",
)  # fmt: skip
"""Of cell types, the most frequent first; more types than that share grey.

Dark and light in turn, so that neighbours in a stack stay apart in a grey print (CIE L* differs by 27 or more). Least
distance between any two (CIE76): 28; as deuteranopes see them (Machado et al. 2009, doi:10.1109/TVCG.2009.113) 16,
as protanopes 9, of colours that are never neighbours.
"""

WIDTH: Final = 7.2
"""Inches: two columns of a journal (183 mm). Sizes below are the sizes in print."""
TITLE, TEXT, SMALL = 9.5, 7.5, 6.5
"""Points."""
DPI: Final = 200
FORMATS: Final = (".png", ".svg", ".pdf")
HATCH: Final = {"other": "....", "outside": "\\\\\\\\", "unresolved": "xxxx", "unseen": "////"}
"""What is no term of its own is told apart by a hatch: smaller terms together, terms outside a level, and no call."""

_STYLE: Final = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": TEXT,
    "text.color": INK,
    "text.parse_math": False,  # a sample may be called $1
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT + 0.5,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",  # a reader's machine may lack the font, and other letters would run into each other
    "svg.hashsalt": "celljury",  # without it, ids differ from one writing to the next
    "pdf.fonttype": 42,  # journals refuse Type 3
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure before it is written.

    Attributes
    ----------
    name
        Stem of its files.
    title
        What it shows, in words, without a full stop.
    about
        How it is read, in whole sentences.
    alt
        Its main numbers, for who cannot see it.
    figure
        What is drawn.
    """

    name: str
    title: str
    about: str
    alt: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class DrawnFigure:
    """A figure and its files.

    Attributes
    ----------
    name, title, about, alt
        As of `Drawing`.
    paths
        Suffix (``.png``, ``.svg``, ``.pdf``) -> file.
    """

    name: str
    title: str
    about: str
    alt: str
    paths: Mapping[str, Path]


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in this style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib.style import context

        with context(["default", _STYLE]), warnings.catch_warnings():
            # Names in scripts that the font lacks are drawn as boxes; the tables have them.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return draw(*args, **kwargs)

    return inner


def new_figure(*, width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure, sizes in inches."""
    # Not pyplot: it would choose a window system and keep every figure alive.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def canvas(*, width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel over all of it, whose units are inches from the upper left."""
    figure = new_figure(width=width, height=height, layout=None)
    panel = figure.add_axes((0, 0, 1, 1))
    panel.set_xlim(0, width)
    panel.set_ylim(height, 0)
    panel.set_axis_off()
    return figure, panel


def heading(panel: Axes, title: str, lines: Sequence[str], *, width: float = WIDTH) -> float:
    """Write a title and muted lines at the top of a canvas and return where they end, in inches."""
    y = 0.2
    for text, size, colour, weight in (
        *((part, TITLE, INK, "bold") for part in wrapped(title, TITLE, width - 0.3, bold=True)),
        *((part, SMALL + 0.5, MUTED, "normal") for line in lines for part in wrapped(line, SMALL + 0.5, width - 0.2)),
    ):
        panel.text(0.1, y, text, fontsize=size, color=colour, weight=weight, va="center")
        y += 1.45 * size / 72
    return y


@styled
def save_figure(
    figure: Figure, stem: Path, *, title: str = "", alt: str = "", formats: Sequence[str] = FORMATS
) -> dict[str, Path]:
    """Write a figure in every format beside its name, rename it, and return the paths by suffix.

    The same figure gives the same bytes: no file holds a date.

    Parameters
    ----------
    title, alt
        Stand in the files for readers of screens and for search.
    """
    written = {}
    for suffix in formats:
        path = stem.with_name(stem.name + suffix)
        with written_beside(path) as partial:
            partial.write_bytes(_rendered(figure, suffix, title=title, alt=alt))
        written[suffix] = path
    return written


def _rendered(figure: Figure, suffix: str, *, title: str, alt: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=_metadata(suffix, title, alt))
    return _described(buffer.getvalue(), title, alt) if suffix == ".svg" else buffer.getvalue()


def _metadata(suffix: str, title: str, alt: str) -> dict[str, str | None]:
    """Return what a file says of itself; None takes out what matplotlib would say, such as the date."""
    if suffix == ".svg":
        return dict.fromkeys(("Creator", "Date", "Format", "Type"))
    if suffix == ".pdf":
        return {
            **dict.fromkeys(("Creator", "Producer", "CreationDate")),
            "Title": title or None,
            "Subject": alt or None,
        }
    said = {"Title": _latin(title), "Description": _latin(alt)}
    return {"Software": None, **{name: text for name, text in said.items() if text}}


def _described(svg: bytes, title: str, alt: str) -> bytes:
    """Return an SVG that names nothing outside itself and says what it shows."""
    text = svg.decode("utf-8")
    text = re.sub(r"<!DOCTYPE[^>]*>\s*", "", text, count=1)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    said = "".join(f"<{tag}>{escape(words)}</{tag}>" for tag, words in (("title", title), ("desc", alt)) if words)
    return re.sub(r"(<svg\b[^>]*)>", lambda m: f'{m[1]} role="img">{said}', text, count=1).encode("utf-8")


def _latin(text: str) -> str:
    """Return text as PNG can hold it."""
    return text.encode("latin-1", "replace").decode("latin-1")


def on_colour(colour: Any) -> str:
    """Return the colour of letters on a ground: white, or ink where white has too little contrast (WCAG 2.1, 4.5:1)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) >= 4.5 else INK
