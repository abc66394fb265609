"""What a report is made of, found before any of it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celljury.report.counted import Counted
    from celljury.report.figure_style import DrawnFigure
    from celljury.report.report_glance import Glance
    from celljury.report.table import Table


@dataclass(frozen=True, slots=True)
class Content:
    """What a report is made of.

    Attributes
    ----------
    counted
        The run's cells as they were counted.
    warnings, notes
        What a reader must, and may want to, know before the numbers.
    glance
        The numbers of the first page.
    tables, figures
        All of them, in the order in which they were made.
    files
        Name of a table -> its files in words, e.g. ``tables/cells_cell_class (tsv, xlsx)``.
    evaluation
        ``evaluation.json``; None = the run was not set against known types.
    truth
        File and column of the known types behind confusion tables, in words; empty = none were given.
    caption
        What belongs under every table of the run.
    methods
        Paragraphs for a paper.
    references
        What they cite, a reference a line.
    sources
        File -> SHA-256, of what was read.
    made
        When, ISO 8601.
    """

    counted: Counted
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    glance: Glance
    tables: tuple[Table, ...]
    figures: tuple[DrawnFigure, ...]
    files: Mapping[str, str]
    evaluation: Mapping[str, Any] | None
    truth: str
    caption: tuple[str, ...]
    methods: tuple[str, ...]
    references: tuple[str, ...]
    sources: Mapping[str, str]
    made: str

    @property
    def record(self) -> Mapping[str, Any]:
        """What ``run.json`` says."""
        return self.counted.run.record
