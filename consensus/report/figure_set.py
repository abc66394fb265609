"""All figures of a report: drawn from what tables count, written as PNG, SVG and PDF, or left out and why."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from celljury.errors import OutputError
from celljury.progress import silent
from celljury.report.figure_agreement import agreement_drawing
from celljury.report.figure_composition import composition_drawing
from celljury.report.figure_evaluation import evaluation_drawn
from celljury.report.figure_flow import flow_drawing
from celljury.report.figure_review import funnel_drawing, reasons_drawing
from celljury.report.figure_stack import counts_by_place
from celljury.report.figure_style import DrawnFigure, save_figure
from celljury.report.figure_tree import tree_drawing
from celljury.report.figures import MAX_DRAWN, cells_drawing, place_cells, placed_cells
from celljury.report.groups import group_stems
from celljury.report.levels import level_file_stem, load_levels
from celljury.report.member_agreement import agreement_of
from celljury.report.reason_counts import reason_counts
from celljury.report.review_counts import review_counts
from celljury.report.tally import tally
from celljury.report.vote_flows import flows_of
from celljury.report.vote_patterns import vote_patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from celljury.progress import Progress
    from celljury.report.counted import Counted, Groups
    from celljury.report.figure_style import Drawing
    from celljury.report.levels import Level
    from celljury.report.vote_patterns import VotePatterns

    Step = tuple[str, Callable[[], Drawing | None], str]

logger = logging.getLogger(__name__)


def draw_report_figures(
    counted: Counted,
    levels: Sequence[Level],
    *,
    folder: Path,
    evaluation: Path | None = None,
    progress: Progress = silent,
) -> list[DrawnFigure]:
    """Draw every figure that has something to show and return them in the order of a report.

    What has nothing to show is left out, and the log says why. Figures of an evaluation are those that it left: their
    paths lie in its folder.

    Parameters
    ----------
    levels
        A composition and the flow of votes are drawn for each.
    folder
        Where the files go; made if it is not there.
    evaluation
        Folder of `celljury evaluate`; None, or one that is not there = no such figures.

    Raises
    ------
    OutputError
        If a file cannot be written.
    UnreadableFileError
        If ``final.parquet`` or the evaluation is damaged.
    """
    steps = _steps(counted, levels)
    drawn = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for i, (name, draw, why_not) in enumerate(steps):
            progress("draw figures", i, len(steps))
            drawing = draw()
            if drawing is None:
                logger.info("figure %s is left out: %s", name, why_not)
                continue
            paths = save_figure(drawing.figure, folder / name, title=drawing.title, alt=drawing.alt)
            drawn.append(DrawnFigure(name, drawing.title, drawing.about, drawing.alt, paths))
        progress("draw figures", len(steps), len(steps))
    except OSError as error:
        if isinstance(error, OutputError) or not isinstance(error.strerror, str):
            raise
        raise OutputError.for_path(folder, error.strerror) from error
    found = [] if evaluation is None else evaluation_drawn(evaluation)
    if not found:
        logger.info("figures of an evaluation are left out: there is none")
    return drawn + found


def _steps(counted: Counted, levels: Sequence[Level]) -> list[Step]:
    """Return name, how to draw it, and why it may be missing, of every figure."""
    ontology = counted.ontology
    patterns = vote_patterns(counted)
    (terms,) = load_levels(ontology, ("term",))
    no_cells, one_place = "the run has no cells", "all cells are of one place at this level, or no member took part"
    steps: list[Step] = []
    for level in levels:
        for groups, stem in ((None, ""), *zip(counted.groups, group_stems(counted.groups), strict=True)):
            name = f"composition_{level_file_stem(level)}{stem and f'_by_{stem}'}"
            steps.append((name, partial(_composition, counted, level, groups, name), no_cells))
    steps.append(
        (
            "ontology_tree",
            lambda: tree_drawing(ontology, counts_by_place(tally(counted, terms).rows)),
            "no cell has a term",
        )
    )
    for level in levels:
        name = f"alluvial_{level_file_stem(level)}"
        steps.append((name, partial(_flow, counted, patterns, level, name), one_place))
    steps += [
        ("member_agreement", partial(_agreement, counted, patterns), "no member took part"),
        ("review_funnel", lambda: funnel_drawing(review_counts(counted)), "no cell needs review"),
        ("reasons_by_term", lambda: reasons_drawing(reason_counts(counted)), "no cell has a reason that others lack"),
        ("cells", lambda: _cells(counted), "the run has no embedding, and labels only or too many cells to make one now"),
    ]  # fmt: skip
    return steps


def _flow(counted: Counted, patterns: VotePatterns, level: Level, name: str) -> Drawing | None:
    flows = flows_of(
        patterns, counted.ontology, None if level.slim is None else level.slim.rollup,
        last="final" if counted.source == "final" else "call",
    )  # fmt: skip
    return flow_drawing(flows, name=name, level=level.title, source=_source(counted))


def _agreement(counted: Counted, patterns: VotePatterns) -> Drawing | None:
    return agreement_drawing(agreement_of(patterns, counted.ontology), counted.n_cells, source=_source(counted))


def _composition(counted: Counted, level: Level, groups: Groups | None, name: str) -> Drawing | None:
    found = tally(counted, level, groups)
    return composition_drawing(
        found.rows, ("",) if groups is None else groups.values, name=name, level=level.title,
        by=None if groups is None else groups.name, source=_source(counted),
    )  # fmt: skip


def _source(counted: Counted) -> str:
    final = " with curators' decisions" if counted.source == "final" else ""
    return f"Calls of the run{final}, Cell Ontology {counted.ontology.source.release}."


def _cells(counted: Counted) -> Drawing | None:
    """Return the cells where the run drew them; where it did not, they are placed now unless they are too many."""
    run = counted.run
    folder = run.folder / "figures"
    placed = placed_cells(folder)
    if placed is None and counted.n_cells <= MAX_DRAWN:
        folder.mkdir(exist_ok=True)
        placed = place_cells(run, folder, embedding=run.record.get("config", {}).get("embedding", "auto"))
    return None if placed is None else cells_drawing(*placed, counted.ontology, n_cells=counted.n_cells)
