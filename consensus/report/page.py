"""What a run found, as lines for a terminal and as plain values for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from celljury.report.card_words import statement_lines, warning_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from celljury.run import Run

FILES = (
    ("report.html", "the report: one page to read and to send on"),
    ("calls.parquet", "one row a cell"),
    ("queue.tsv", "review items, most useful first"),
    ("tables/summary.tsv", "cells at one ontology level"),
    ("tables/terms.tsv", "cells per called term"),
    ("figures/cells.png", "cells by call, agreement and depth"),
    ("figures/member_agreement.png", "how far members agree"),
    ("query.celljury.h5ad", "the query with the columns added"),
    ("votes", "what every member said of every cell"),
    ("run.json", "versions, settings, hashes, timings"),
    ("log.jsonl", "what happened"),
)


def member_lines(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line per member: present with its version and time, or absent and why."""
    width = max(len(member["name"]) for member in members)
    lines = []
    for member in members:
        if member["absent"]:
            lines.append(f"  {member['name']:<{width}}  absent: {member['absent']}")
        else:
            spent = sum(member.get("cpu_seconds", {}).values())
            detail = f"  {member['version']}, {spent:.1f} CPU s" if member.get("version") else ""
            lines.append(f"  {member['name']:<{width}}  present{detail}")
    return lines


def members_text(run: Run) -> list[str]:
    """Return who voted."""
    members = run.record["members"]
    n_present = sum(not member["absent"] for member in members)
    return [f"{n_present} of {len(members)} members present:", *member_lines(members)]


def notes_text(run: Run) -> list[str]:
    """Return what a reader must know before the calls: warnings, notes, an empty line; nothing where there are none."""
    warnings, notes = run_notes(run)
    lines = [*warning_lines(warnings), *(["Notes:", *(f"  {text}" for text in notes)] if notes else [])]
    return [*lines, ""] if lines else []


def run_notes(run: Run) -> tuple[list[str], list[str]]:
    """Return the warnings and the notes of a run; absent members are not among them."""
    found: Mapping[str, Any] = run.record.get("calibration") or {}
    unlike = found.get("exchangeable", {}).get("unlike", [])
    warnings = list(run.record.get("warnings", []))
    if unlike:
        n_batches = len(run.record["query"]["batches"])
        warnings.insert(
            0,
            f"{len(unlike)} of {n_batches} batches are unlike the held-out cells, so no error rate is promised for theirs:"
            f" {', '.join(unlike)}. Why stands below, with the promise.",
        )
    return warnings, list(found.get("notes", []))


def summary_text(run: Run) -> list[str]:
    """Return the table of called terms, its total, what is promised and what is not."""
    table = pd.read_csv(run.folder / "tables" / "terms.tsv", sep="\t", keep_default_na=False)
    width = max(int(table["label"].str.len().max()), len("all cells"))
    ids = max(int(table["term"].str.len().max()), 11)
    lines = [
        f"{'term':<{ids}} {'label':<{width}} {'cells':>9} {'depth':>6} {'agreement':>10} {'same term':>10} {'to review':>10}"
    ]
    for row in table.itertuples():
        lines.append(
            f"{row.term:<{ids}} {row.label:<{width}} {row.n_cells:>9,} {row.mean_depth:>6.1f} {row.mean_agreement:>10.2f}"
            f" {row.mean_top_share:>10.2f}"
            f" {row.review_share:>10.0%}"
        )
    n_cells, n_review = int(table["n_cells"].sum()), int(table["n_review"].sum())
    lines.append(
        f"{'':<{ids}} {'all cells':<{width}} {n_cells:>9,} {'':>6} {'':>10} {'':>10} {n_review / max(n_cells, 1):>10.0%}"
    )
    record = run.record
    lines += ["", "agreement: share of votes at or below the call. same term: largest share of votes on one term."]
    if table["n_unseen"].any():
        lines.append("unseen@TERM: cells that fit no type of the reference, and are new somewhere below TERM.")
    lines += ["", *statement_lines(record, lead=f"Cell Ontology {record['ontology']['release']}. ")]
    return lines


def files_text(run: Run, *, extra: Mapping[str, Path]) -> list[str]:
    """Return where the files are."""
    lines = [f"Files in {run.folder}:"]
    lines += [f"  {name:<30} {what}" for name, what in FILES if (run.folder / name).exists()]
    lines += [f"The {name}: {path}" for name, path in extra.items()]
    if n_review := outcome(run)["n_review"]:
        lines.append(f"{n_review:,} cells wait for a curator: celljury review {run.folder}")
    return lines


def outcome(run: Run) -> dict[str, Any]:
    """Return the run's outcome as plain values."""
    table = pd.read_csv(run.folder / "tables" / "terms.tsv", sep="\t", keep_default_na=False)
    warnings, notes = run_notes(run)
    return {
        "run": str(run.folder),
        "n_cells": int(table["n_cells"].sum()),
        "n_review": int(table["n_review"].sum()),
        "n_unseen": int(table["n_unseen"].sum()),
        "rule": run.record.get("rule"),
        "tier": run.record["tier"],
        "alpha": run.record.get("alpha"),
        "promise": run.record["promise"],
        "warnings": warnings,
        "notes": notes,
        "members": {member["name"]: member["absent"] or "present" for member in run.record["members"]},
        "terms": table[["term", "label", "n_cells"]].to_dict("records"),
    }
