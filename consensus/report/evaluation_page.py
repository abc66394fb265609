"""An evaluation in words and tables, for a terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.selective import N_BINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILES = (
    ("evaluation.json", "every number with its n and interval"),
    ("evaluation.md", "the tables"),
    ("per_type.tsv", "recall, precision and F1 of each type"),
    ("risk_coverage.png", "error as calls with less support are left out"),
    ("reliability.png", "support against the share that is right"),
    ("unseen_roc.png", "p_seen on types that the reference lacks"),
    ("error_by_depth.png", "error by depth of the call"),
)
RULES = {
    "majority": "majority of votes",
    "popv_ancestor": "ancestor vote (after popV)",
    "popv_ancestor_2": "ancestor vote, 2 forgiven",
    "lca": "lowest common ancestor",
    "run": "this run",
}
COLUMNS = {
    "accuracy": "accuracy", "macro_f1": "macro F1", "at_or_below": "at/below", "covered_error": "error",
    "covered_error_lenient": "lenient", "information_kept": "info kept", "hierarchical_f": "hier. F",
    "coverage": "labelled",
}  # fmt: skip
MEANINGS = (
    "accuracy: the call is the true term itself. at/below: the true term is the call or lies below it. error: of the"
    " labelled cells, those whose true term is neither; lenient: without those whose truth is only coarser than the call."
    " info kept: bits of the call over bits of the truth, 0 where wrong or not labelled. hier. F: F over ancestor sets"
    " (Kiritchenko 2005). labelled: cells with a label.",
    "Rules on the same votes as this run; none of them was calibrated. Ties of the majority go to the more informative"
    " term, then the smaller id. Ancestor vote: our reading of popV (Ergen 2024, doi:10.1038/s41588-024-01993-3). Top"
    " probability: of the members' mean, no label below the threshold.",
)


def evaluation_text(report: Mapping[str, Any]) -> list[str]:
    """Return the table of rules and the statements, as lines for a terminal."""
    rows = _rule_rows(report)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
             for row in rows]  # fmt: skip
    return [*table, "", *MEANINGS, "", *statements(report)]


def files_lines(folder: Any) -> list[str]:
    """Return where an evaluation's files are."""
    present = [(name, what) for name, what in FILES if (folder / name).exists()]
    return [f"Files in {folder}:", *(f"  {name:<20} {what}" for name, what in present)]


def _rule_rows(report: Mapping[str, Any]) -> list[list[str]]:
    head = ["rule", *COLUMNS.values(), "n"]
    rows = [
        [rule_name(row["name"]), *(_number(row[name]["value"]) for name in COLUMNS), f"{row['accuracy']['n']:,}"]
        for row in report["baselines"]
    ]
    return [head, *rows]


def rule_name(name: str) -> str:
    """Return a rule as readers see it."""
    if name.startswith("member:"):
        return f"member {name.removeprefix('member:')}"
    return RULES.get(name, name.replace("top_p_", "top probability >= "))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _between(found: Mapping[str, Any], *, share: bool = False) -> str:
    """Return a number with its interval and n."""
    said = _share if share else _number
    if found["value"] is None:
        return f"not defined (n = {found['n']:,})"
    if found["low"] is None:
        return f"{said(found['value'])} (n = {found['n']:,})"
    return f"{said(found['value'])} [{said(found['low'])}, {said(found['high'])}] (n = {found['n']:,})"


def statements(report: Mapping[str, Any]) -> list[str]:
    """Return what was found, a sentence a line."""
    truth, how, calls = report["truth"], report["intervals"], report["calls"]
    n_left = truth["n_cells"] - truth["n_known"]
    lines = [
        f"{truth['n_known']:,} cells of {truth['n_types']} known types ({truth['column']!r} of {truth['file']})"
        + (f"; {n_left:,} without a known type are left out." if n_left else "."),
        f"In brackets: {how['level']:.0%} bootstrap intervals over {how['n_units']:,} {how['over']}"
        + (
            "; cells of one donor are alike, so they say nothing of another donor."
            if how["over"] == "cells"
            else "; few donors make rough intervals."
            if how["n_units"] < 8
            else "."
        ),
        f"Accuracy {_between(calls['accuracy'])}, macro F1 {_between(calls['macro_f1'])}.",
        f"Labelled: {_share(calls['coverage']['value'])} of the cells. Of these {_between(calls['covered_error'], share=True)}"
        f" have a true term that is not at or below the call; lenient {_between(calls['covered_error_lenient'], share=True)}.",
        f"Information kept: {_between(calls['information_kept'], share=True)} of the truth's bits over all cells.",
        *_of_donors(report),
        *_of_ranking(report["selective"]),
        *_of_calibration(report["calibration"], report["tier"]),
        *_of_unseen(report["unseen"]),
    ]
    return lines


def _of_donors(report: Mapping[str, Any]) -> list[str]:
    donors = report["donors"]
    if "absent" in donors:
        return []
    if donors["alpha"] is None:
        return [
            f"Mean error over {donors['n_donors']} donors: {_share(donors['mean_covered_error'])}. This run promised no"
            " error (alpha), so no donor can be above it."
        ]
    return [
        f"Promised error {_share(donors['alpha'])} (tier {report['tier']}): mean over {donors['n_donors']} donors"
        f" {_share(donors['mean_covered_error'])}, {_share(donors['share_above_alpha'])} of the donors above it."
    ]


def _of_ranking(found: Mapping[str, Any]) -> list[str]:
    if not found["n_errors"]:
        return ["No labelled cell is wrong, so there is nothing for a score to rank."]
    return [
        f"Ranking of the {found['n_errors']:,} errors by {found['ranked_by']}: AUROC {_between(found['auroc'])}; area under"
        f" risk-coverage {_between(found['aurc'])}, best possible {_number(found['aurc_best']['value'])}.",
        "Errors found in the lowest 5 / 10 / 20 % of the labelled cells: "
        + " / ".join(_share(found[f"errors_in_lowest_{part}"]["value"]) for part in ("5%", "10%", "20%"))
        + f"; in the {_share(found['needs_review']['value'])} that need review: {_share(found['errors_in_review']['value'])}.",
    ]


def _of_calibration(found: Mapping[str, Any], tier: str | None) -> list[str]:
    if "absent" in found:
        return [f"Calibration: {found['absent']}."]
    plain = " Support was not calibrated in this run (tier none)." if tier == "none" else ""
    return [
        f"Calibration of support: expected calibration error {_between(found['calibration_error'])}, log-loss"
        f" {_between(found['log_loss'])}; mean support {_number(found['mean_support']['value'])}, share right"
        f" {_number(found['share_right']['value'])}.{plain}"
    ]


def _of_unseen(found: Mapping[str, Any]) -> list[str]:
    if "n_unseen" not in found:
        return [f"Unseen types: {found['absent']}."]
    lines = [
        f"Types that the reference lacks: {found['n_unseen']:,} cells ({', '.join(found['types']) or 'none'});"
        f" {found['n_seen']:,} of seen types"
        + (f"; {found['n_open']:,} whose truth is too coarse to tell." if found["n_open"] else ".")
    ]
    if found["n_unseen"]:
        lines.append(f"Of the unseen {_between(found['wrong_label'], share=True)} got a wrong label.")
    if "absent" in found:
        lines.append(f"Rejection: {found['absent']}.")
    if "caught" in found:
        caught = (
            f"Called unseen: {_between(found['caught'], share=True)} of the unseen, "
            if found["n_unseen"]
            else "Called unseen: "
        )
        lines.append(f"{caught}{_between(found['false_unseen'], share=True)} of the seen.")
    if "auroc" in found:
        lines.append(
            f"1 - p_seen: AUROC {_between(found['auroc'])}, false positives at 95 % caught"
            f" {_between(found['fpr_at_95_tpr'], share=True)}."
        )
    if "node_right" in found:
        lines.append(
            f"Node named for the caught: right {_share(found['node_right']['value'])}, none or the root"
            f" {_share(found['node_root_only']['value'])}, wrong {_share(found['node_wrong']['value'])}; information kept of"
            f" the best one that could be named: {_between(found['node_information'], share=True)}."
        )
    return lines


def evaluation_markdown(report: Mapping[str, Any]) -> str:
    """Return the evaluation as Markdown: statements and every table."""
    release = report["ontology"]["release"]
    parts = [
        "# Evaluation", f"Run `{report['run']}`, Cell Ontology {release}, celljury {report['versions']['celljury']}.",
        "\n".join(f"- {line}" for line in statements(report)),
        "## Rules on the same votes", _markdown(_rule_rows(report)), *MEANINGS,
        "## All metrics of the calls", _estimates(report["calls"]),
        "## What the call is to the truth",
        "Exact term, direct parent of it, direct child, sharing a direct parent, none of these.",
        _estimates(report["matches"]),
        "## Types", _type_rows(report["per_type"]),
        "## Depth of the call", _records(report["by_depth"]),
        "## Ranking and review", _estimates(report["selective"]),
        "## Calibration of support", _estimates(report["calibration"]),
        f"Expected calibration error over at most {N_BINS} bins of equal mass; cells of the same support share a bin.",
        _records(report["calibration"]["bins"]),
        "## Types that the reference lacks", "\n".join(_of_unseen(report["unseen"])), _estimates(report["unseen"]),
    ]  # fmt: skip
    if "rows" in report["donors"]:
        parts += ["## Donors", _records(report["donors"]["rows"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *body))


def _estimates(part: Mapping[str, Any]) -> str:
    rows = [
        [name.replace("_", " "), _number(one["value"]), _number(one["low"]), _number(one["high"]), f"{one['n']:,}"]
        for name, one in part.items()
        if isinstance(one, dict) and "low" in one
    ]
    return _markdown([["", "value", "low", "high", "n"], *rows]) if rows else ""


def _type_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [row["label"], row["term"], f"{row['n']:,}",
         *(f"{_number(row[name])} [{_number(row[name + '_low'])}, {_number(row[name + '_high'])}]"
           for name in ("recall", "precision", "f1"))]
        for row in rows
    ]  # fmt: skip
    return _markdown([["type", "term", "n", "recall", "precision", "F1"], *body])


def _records(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    body = [
        [_number(one) if one is None or isinstance(one, float) else str(one) for one in row.values()] for row in rows
    ]
    return _markdown([[name.replace("_", " ") for name in rows[0]], *body])
