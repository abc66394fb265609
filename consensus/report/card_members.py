"""The part of a jury's card on its members: how good each is on held-out cells, and whether the pool is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.markup import (
    NOTHING,
    Column,
    bars,
    changes,
    count,
    decimal,
    el,
    flag,
    joined,
    section,
    shaded,
    share,
    table,
)
from celljury.report.card_promise import names_of
from celljury.report.page_blocks import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celljury.markup import Html

# A member that recalls a type by so much less than the pool is marked.
WELL_BELOW = 0.1
POOL = "pool"
METHODS = {"temperature": "temperature", "confusion": "confusion table", "none": "none"}


def members_block(card: Mapping[str, Any]) -> Html:
    """Return members and pool side by side, before and after calibration; who is present where nothing was held out."""
    found = card["calibration"]
    if not found:
        return section("Members", el("p", "No cells were held out, so how good a member is was not measured."),
                       _presence(card), name="members")  # fmt: skip
    evidence = found["evidence"]
    members, pool = evidence["members"], evidence["pool"]
    versions = {member["name"]: member["version"] for member in card["members"]}
    held = f"On {evidence['n_cells']:,} held-out cells"
    accuracy = table(
        f"{held}: how often votes are right",
        (
            Column("member", number=False),
            Column("cells", "held-out cells it voted on"),
            Column("accuracy", "of these, votes for the true type itself; the pool's is of all held-out cells"),
            Column("macro F1", "F1 of each type, their mean: rare types count as much as frequent ones"),
            Column("weight", "mean weight of its votes in the pool: log odds that a vote is right, where votes are weighed"),
        ),
        [
            *((_who(m["name"], versions), count(m["n_cells"]), shaded(m["accuracy"]), decimal(m["macro_f1"]),
               decimal(m["weight"], 2)) for m in members),
            (joined((POOL, el("span", f"rule {pool['rule']}", class_="id")), " "), count(evidence["n_cells"]),
             shaded(pool["accuracy"]), decimal(pool["macro_f1"]), None),
        ],
        last="pool",
    )  # fmt: skip
    calibration = table(
        f"{held}: what probabilities are worth",
        (
            Column("member", number=False),
            Column("calibrated by", "what predicts other folds best; a temperature above 1 says it was too sure, below 1 too"
                   " timid", number=False),
            Column("log-loss before", "mean log of one over the probability of the true type; smaller is better"),
            Column("log-loss after"),
            Column("ECE before", "expected calibration error: mean gap between top probability and share right; 0 is best"),
            Column("ECE after"),
        ),
        [
            *((m["name"], _method(m["method"], m["temperature"]), decimal(m["log_loss_before"]), decimal(m["log_loss"]),
               decimal(m["ece_before"]), decimal(m["ece"])) for m in members),
            (POOL, _method("temperature", pool["temperature"]), None, decimal(pool["log_loss"]), None, decimal(pool["ece"])),
        ],
        last="pool",
    )  # fmt: skip
    accuracies = [(m["name"], m["accuracy"], "member") for m in members] + [(POOL, pool["accuracy"], "pool")]
    gaps = [(m["name"], m["ece_before"], m["ece"], "member") for m in members] + [(POOL, None, pool["ece"], "pool")]
    return section(
        "Members and pool",
        _against_best(members, pool),
        el(
            "div",
            el("div", el("h3", "Accuracy"), bars("Accuracy of members and pool", accuracies), accuracy),
            el("div", el("h3", "Calibration error (ECE): hollow before, filled after calibration"),
               changes("Calibration error before and after", gaps), calibration),
            class_="pair",
        ),
        _absences(card),
        name="members",
    )  # fmt: skip


def _who(name: str, versions: Mapping[str, str]) -> Html:
    return joined((name, el("span", versions.get(name, ""), class_="id")), " ")


def _method(method: str, temperature: float | None) -> Html:
    said = (METHODS.get(method, method), *((decimal(temperature, 2),) if temperature is not None else ()))
    return el("span", joined(said, " "), class_="whole")


def _presence(card: Mapping[str, Any]) -> Html:
    """Return all members, present or why not: for a card without numbers of theirs."""
    rows = [(m["name"], m["version"] or None, f"absent: {m['absent']}" if m["absent"] else "present")
            for m in card["members"]]  # fmt: skip
    columns = (Column("member", number=False), Column("library", number=False), Column("state", number=False))
    return table("Members that were asked for", columns, rows)


def _absences(card: Mapping[str, Any]) -> Html | None:
    rows = [(m["name"], m["absent"]) for m in card["members"] if m["absent"]]
    columns = (Column("member", number=False), Column("why", number=False))
    return table("Members that are absent", columns, rows) if rows else None


def _against_best(members: list[dict[str, Any]], pool: Mapping[str, Any]) -> Html | None:
    """Say whether pooling helped, by accuracy, macro F1 and log-loss."""
    judged = [m for m in members if m["accuracy"] is not None]
    if not judged or pool["accuracy"] is None:
        return None
    best = max(judged, key=lambda m: float(m["accuracy"]))
    sides = [
        joined((name, " ", show(pool[key]), " against ", show(best[key])))
        for name, key, show in (("accuracy", "accuracy", share), ("macro F1", "macro_f1", decimal),
                                ("log-loss", "log_loss", decimal))
        if best[key] is not None and pool[key] is not None
    ]  # fmt: skip
    beats = pool["accuracy"] > best["accuracy"]
    said = (
        f"The pool is better than its best member, {best['name']}: "
        if beats
        else f"is as accurate as its best member, {best['name']}, and no better: "
        if pool["accuracy"] == best["accuracy"]
        else f"does not beat its best member, {best['name']}: "
    )
    lead = joined((said,)) if beats else joined((flag("⚠", "The pool "), said))
    return el("p", el("span", lead, class_="lead"), joined(sides, "; "), " (pool against member).")


def recall_block(card: Mapping[str, Any]) -> Html | None:
    """Return recall by type of members and pool; None without a calibration."""
    if not card["calibration"]:
        return None
    evidence, names = card["calibration"]["evidence"], names_of(card)
    members, pool = evidence["members"], evidence["pool"]["recall"]
    n_cells = {row["term"]: row["n_cells"] for row in card["terms"]}
    terms = sorted(n_cells, key=lambda term: (-n_cells[term], term))
    columns = (
        Column("type", number=False),
        Column("cells", "in the reference"),
        *(Column(m["name"]) for m in members),
        Column(POOL, f"▼ marks a member more than {WELL_BELOW:g} below the pool; {NOTHING}: no such cell was judged"),
    )
    rows = [
        (
            named(term, names.get(term)), count(n_cells[term]),
            *(_recall(m["recall"].get(term), pool.get(term)) for m in members),
            shaded(pool.get(term)),
        )
        for term in terms
    ]  # fmt: skip
    return section(
        "Recall by type",
        table("Of the held-out cells of a type, votes for that very type", columns, rows),
        name="recall",
    )


def _recall(value: float | None, of_pool: float | None) -> Html:
    # Rounded, since both have four digits: 0.9 lies 0.1 below 1, and not more.
    below = value is not None and of_pool is not None and round(of_pool - value, 4) > WELL_BELOW
    return shaded(value, *((" ", flag("▼", ""), el("span", "well below the pool", class_="vh")) if below else ()))
