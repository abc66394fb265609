"""Markdown by hand: tables, sections, numbers with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def section(title: str, text: str, body: str) -> str:
    """Return a heading, some words and a table."""
    return "\n\n".join(part for part in (f"### {title}", text, body) if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int = 3) -> str:
    """Return a number to some digits, shares without their leading zero; empty where there is none."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if digits == 3 and text != "0.000" else text.replace("0.000", "0")


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{100 * share:.1f} %"


def interval(estimate: Mapping[str, Any] | None) -> str:
    """Return a number with its interval; empty where there is none."""
    if estimate is None or estimate["value"] is None:
        return ""
    if estimate["low"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def mean_of(estimates: Sequence[Mapping[str, Any] | None]) -> str:
    """Return the mean over pairs, which are independent: half its interval is the root of the sum of squares over n."""
    known = [e for e in estimates if e is not None and e["value"] is not None]
    if len(known) < len(estimates) or not known:
        return ""
    half = sum(((e["high"] - e["low"]) / 2) ** 2 for e in known) ** 0.5 / len(known)
    return f"{number(sum(e['value'] for e in known) / len(known))} ± {number(half)}"


def in_all(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all names in the order in which they first occur."""
    return list(dict.fromkeys(name for one in tables for name in one))
