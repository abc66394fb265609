"""The parts of a report between its first page and its methods: which tables and figures stand in which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from celljury.markup import Html, el, section
from celljury.report.levels import level_file_stem
from celljury.report.page_figures import figure_block
from celljury.report.page_tables import table_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.report.report_content import Content


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the report.

    Attributes
    ----------
    name, title, place
        Its anchor, its heading, what the link to it says.
    lead
        What it is about.
    pattern
        Names of the tables and figures that belong to it; the first part that matches has them.
    folds
        Of ``table NAME`` and ``figure NAME``: those that open only when they are asked for.
    """

    name: str
    title: str
    place: str
    lead: str
    pattern: str
    folds: str = r"$^"


PARTS: Final = (
    Part(
        "groups", "Cells by sample, donor and condition", "By group",
        "The same cells, divided by where they come from. Every cell is counted once in every table.",
        r"(cells|fractions|composition)_.+_by_.+", r"table cells_.+",
    ),
    Part(
        "donors", "Donors: fractions with their spread", "Donors",
        "Donors, not cells, are what a study repeats: fractions are taken within each donor, then averaged.", r"donors_.+",
    ),
    Part(
        "levels", "Cells by level of the ontology", "Levels",
        "A level is a list of terms; a cell counts under the most specific term of the list at or above its call. Every cell is"
        " counted once at every level, so the rows add up to all cells.",
        r"(cells|shared_terms|composition)_.+", r"table shared_terms_.+",
    ),
    Part("tree", "Where the calls lie in the ontology", "Tree", "", r"ontology_tree.*"),
    Part("cells", "Cells drawn", "Cells", "", r"cells"),
    Part(
        "members", "Members, and how far they agree", "Members",
        "Every member votes on every cell that it can judge. Agreement of members is no proof that they are right: they learned"
        " from the same reference.",
        r"member.*|alluvial.*", r"table member_agreement",
    ),
    Part(
        "review", "Reasons and review", "Review", "", r"reasons.*|review_.*|first_items",
        r"table (reasons_by_term|review_changes)",
    ),
    Part(
        "unseen", "Cells that fit no type of the reference", "Unseen",
        "A cell is unseen where it is stranger than nearly all held-out cells of known types. It may be of a type that the"
        " reference lacks, in a state that it lacks, a doublet or damaged; a curator decides which.",
        r"unseen",
    ),
    Part(
        "evaluation", "Set against known types", "Evaluation", "",
        r"confusion.*|risk_coverage.*|reliability.*|error_by_depth.*|unseen_roc.*|evaluation.*|accuracy.*",
    ),
    Part("more", "More tables and figures", "More", "", r".*"),
)  # fmt: skip
LONG: Final = 60
"""Rows; longer tables open only when they are asked for."""
ORDER: Final = (
    "levels", "groups", "donors", "tree", "cells", "members", "review", "unseen", "evaluation", "more",
)  # fmt: skip
"""As they are read; above, by which is tried first."""


def part_of(name: str) -> str:
    """Return the part that a table or figure stands in."""
    return next(part.name for part in PARTS if re.fullmatch(part.pattern, name))


def part_blocks(content: Content, *, before: dict[str, Sequence[Html]]) -> dict[str, Html | None]:
    """Return the parts in their order; None = there is nothing to say in one.

    Parameters
    ----------
    before
        Name of a part -> what stands in it before its figures and tables.
    """
    parts = {part.name: part for part in PARTS}
    return {name: _block(parts[name], content, before.get(name, ())) for name in ORDER}


def _block(part: Part, content: Content, before: Sequence[Html]) -> Html | None:
    figures = [figure for figure in content.figures if part_of(figure.name) == part.name]
    tables = [table for table in content.tables if part_of(table.name) == part.name]
    if not (figures or tables or before):
        return None
    folds = _folds(part, content)
    shown: list[Html] = []
    hidden: list[Html] = []
    for figure in figures:
        fold = bool(folds.fullmatch(f"figure {figure.name}"))
        (hidden if fold else shown).append(figure_block(figure, fold=fold))
    for table in tables:
        fold = bool(folds.fullmatch(f"table {table.name}")) or len(table.rows) > LONG
        (hidden if fold else shown).append(table_block(table, files=content.files.get(table.name, ""), fold=fold))
    lead = (el("p", part.lead),) if part.lead else ()
    return section(part.title, *lead, *before, *shown, *hidden, name=part.name)


def _folds(part: Part, content: Content) -> re.Pattern[str]:
    """Return what matches the names of what is folded: what the part folds, and much of other levels than the main one."""
    main = level_file_stem(content.glance.main[0])
    others = [level_file_stem(level) for level, _ in content.glance.levels]
    stems = "|".join(re.escape(stem) for stem in others if stem != main) or r"(?!)"
    return re.compile(
        rf"{part.folds}|(figure alluvial|figure composition|table confusion|table fractions)_({stems})(_by_.+)?"
    )


def places() -> dict[str, str]:
    """Return what the links to the parts say."""
    return {part.name: part.place for part in PARTS}
