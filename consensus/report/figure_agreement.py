"""How far members agree, drawn: the same term, and terms one of which holds the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.report.figure_heat import head_height, heat_table, shade_scale
from celljury.report.figure_style import (
    SMALL,
    TEXT,
    WIDTH,
    Drawing,
    canvas,
    heading,
    styled,
)
from celljury.report.figure_text import percent, text_width

if TYPE_CHECKING:
    from celljury.report.member_agreement import MemberAgreement


@styled
def agreement_drawing(found: MemberAgreement, n_cells: int, *, source: str = "") -> Drawing | None:
    """Return the picture; None where no member took part."""
    if len(found.names) < 2:
        return None
    title = "How far members agree with each other and with the call"
    about = (
        "Of the cells on which both named a term, the share with the same term (left), and with compatible terms: the same,"
        " or one above the other (right). A dash: there is no such cell. Unseen cells have no call."
    )
    alt = f"Agreement of the call and {len(found.names) - 1} members over {n_cells:,} cells."
    pairs = [(i, j) for i in range(1, len(found.names)) for j in range(1, i) if not np.isnan(found.same[i, j])]
    for name, table in (("Same term", found.same), ("Compatible terms", found.compatible)):
        with_call = [f"{found.names[i]} {_text(table[0, i])}" for i in range(1, len(found.names))]
        alt += f" {name} as the call: {', '.join(with_call)}."
        if pairs:
            low, high = (choose(pairs, key=lambda pair: table[pair]) for choose in (min, max))
            alt += (
                f" Between members from {_text(table[low])} ({found.names[low[0]]} and {found.names[low[1]]}) to"
                f" {_text(table[high])} ({found.names[high[0]]} and {found.names[high[1]]})."
            )
    return Drawing(
        "member_agreement", title, about, alt, _draw(found, title, f"n = {n_cells:,} cells. {source}".strip())
    )


def _text(value: float) -> str:
    return "-" if np.isnan(value) else percent(value)


def _draw(found: MemberAgreement, title: str, said: str) -> Any:
    n = len(found.names)
    names = max(text_width(name, TEXT - 0.5) for name in found.names) + 0.1
    room = (WIDTH - 0.2 - names - 0.25 - 0.35) / 2
    cell = min(room / n, 0.62)
    height = min(max(cell * 0.62, 0.2), 0.36)
    heads = head_height(found.names)
    figure, panel = canvas(width=WIDTH, height=1.12 + heads + n * height + 0.42)
    top = heading(panel, title, [said]) + 0.2
    panels = (("the same term", found.same), ("compatible: one at or below the other", found.compatible))
    for i, (text, table) in enumerate(panels):
        x = 0.1 + names + i * (n * cell + 0.6)
        panel.text(x, top, text, fontsize=TEXT, weight="bold", va="center")
        heat_table(
            panel, table, [[_short(value) for value in row] for row in table.tolist()], x=x, y=top + 0.16 + heads,
            width=cell, height=height, rows=found.names if i == 0 else [""] * n, columns=found.names,
            size=SMALL if cell > 0.33 else SMALL - 1.2,
        )  # fmt: skip
    at = top + 0.16 + heads + n * height + 0.14
    shade_scale(panel, x=0.1 + names, y=at, width=1.2, text="share of the cells on which both named a term")
    return figure


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.0f}" if value in (0, 1) else f"{100 * value:.1f}"
