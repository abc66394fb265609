"""Tables whose cells are shaded by their numbers, drawn; the number stands in every cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.report.figure_style import CALL, INK, MUTED, SMALL, TEXT, on_colour
from celljury.report.figure_text import text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_SINE = 0.71  # of the 45 degrees at which columns are named


def head_height(heads: Sequence[str]) -> float:
    """Return the inches that slanted heads of columns need."""
    return _SINE * max((text_width(head, TEXT - 0.5) for head in heads), default=0) + 0.12


def heat_table(
    panel: Axes, shade: NDArray[np.float64], texts: Sequence[Sequence[str]], *, x: float, y: float, width: float,
    height: float, rows: Sequence[str], columns: Sequence[str], size: float = SMALL,
) -> None:  # fmt: skip
    """Draw a table on a canvas.

    Parameters
    ----------
    shade
        0 = white to 1 = full colour, NaN = empty; float64 (n_rows, n_columns).
    texts
        What stands in each cell.
    x, y
        Upper left of the first cell; row names end left of it, heads stand above it.
    width, height
        Of a cell, inches.
    rows, columns
        Names; none where there is nothing to name.
    """
    from matplotlib.patches import Rectangle

    for i, name in enumerate(rows):
        panel.text(x - 0.06, y + (i + 0.5) * height, name, fontsize=TEXT - 0.5, ha="right", va="center")
    for j, name in enumerate(columns):
        panel.text(x + (j + 0.5) * width, y - 0.05, name, fontsize=TEXT - 0.5, rotation=45, ha="left", va="bottom",
                   rotation_mode="anchor")  # fmt: skip
    for i, row in enumerate(shade.tolist()):
        for j, value in enumerate(row):
            face = "white" if np.isnan(value) else _tint(value)
            corner = (x + j * width, y + i * height)
            panel.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor="white", linewidth=0.8))
            colour = MUTED if np.isnan(value) or not texts[i][j].strip("0. ") else on_colour(face)
            panel.text(corner[0] + width / 2, corner[1] + height / 2, texts[i][j], fontsize=size, color=colour,
                       ha="center", va="center_baseline")  # fmt: skip
    outline = Rectangle(
        (x, y), width * shade.shape[1], height * shade.shape[0], facecolor="none", edgecolor=MUTED, linewidth=0.5
    )
    panel.add_patch(outline)


def shade_scale(panel: Axes, *, x: float, y: float, width: float, text: str) -> None:
    """Draw what the shades mean: 0 to 100 %."""
    from matplotlib.patches import Rectangle

    n = 40
    for k in range(n):
        panel.add_patch(
            Rectangle((x + k * width / n, y), width / n * 1.05, 0.08, facecolor=_tint(k / (n - 1)), linewidth=0)
        )
    panel.add_patch(Rectangle((x, y), width, 0.08, facecolor="none", edgecolor=MUTED, linewidth=0.5))
    for at, said, aligned in ((x, "0 %", "left"), (x + width, "100 %", "right")):
        panel.text(at, y + 0.16, said, fontsize=SMALL - 0.5, ha=aligned, va="center", color=MUTED)
    panel.text(x + width + 0.1, y + 0.04, text, fontsize=SMALL, va="center", color=INK)


def _tint(value: float) -> Any:
    """Return a shade from white to a dark blue: lightness alone tells it, also in a grey print."""
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("cells", ["#ffffff", "#bcd9e5", CALL, "#083a52"])
    return ramp(float(np.clip(value, 0, 1)))
