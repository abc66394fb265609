"""What a jury's card says in words, and the card as lines for a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

TIERS = {
    "exact-donor": "exact, on average over new {units} like the held-out ones",
    "cluster-t": "approximate, on average over new {units} like the held-out ones",
    "cell": "of cells like the held-out ones; nothing is promised of new {units}",
    "none": "nothing is promised",
}


def in_sentences(text: str) -> list[str]:
    """Return a statement's sentences, one an item; joined by spaces they are the statement."""
    return re.split(r"(?<=\.) (?=[A-Z])", text)


def all_warnings(card: Mapping[str, Any]) -> list[str]:
    """Return every warning of a card, members that are absent first."""
    absent = [f"{m['name']} is absent from this jury: {m['absent']}" for m in card["members"] if m["absent"]]
    return [*absent, *card["warnings"]]


def units_of(found: Mapping[str, Any] | None, n: int = 2) -> str:
    """Return what a calibration held out whole; where it was cells, or nothing, what could have been: donors."""
    if found and found["unit"] == "batch":
        return "batch" if n == 1 else "batches"
    return "donor" if n == 1 else "donors"


def tier_in_words(tier: str, found: Mapping[str, Any] | None) -> str:
    """Return what a tier means for the units of a calibration."""
    return TIERS[tier].format(units=units_of(found))


def statement_lines(record: Mapping[str, Any], *, lead: str = "") -> list[str]:
    """Return rule, tier and alpha of a card or a run in one line, then the promise, a sentence a line."""
    said = [f"Rule: {record['rule']}."] if record.get("rule") else []
    said.append(f"Tier: {record['tier']} ({tier_in_words(record['tier'], record.get('calibration'))}).")
    if record.get("alpha") is not None:
        said.append(f"Alpha: {record['alpha']:g}.")
    return [f"{lead}{' '.join(said)}", *(f"  {sentence}" for sentence in in_sentences(record["promise"]))]


def warning_lines(warnings: list[str]) -> list[str]:
    """Return warnings under their number; nothing where there are none."""
    if not warnings:
        return []
    return ["1 warning:" if len(warnings) == 1 else f"{len(warnings)} warnings:", *(f"  ! {text}" for text in warnings)]


def card_text(card: Mapping[str, Any]) -> list[str]:
    """Return a card for a terminal: warnings, members, calls at the thresholds, what is promised and what is not."""
    warnings = warning_lines(all_warnings(card))
    about = f"{card['reference']['n_cells']:,} cells of {len(card['terms'])} types."
    return [*warnings, *([""] if warnings else []), about, *_member_table(card), "", *statement_lines(card)]


def _member_table(card: Mapping[str, Any]) -> list[str]:
    found, width = card["calibration"], max(len("member"), *(len(m["name"]) for m in card["members"]))
    library = {m["name"]: m["version"] for m in card["members"]}
    if not found:
        present = [m for m in card["members"] if not m["absent"]]
        return ["Members (no cells were held out, so how good they are is not known):",
                *(f"  {m['name']:<{width}}  {m['version']}" for m in present)]  # fmt: skip
    evidence = found["evidence"]
    n = len(found["donors"])
    source = f" of {n:,} {units_of(found, n)}" if found["unit"] else ""
    rows = [
        *((m["name"], m["accuracy"], m["macro_f1"], m["log_loss"], m["ece"], m["weight"], library.get(m["name"], ""))
          for m in evidence["members"] if m["accuracy"] is not None),
        ("pool", *(evidence["pool"][key] for key in ("accuracy", "macro_f1", "log_loss", "ece")), None,
         f"rule {evidence['pool']['rule']}"),
    ]  # fmt: skip
    calls = evidence["calls"]
    return [
        f"On {evidence['n_cells']:,} held-out cells{source}:",
        f"  {'member':<{width}}  accuracy  macro F1  log-loss    ECE  weight",
        *(
            f"  {name:<{width}} {_share(right):>9} {_number(f1):>9} {_number(loss):>9} {_number(ece):>6}"
            f" {_number(weight, 2):>7}  {note}"
            for name, right, f1, loss, ece, weight, note in rows
        ),
        f"At the thresholds: {_share(calls['labelled'])} of these cells get a label, {_share(calls['wrong'])} a wrong one;"
        f" {_share(calls['information_kept'])} of the information is kept.",
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
