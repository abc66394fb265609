"""The first page of a report: how many cells have which label, how sure, what needs review, what is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celljury.markup import Html, bulleted, count, decimal, el, folded, joined, section, share, stats
from celljury.report.card_words import tier_in_words
from celljury.report.page_blocks import named, promise_sentences
from celljury.report.report_glance import SURE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from celljury.report.report_glance import Glance


MOST_LABELS: Final = 13
"""Labels of the first page, over its levels; the others are in the tables of the levels."""
FEW_LABELS: Final = 4
"""A level of which no more than so many would fit is not begun."""
MEANINGS: Final = {
    "resolved": "resolved: called the term with most votes",
    "backed_off": "backed off: called a wider term, to be sure enough",
    "unresolved": "unresolved: no call",
    "unseen": "unseen: fit no type of the reference",
}
DECIDED: Final = {
    "resolved": "resolved: called the term with most votes, or decided",
    "unresolved": "unresolved: no call and no decision",
    "unseen": "unseen: fit no type of the reference, or decided so",
}
"""Likewise, where curators' decisions count."""


def first_page(glance: Glance, record: Mapping[str, Any]) -> Html:
    """Return the first page."""
    review = glance.review
    numbers: list[tuple[Any, str]] = [(count(glance.n_cells), "cells")]
    meaning = MEANINGS | (DECIDED if glance.source == "final" and review.n_decided else {})
    numbers += [
        (_of_all(n, glance.n_cells), meaning[status])
        for status, n in glance.n_by_status.items()
        if n or status != "unresolved"
    ]
    items = "" if review.n_items is None else f", in {review.n_items:,} groups of like cells"
    numbers.append((_of_all(review.n_review, glance.n_cells), f"need review{items}"))
    reviewed = (
        "reviewed: decided by a curator" if review.applied else "reviewed: no decision is applied to this run yet"
    )
    numbers.append((_of_all(review.n_decided, glance.n_cells) if review.n_decided else count(0), reviewed))
    return section(
        "At a glance",
        stats(numbers),
        el("div", el("div", _labels(glance)), el("div", _promise(record), _next(glance)), class_="first"),
        name="glance",
    )


def _of_all(n: int, n_cells: int) -> Html:
    return joined((count(n), el("small", share(n / max(n_cells, 1)))), " ")


def _labels(glance: Glance) -> Html:
    sure, meaning = SURE[glance.sure]
    decided = ", decided ones among them" if glance.review.n_decided else ""
    about = f"Bars: cells. {sure}: {meaning}. To review: cells that a curator should see{decided}. Each level counts all cells."
    heads = (("label", ""), ("", ""), ("cells", "n"), ("of all", "n"), (sure, "n"), ("to review", "n"))
    bodies, room, rest = [], MOST_LABELS, []
    # One scale for all levels, so that bars of different ones can be compared.
    largest = max((float(rows["fraction"].max()) for _, rows in glance.levels if len(rows)), default=1) or 1
    for i, (level, rows) in enumerate(glance.levels):
        n_labels = int((rows["place"] >= 0).sum())
        if i and room < min(len(rows), FEW_LABELS):
            rest.append((level, n_labels))
            continue
        lines = _level(rows, glance, room, largest)
        room -= len(lines)
        bodies.append(
            el("tbody", el("tr", el("th", level.title, colspan=len(heads), scope="rowgroup"), class_="block"), *lines)
        )
    total = el(
        "tr", el("th", "all cells, at each level", scope="row"), el("td"), el("td", count(glance.n_cells), class_="n"),
        el("td", share(1.0), class_="n"), el("td"), el("td", count(glance.review.n_review), class_="n"), class_="total",
    )  # fmt: skip
    made = el(
        "table",
        el("caption", "How many cells have which label", el("span", about)),
        el("thead", el("tr", *(el("th", head, scope="col", class_=kind or None) if head else el("td") for head, kind in heads))),
        *bodies,
        el("tbody", total),
        class_="labels",
    )  # fmt: skip
    block = el("div", made, class_="scroll", tabindex=0, role="region", aria_label="How many cells have which label")
    others = joined(
        (joined((el("a", level.title, href="#levels"), f" ({n:,} {'label' if n == 1 else 'labels'})")) for level, n in rest), ", "
    )  # fmt: skip
    return joined((block, el("p", "The same cells at other levels: ", others, ".", class_="note") if rest else None))


def _level(rows: pd.DataFrame, glance: Glance, room: int, largest: float) -> list[Html]:
    """Return the lines of a level: as many labels as there is room for, then the rest, then cells without a label of it."""
    found = rows.to_dict("records")
    terms, none = [row for row in found if row["place"] >= 0], _one_unseen([row for row in found if row["place"] < 0])
    most = max(room - len(none), FEW_LABELS)
    shown = terms if len(terms) <= most else terms[: most - 1]
    left = terms[len(shown) :]
    lines = [_label(row, glance.sure, largest) for row in shown]
    if left:
        n = sum(int(row["n_cells"]) for row in left)
        more = el("a", f"{len(left):,} more labels", href="#levels")
        n_review = sum(int(row["n_review"]) for row in left)
        lines.append(_line(more, n, n / max(glance.n_cells, 1), largest, None, n_review, kind="rest"))
    return [*lines, *(_label(row, glance.sure, largest) for row in none)]


def _one_unseen(rows: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return the rows without a label, those of unseen cells as one: where they are new is said below the first page."""
    unseen = [row for row in rows if row["place"] <= -3]
    kept = [row for row in rows if row["place"] > -3]
    if not unseen:
        return kept
    one = {name: sum(row[name] for row in unseen) for name in ("n_cells", "fraction", "n_review")}
    return [*kept, {"place": -3, "term": "", "label": "unseen", **one}]


def _label(row: Mapping[Any, Any], sure: str, largest: float) -> Html:
    kind = "" if row["place"] >= 0 else {-1: "other", -2: "unresolved"}.get(int(row["place"]), "unseen")
    return _line(
        named(row["term"], row["label"]) if row["term"] else row["label"], int(row["n_cells"]), float(row["fraction"]),
        largest, row[sure] if int(row["place"]) >= -1 else None, int(row["n_review"]), kind=kind,
    )  # fmt: skip


def _line(
    name: Any, n_cells: int, fraction: float, largest: float, sure: Any, n_review: int, *, kind: str = ""
) -> Html:
    value = None if sure is None or sure != sure else float(sure)
    length = f"--share:{min(100 * fraction / largest, 100):.1f}%"
    return el(
        "tr",
        el("th", name, scope="row"),
        el("td", el("span", class_=f"stripe {kind}".strip(), style=length)),
        el("td", count(n_cells), class_="n"),
        el("td", share(fraction), class_="n"),
        el("td", decimal(value, 2), class_="n"),
        el("td", count(n_review), class_="n"),
    )


def _promise(record: Mapping[str, Any]) -> Html:
    said = promise_sentences(record["promise"])
    # What is promised and what it means stays in sight; why it is not more is read when it is looked for.
    led = [i for i, sentence in enumerate(said) if sentence.startswith("<b>")]
    few = max(min((max(led, default=0) + 2), len(said)), 3)
    alpha = "" if record.get("alpha") is None else f", alpha {100 * record['alpha']:g} %"
    rows = bulleted(said[:few])
    more = (folded("More on this statement", bulleted(said[few:])),) if len(said) > few else ()
    return el(
        "div",
        el("h3", "How often calls are wrong: what is promised"),
        el("p", el("b", f"Tier {record['tier']}{alpha}"), f": {tier_in_words(record['tier'], record.get('calibration'))}."),
        rows,
        *more,
        class_="promise",
    )  # fmt: skip


def _next(glance: Glance) -> Html:
    items = [joined((why, el("code", command) if command else None), " ") for why, command in glance.steps]
    return el("div", el("h3", "What to do next"), bulleted(items), class_="next")
