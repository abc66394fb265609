"""A jury's card as one page: what it promises, how good its members are, what its reference holds.

One HTML file that loads nothing and runs nothing; its numbers are those of ``card.json``.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from celljury.markup import Html, el, joined
from celljury.provenance import write_text
from celljury.report.card_members import members_block, recall_block
from celljury.report.card_promise import calls_block, promise_block, thresholds_block, warnings_block
from celljury.report.card_reference import left_out_block, origin_block, reference_block
from celljury.report.card_style import STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Should any text ever get through as markup: the browser may run and load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
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
    made = {
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
    blocks = {name: block for name, block in made.items() if block is not None}
    name = PurePath(card["reference"]["file"]).name
    about = (
        f"{card['reference']['n_cells']:,} cells of {len(card['terms'])} types · {len(card['members'])} members · tier"
        f" {card['tier']} · Cell Ontology {card['ontology']['release']}"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy"}, content=POLICY),
        el("title", f"Jury of {name} · celljury"),
        el("style", Html(STYLE)),
    )
    body = el(
        "body",
        el("header", el("h1", "celljury card", el("span", f"jury of {name}")), el("p", about)),
        el("nav", *(el("a", _PLACES[at], href=f"#{at}") for at in blocks), aria_label="On this page"),
        el("main", *blocks.values()),
        el("footer", f"celljury {card['versions']['celljury']}, {card['made']}. The same numbers as data: card.json."),
    )
    return joined((Html("<!doctype html>\n"), el("html", head, body, lang="en"), Html("\n")))
