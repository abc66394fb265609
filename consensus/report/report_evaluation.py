"""What an evaluation found, in a report: its statements, and the rules on the same votes as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.markup import Html, bulleted, el
from celljury.report.evaluation_page import COLUMNS, MEANINGS, rule_name, statements
from celljury.report.page_tables import table_block
from celljury.report.table import Table, TableColumn

if TYPE_CHECKING:
    from collections.abc import Mapping


def evaluation_intro(report: Mapping[str, Any] | None, truth: str) -> list[Html]:
    """Return what stands before the figures of an evaluation; nothing where no types are known."""
    made = []
    if report is not None:
        made += [bulleted(statements(report)), table_block(rules_table(report), files="evaluation/evaluation.json")]
    elif truth:
        made.append(
            el(
                "p",
                "Errors with intervals, calibration and ranking: ",
                el("code", "celljury evaluate"),
                " on this run.",
            )
        )
    if truth:
        made.append(el("p", f"Confusion tables: known types from {truth}."))
    return made


def rules_table(report: Mapping[str, Any]) -> Table:
    """Return simpler rules on the same votes, this run last."""
    import pandas as pd

    rows = pd.DataFrame(
        [
            {
                "rule": rule_name(row["name"]),
                **{name: row[name]["value"] for name in COLUMNS},
                "n": row["accuracy"]["n"],
            }
            for row in report["baselines"]
        ]
    )
    rows[list(COLUMNS)] = rows[list(COLUMNS)].astype(float)
    return Table(
        name="rules",
        title="This run beside simpler rules on the same votes",
        about=" ".join(MEANINGS),
        columns=(
            TableColumn("rule", "rule"),
            *(TableColumn(name, head, "", "number", 3) for name, head in COLUMNS.items()),
            TableColumn("n", "n", "cells whose type is known", "count"),
        ),
        rows=rows,
        n_last=1,
    )
