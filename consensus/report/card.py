"""A jury's card as one page: what it promises, how good its members are, what its reference holds.

One HTML file that loads nothing and runs nothing; its numbers are those of ``card.json``.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from celljury.provenance import write_text
from celljury.report.card_members import members_block, recall_block
from celljury.report.card_promise import calls_block, promise_block, thresholds_block, warnings_block
from celljury.report.card_reference import left_out_block, origin_block, reference_block
from celljury.report.page_frame import page_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PLACES = {
    "warnings": "Warnings", "promise": "Promise", "thresholds": "Thresholds", "members": "Members", "recall": "Recall",
    "calls": "Calls", "reference": "Reference", "unseen": "Unseen types", "origin": "Origin",
}  # fmt: skip


def write_card_page(folder: Path) -> Path:
    """Write ``card.html`` of a jury's folder from its ``card.json`` and return its path."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    path = folder / "card.html"
    write_text(path, card_page(card))
    return path


def card_page(card: Mapping[str, Any]) -> str:
    """Return the page of a card, as ``card.json`` holds it."""
    blocks = {
        "warnings": warnings_block(card),
        "promise": promise_block(card),
        "thresholds": thresholds_block(card),
        "members": members_block(card),
        "recall": recall_block(card),
        "calls": calls_block(card),
        "reference": reference_block(card),
        "unseen": left_out_block(card),
        "origin": origin_block(card),
    }
    name = PurePath(card["reference"]["file"]).name
    about = (
        f"{card['reference']['n_cells']:,} cells of {len(card['terms'])} types · {len(card['members'])} members · tier"
        f" {card['tier']} · Cell Ontology {card['ontology']['release']}"
    )
    return page_of(
        kind="celljury card",
        subject=f"jury of {name}",
        title=f"Jury of {name}",
        about=about,
        places=_PLACES,
        blocks=blocks,
        footer=f"celljury {card['versions']['celljury']}, {card['made']}. The same numbers as data: card.json.",
    )
