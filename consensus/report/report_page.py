"""A run's report: one page that loads nothing, warnings first, then all that is known of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celljury.markup import bulleted, el, joined
from celljury.report.page_blocks import warnings_of
from celljury.report.page_frame import page_of
from celljury.report.page_script import SORT
from celljury.report.page_style import REPORT
from celljury.report.report_evaluation import evaluation_intro
from celljury.report.report_first import first_page
from celljury.report.report_origin import limits_block, methods_block, origin_block
from celljury.report.report_parts import part_blocks, places

if TYPE_CHECKING:
    from celljury.report.report_content import Content

FEW_WARNINGS = 3
"""More are folded: the first page follows."""


def report_page(content: Content) -> str:
    """Return the page."""
    record = content.record
    name = content.counted.run.folder.resolve().name
    present = [member["name"] for member in record["members"] if not member["absent"]]
    alpha = "" if record.get("alpha") is None else f", alpha {100 * record['alpha']:g} %"
    about = (
        f"{content.counted.n_cells:,} cells · {len(present)} of {len(record['members'])} members · tier {record['tier']}{alpha}"
        f" · Cell Ontology {record['ontology']['release']} · "
        + ("calls and curators' decisions" if content.counted.source == "final" else "calls, no decision applied")
    )
    # Where all is well, that is said in the line of notes, and the first page begins higher.
    warnings = warnings_of(content.warnings, few=FEW_WARNINGS) if content.warnings else None
    first = first_page(content.glance, record)
    if not content.warnings:
        first = joined((first,))
    notes = el(
        "section", el("h2", "Notes", id="notes"), bulleted(content.notes), class_="card", aria_labelledby="notes"
    )
    blocks = {
        "warnings": warnings,
        "glance": first,
        "notes": notes if content.notes else None,
        **part_blocks(content, before={"evaluation": evaluation_intro(content.evaluation, content.truth)}),
        "methods": methods_block(content),
        "limits": limits_block(content),
        "origin": origin_block(content),
    }
    return page_of(
        kind="celljury report",
        subject=name,
        title=f"{name}: {content.counted.n_cells:,} cells",
        about=about,
        places={
            "warnings": "Warnings", "glance": "At a glance", "notes": "Notes", **places(), "methods": "Methods",
            "limits": "Not promised", "origin": "Origin",
        },
        blocks=blocks,
        footer=f"celljury, {content.made}. This file holds all it shows and asks for nothing; what was made with it is in"
        " report.json.",
        style=REPORT,
        script=SORT,
        images=True,
    )  # fmt: skip
