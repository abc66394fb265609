"""A comparison in words: numbers first, then the largest transitions with why, then what the two records say differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celljury.compare.causes import MEANING as CAUSE_MEANING
from celljury.compare.causes import Cause
from celljury.compare.kinds import MEANING, Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from celljury.compare.make import Comparison

SHOWN: Final = 12
"""Transitions and terms that are shown; the tables hold all."""


def summary_lines(found: Comparison) -> list[str]:
    """Return what changed and why, for a terminal."""
    n = found.n_common
    lines = [f"{n:,} cells are in both runs (A has {found.n_a:,}, B has {found.n_b:,})."]
    for letter, run in (("A", found.a), ("B", found.b)):
        lines.append(f"  {letter}  {run.folder}: {run.about}")
    for said, count in (("A", found.n_only_a), ("B", found.n_only_b)):
        if count:
            lines.append(f"  {count:,} cells are only in {said}; cells.parquet lists them.")
    lines += ["", *_kinds(found), ""]
    if found.n_changed:
        lines += ["Why (a cell may have several causes):", *_causes(found), "", found.replay_note, ""]
        lines += [*_transitions(found.transitions), ""]
    moved = found.transitions.loc[found.transitions["moved"], "n_cells"].sum()
    if moved:
        lines += [f"{moved:,} cells' two terms lie otherwise to each other in the two releases.", ""]
    if found.term_changes:
        lines += [*_terms(found), ""]
    lines += _records(found)
    return lines


def _kinds(found: Comparison) -> list[str]:
    rows = []
    bits = found.transitions.assign(total=found.transitions["bits"] * found.transitions["n_cells"])
    for kind in Change:
        count = found.n_by_change[kind.code]
        if count or kind == Change.SAME:
            total = float(bits.loc[bits["change"] == kind.code, "total"].sum())
            gained = f"  {total:+,.1f} bits" if abs(total) >= 0.05 else ""
            rows.append(f"{count:>9,}  {100 * count / max(found.n_common, 1):5.1f} %  {MEANING[kind]}{gained}")
    return rows


def _causes(found: Comparison) -> list[str]:
    rows = []
    for cause in Cause:
        if count := found.n_by_cause[cause.code]:
            who = found.members_by_cause.get(cause.code, {})
            names = ", ".join(f"{name} {n:,}" for name, n in who.items())
            rows.append(f"{count:>9,}  {cause.code:<13}  {CAUSE_MEANING[cause]}{f' ({names})' if names else ''}")
    return rows


def _transitions(table: pd.DataFrame) -> list[str]:
    changed = table[table["change"] != Change.SAME.code]
    aside = changed["change"].isin([Change.SUPPORT.code, Change.REVIEW.code])
    head = "Most frequent changes:"
    if not aside.all():  # a call that changed is worth more of the reader's time than its support
        changed, head = changed[~aside], "Most frequent changes of the call:"
    keys = ["term_a", "label_a", "status_a", "term_b", "label_b", "status_b", "change", "bits", "why", "members"]
    grouped = changed.groupby(keys, sort=False)["n_cells"].sum().reset_index()
    grouped = grouped.sort_values(["n_cells", *keys], ascending=[False] + [True] * len(keys), kind="stable")
    lines = [head]
    for row in grouped.head(SHOWN).to_dict("records"):
        first, second = (_call({str(k): v for k, v in row.items()}, letter) for letter in "ab")
        what = MEANING[Change[str(row["change"]).upper()]]
        what += f", {row['bits']:+.1f} bits" if abs(row["bits"]) >= 0.05 else ""
        cause = str(row["why"]) + (f": {row['members'].replace(';', ', ')}" if row["members"] else "")
        arrow = first if first == second else f"{first} -> {second}"
        lines.append(f"{row['n_cells']:>9,}  {arrow}  ({what}; {cause or 'no cause'})")
    if len(grouped) > SHOWN:
        left = int(grouped["n_cells"].iloc[SHOWN:].sum())
        lines.append(f"{left:>9,}  in {len(grouped) - SHOWN:,} further ways: transitions.tsv")
    return lines


def _call(row: dict[str, Any], letter: str) -> str:
    term, label, status = (str(row[f"{name}_{letter}"]) for name in ("term", "label", "status"))
    if status == "unseen":
        return f"unseen under {label}" if term else "unseen"
    return f"{label} {term}" if term else "no call"


def _terms(found: Comparison) -> list[str]:
    releases = found.a.release, found.b.release
    lines = [f"Terms of these runs that {releases[1]} changed against {releases[0]}:"]
    label = dict(zip(found.terms["term"], found.terms["label"], strict=True))
    # Called terms first: voted ones may never reach a call.
    ordered = sorted(found.term_changes, key=lambda row: (row.term not in label, row.term))
    for row in ordered[:SHOWN]:
        lines.append(f"  {row.term} {row.new_label or row.old_label}: {row.sentence(*releases)}")
    if len(ordered) > SHOWN:
        lines.append(f"  and {len(ordered) - SHOWN:,} more: compare.json")
    return lines


def _records(found: Comparison) -> list[str]:
    lines = [found.jury]
    for part in ("settings", "members", "ontology", "decision", "query", "reference", "genes", "versions", "counted"):
        rows = found.differences.get(part, [])
        if part == "decision":  # long texts stand in compare.json
            rows = [row for row in rows if row[0] != "promise"]
        if rows:
            lines.append(f"Other {part}: " + "; ".join(_difference(row, part) for row in rows))
    for said, at in (("A", 1), ("B", 2)):
        lines += [f"Only {said} warns: {row[0]}" for row in found.differences.get("warnings", []) if row[at]]
    if not found.differences:
        lines.append("The two records say the same.")
    return lines


def _difference(row: Sequence[Any], part: str) -> str:
    name, first, second = row
    if name == "sha256":
        return "contents (sha256)"
    shown = [_short(value, "none" if part == "settings" else "-") for value in (first, second)]
    return f"{name} {shown[0]} -> {shown[1]}"


def _short(value: Any, nothing: str) -> str:
    if value is None:
        return nothing
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value[:4]) + (f" and {len(value) - 4} more" if len(value) > 4 else "")
    text = str(value)
    return text if len(text) <= 90 else f"{text[:87]}..."


# The page ---------------------------------------------------------------------------------------------------------------


def page(found: Comparison) -> str:
    """Return the comparison as Markdown."""
    share = {kind: found.n_by_change[kind.code] / max(found.n_common, 1) for kind in Change}
    counts = [
        [MEANING[kind], f"{found.n_by_change[kind.code]:,}", f"{100 * share[kind]:.1f} %"]
        for kind in Change
        if found.n_by_change[kind.code]
    ]
    lone = [[f"only in {said}", f"{n:,}", ""] for said, n in (("A", found.n_only_a), ("B", found.n_only_b)) if n]
    causes = [
        [cause.code, f"{found.n_by_cause[cause.code]:,}", CAUSE_MEANING[cause],
         ", ".join(f"{name} {n:,}" for name, n in found.members_by_cause.get(cause.code, {}).items())]
        for cause in Cause
        if found.n_by_cause[cause.code]
    ]  # fmt: skip
    parts = [
        "# Two runs compared",
        "",
        *(f"- {letter}: `{run.folder}` ({run.about})" for letter, run in (("A", found.a), ("B", found.b))),
        f"- {found.n_common:,} cells are in both.",
        f"- {found.jury}",
        "",
        "## What changed",
        "",
        *_markdown(["change", "cells", "share"], counts + lone),
    ]
    if causes:
        parts += ["", "## Why", "", found.replay_note, "", *_markdown(["cause", "cells", "meaning", "members"], causes)]
        parts += ["", "## Most frequent", "", "```text", *_transitions(found.transitions), "```"]
    net = found.terms[found.terms["net"] != 0].copy()
    if len(net):
        net = net.reindex(net["net"].abs().sort_values(ascending=False, kind="stable").index).head(SHOWN)
        rows = [
            [" ".join(x for x in (row["status"], row["label"], row["term"]) if x), f"{row['n_cells_a']:,}",
             f"{row['n_cells_b']:,}", f"{row['net']:+,}"]
            for row in net.to_dict("records")
        ]  # fmt: skip
        parts += ["", "## Terms", "", *_markdown(["term", "cells in A", "cells in B", "net"], rows)]
    if found.term_changes:
        parts += ["", "## The releases", "", "```text", *_terms(found), "```"]
    told = [
        [part, name, _short(first, "-"), _short(second, "-")]
        for part, rows in found.differences.items()
        for name, first, second in rows
    ]
    if told:
        parts += ["", "## What the records say differently", "", *_markdown(["part", "name", "A", "B"], told)]
    return "\n".join(parts) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
