"""The tables of pairs with a type left out of the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench_markdown import in_all, interval, number, section, table

if TYPE_CHECKING:
    from collections.abc import Mapping

UNSEEN = """\
The same pairs with one type (U5: two) taken out of the reference; one rule, no setting per pair. Caught: share of the
left-out type's cells with status `unseen`; false-unseen: the same of all other cells, wanted about 5 %. The rule was picked
on thirteen pairs with types left out, these five among them, with an eye on their targets (`consensus/reject.py`): that
the targets are met here is no independent evidence. The left-out types
on S are not among the thirteen, but S is made of the same cells."""


def unseen_parts(unseen: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """Return the sections on left-out types; ``pairs`` says what juries with these types had estimated."""
    return ["## Types that the reference lacks", UNSEEN, _unseen(unseen), _nodes(unseen), _signals(unseen),
            _sums(unseen), _hlca(unseen), _estimates(unseen, pairs)]  # fmt: skip


def _unseen(unseen: Mapping[str, Any]) -> str:
    rows = [
        (name, ", ".join(u["run"]["types"]), f"{u['run']['n_unseen']} of {u['facts']['n_query']}",
         interval(u["run"].get("auroc")), interval(u["run"].get("fpr_at_95_tpr")), interval(u["run"].get("caught")),
         interval(u["run"].get("false_unseen")), interval(u["run"].get("wrong_label")),
         interval(u["run"].get("node_right")), interval(u["run"].get("node_root_only")),
         interval(u["run"].get("node_information")))
        for name, u in unseen.items()
    ]  # fmt: skip
    return table(
        ("pair", "left out", "cells", "AUROC", "false positives at 95 % caught", "caught", "false-unseen",
         "labelled wrong", "node right", "plain", "information kept, of the best node's"), rows,
    )  # fmt: skip


def _nodes(unseen: Mapping[str, Any]) -> str:
    rows = []
    for name, u in unseen.items():
        for row in u["nodes"]:
            said = "nothing said" if row["node"] == "plain" else "yes" if row["right"] else "no"
            rows.append((name, row["truth"], row["node"], str(row["n"]), said))
    return section(
        "Nodes named for the caught cells",
        "Right: the node is an ancestor of the known type. Plain: the cell belongs nowhere, so nothing wrong is said.",
        table(("pair", "known type", "named", "cells", "right"), rows),
    )


def _signals(unseen: Mapping[str, Any]) -> str:
    names = in_all(u["signals"] for u in unseen.values())
    rows = [(f"{name}", *(number(u["signals"].get(name)) for u in unseen.values())) for name in names]
    used = ("the run's 1 - p_seen", *(number((u["run"].get("auroc") or {}).get("value")) for u in unseen.values()))
    return section(
        "Single signals", "AUROC of each signal as members give it, unseen against seen cells; no single one serves.",
        table(("signal", *unseen), [*rows, tuple(f"**{cell}**" for cell in used)]),
    )  # fmt: skip


def _sums(unseen: Mapping[str, Any]) -> str:
    names = in_all(u["sums"] for u in unseen.values())
    rows = [(name, *(number(u["sums"].get(name)) for u in unseen.values())) for name in names]
    return section(
        "Kinds left out of the sum", "AUROC of the sum of strangeness.", table(("sum", *unseen), rows)
    )  # fmt: skip


def _hlca(unseen: Mapping[str, Any]) -> str:
    rows = []
    for name, u in unseen.items():
        if not (h := u["hlca"]):
            continue
        run = u["run"]
        rows.append((
            name, number(h["auroc"]), number(h["published"]["caught"]), number(h["published"]["false_unseen"]),
            number(h["recalibrated"]["threshold"]), number(h["recalibrated"]["caught"]),
            number(h["recalibrated"]["false_unseen"]), number(run["caught"]["value"]),
            number(run["false_unseen"]["value"]),
        ))  # fmt: skip
    if not rows:
        return ""
    return section(
        "The Human Lung Cell Atlas' rule",
        "Weighted-kNN uncertainty of `scvi_knn` (1 - largest mass; Sikkema 2023) above 0.2, and above the held-out cells'"
        " 95 % quantile.",
        table(("pair", "AUROC", "at 0.2: caught", "false-unseen", "recalibrated at", "caught", "false-unseen",
               "run: caught", "false-unseen"), rows),
    )  # fmt: skip


def _estimates(unseen: Mapping[str, Any], pairs: Mapping[str, Any]) -> str:
    whole = {"U1": "P1", "U2": "P1", "U3": "P2", "U4": "P1", "U5": "P1"}
    rows = []
    for name, u in unseen.items():
        own, run = u["own_estimate"], u["run"]
        before = pairs.get(whole[name], {}).get("left_out", {})
        of_type = [before[label] for label in run["types"] if label in before]
        said = "; ".join(f"{row['label']} {number(row['auroc'])} / {number(row['caught'])}" for row in of_type)
        rows.append((
            name,
            f"{number(own['auroc'])} / {number(own['caught'])} / {number(own['false_unseen'])} ({own['n_types']} types)"
            if own else "none",
            said or "none",
            f"{number(run['auroc']['value'])} / {number(run['caught']['value'])} /"
            f" {number(run['false_unseen']['value'])}",
        ))  # fmt: skip
    return section(
        "The jury's own estimate, and what happened",
        "Each jury leaves its own types out, one at a time, by its light members. Third column: what the jury with the"
        " type (P1, P2) estimated for that very type (AUROC / caught).",
        table(("pair", "estimated over its own types: AUROC / caught / false-unseen", "estimated for this type",
               "happened: AUROC / caught / false-unseen"), rows),
    )  # fmt: skip
