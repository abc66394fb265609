"""What a jury's card says first: warnings, the promise, the thresholds behind it, and calls at these thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.markup import (
    NOTHING,
    Column,
    bulleted,
    count,
    decimal,
    el,
    folded,
    joined,
    section,
    share,
    stats,
    table,
)
from celljury.report.card_words import all_warnings, tier_in_words, units_of
from celljury.report.page_blocks import named, promise_sentences, warnings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celljury.markup import Html

# More than these are folded: they are read when they are looked for.
FEW_WARNINGS, FEW_TYPES = 12, 5


def names_of(card: Mapping[str, Any]) -> dict[str, str]:
    """Return labels by term, of all terms that the card names."""
    rows = [*card["terms"], *card["audit"]["rows"], *((card["calibration"] or {}).get("left_out") or ())]
    return {row["term"]: row["label"] for row in rows}


def warnings_block(card: Mapping[str, Any]) -> Html:
    """Return all warnings, or that there are none."""
    return warnings_of(all_warnings(card), few=FEW_WARNINGS)


def promise_block(card: Mapping[str, Any]) -> Html:
    """Return the promise in its own words, with what it rests on."""
    found = card["calibration"]
    rows: list[tuple[Any, str]] = [(card["tier"], f"tier: {tier_in_words(card['tier'], found)}")]
    more: list[Html] = []
    if card["alpha"] is not None:
        rows.append((share(card["alpha"]), "alpha: the share of wrong calls that is aimed at"))
    if found:
        if found["unit"]:
            n = len(found["donors"])
            stand = "" if found["unit"] == "donor" else "; they stand in for donors, whom no column names"
            rows.append((count(n), f"{units_of(found, n)} held out, each whole{stand}"))
            more.append(folded(f"The {n} held-out {units_of(found, n)}", el("p", ", ".join(found["donors"]))))
        rows.append((count(found["n_cells"]), "cells held out: left out of training, then called"))
        if found["n_unknown_type"]:
            rows.append((count(found["n_unknown_type"]), "of these of a type that no training cell had; not judged"))
        if found["settings"]["unseen"] and found["signals"]:
            rows.append((share(found["settings"]["eps"]), "eps: known cells that may be called unseen by mistake"))
    return section(
        "What is promised, and what is not", stats(rows), bulleted(promise_sentences(card["promise"])), *more,
        name="promise",
    )  # fmt: skip


def thresholds_block(card: Mapping[str, Any]) -> Html | None:
    """Return the support that a call needs, by stratum, and what that rests on; None without a calibration."""
    found = card["calibration"]
    if not found:
        return None
    units, names, grouped = units_of(found), names_of(card), found["unit"] is not None
    wrong = "share of held-out cells with a wrong call" + (f", mean over {units}" if grouped else "")
    columns = (
        Column("cells whose likeliest type is", number=False),
        Column("support needed", "a call is the most specific term with this support, 0 to 1; else it is a wider one"),
        Column("tier", number=False),
        Column("wrong", wrong),
        *((Column(f"worst {units_of(found, 1)}", f"the same in the one of the {units} with most"),) if grouped else ()),
        Column(
            "bound",
            "what the tier holds at most alpha: over cells, or with a margin for the differences between donors",
        ),
        *((Column(units, "held out, behind this threshold"),) if grouped else ()),
        Column("cells"),
        Column("why not the tier asked for", number=False),
    )
    rows = [
        (
            _stratum(row["scope"], row["terms"], names), _support(row["value"]),
            el("span", row["tier"], class_="whole"), share(row["mean_risk"]),
            *((share(row["max_risk"]),) if grouped else ()), share(row["bound"]),
            *((count(row["n_donors"]),) if grouped else ()), count(row["n_cells"]),
            el("div", row["why"] or NOTHING, class_="sentence"),
        )
        for row in found["thresholds"]
    ]  # fmt: skip
    several = len(rows) > 1
    return section(
        "Thresholds" if several else "Threshold",
        table("Support that a call needs" + (", by branch of cell types" if several else ""), columns, rows),
        name="thresholds",
    )


def _stratum(scope: str, terms: Sequence[str], names: Mapping[str, str]) -> Html:
    if scope == "all":
        return el("span", "any", class_="wide")
    words = sorted((named(term, names.get(term)) for term in terms), key=str.casefold)
    whose = "branches without a threshold of their own: " if scope == "rest" else ""
    shown = joined((whose, joined(words[:FEW_TYPES], ", ")))
    rest = words[FEW_TYPES:]
    return el("div", shown, *((folded(f"and {len(rest)} more", joined(rest, ", ")),) if rest else ()), class_="wide")


def _support(value: float | None) -> Html:
    if value is None or value > 1:
        return joined(("never reached", ""))
    return decimal(value)


def calls_block(card: Mapping[str, Any]) -> Html | None:
    """Return what calls are like at the thresholds, on held-out cells; None without a calibration."""
    if not card["calibration"]:
        return None
    found = card["calibration"]["evidence"]["calls"]
    rows = [
        (share(found["wrong"]), "wrong: of all held-out cells, those whose type is neither the called term nor a kind of it"),
        (share(found["labelled"]), "labelled: cells that got a term, however wide"),
        (share(found["information_kept"]), "information kept: bits of right calls, of the bits of the true types"),
        (count(card["calibration"]["evidence"]["n_cells"]), "cells behind these numbers"),
    ]  # fmt: skip
    note = "Thresholds were chosen on the same cells, and before any cell is called unseen: a query may differ."
    return section("Calls at these thresholds", stats(rows), el("p", note, class_="muted"), name="calls")
