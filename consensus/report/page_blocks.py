"""Blocks that our pages share: warnings, a promise in its own words, a term as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from celljury.markup import Html, bulleted, el, flag, folded, joined, section
from celljury.report.card_words import in_sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPENINGS: Final = ("Promised:", "Aimed at:", "Not promised:", "Estimate, no guarantee:", "No error rate is promised")


def named(term: str, label: str | None) -> Html:
    """Return a term as it is read: label, then id."""
    return joined((label or term, *((el("span", term, class_="id"),) if label else ())), " ")


def warnings_of(found: Sequence[str], *, few: int, none: str = "Nothing was found to warn of.") -> Html:
    """Return all warnings, those beyond a few folded; or that there are none."""
    if not found:
        return section("No warnings", el("p", none), name="warnings", kind="clear")
    items = [joined((flag("⚠", ""), text)) for text in found]
    blocks = [bulleted(items[:few])]
    if len(found) > few:
        left = len(found) - few
        blocks.append(folded("1 more warning" if left == 1 else f"{left} more warnings", bulleted(items[few:])))
    title = "1 warning" if len(found) == 1 else f"{len(found)} warnings"
    return section(title, *blocks, name="warnings", kind="warnings")


def promise_sentences(promise: str) -> list[Html]:
    """Return the sentences of a promise, an item each, what opens them in bold."""
    return [_led(sentence) for sentence in in_sentences(promise)]


def _led(sentence: str) -> Html:
    for opening in _OPENINGS:
        if sentence.startswith(opening):
            return joined((el("b", opening), sentence[len(opening) :]))
    return joined((sentence,))
