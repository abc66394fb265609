"""Pictures of a bench for ``docs/pictures``: those of `celljury evaluate`, and the ROC curves of unseen cells side by side."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_runs import over_cells

from celljury.evaluate import cells_of
from celljury.evaluation_scores import unseen_part
from celljury.report.evaluation_figures import _plain, draw_evaluation
from celljury.report.figure_style import MUTED, TYPE_COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from bench_runs import Case

ALPHA = 0.05
PREFIX = "bench_"


def draw_calls(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Draw risk against coverage, reliability and error by depth of the calls of all pairs."""
    with tempfile.TemporaryDirectory() as name:
        for path in draw_evaluation(Path(name), tables, alpha=ALPHA, unseen={}):
            if path.suffix == ".png":
                (folder / f"{PREFIX}{path.name}").write_bytes(path.read_bytes())


def draw_rocs(folder: Path, cases: Mapping[str, Case]) -> None:
    """Draw the ROC curve of 1 - p_seen for each pair with a type left out."""
    figure = new_figure(width=5.2, height=6.0)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.5, label="chance")
    for i, (name, case) in enumerate(cases.items()):
        made, curve = _roc(case)
        if curve is None:
            continue
        colour = TYPE_COLOURS[i % len(TYPE_COLOURS)]
        label = f"{name}, {' and '.join(made['types'])}: {made['auroc'].value:.3f}"
        panel.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=colour, linewidth=1.8, label=label)
        panel.plot(made["false_unseen"].value, made["caught"].value, marker="D", markersize=6, color=colour,
                   linestyle="none")  # fmt: skip
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_aspect("equal")
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    _plain(panel, title="1 - p_seen; diamonds: called unseen at eps 0.05", x="share of the seen that is flagged",
           y="share of the unseen that is flagged")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        for path in save_figure(figure, Path(name) / "unseen_roc").values():
            if path.suffix == ".png":
                (folder / f"{PREFIX}{path.name}").write_bytes(path.read_bytes())


def _roc(case: Case) -> tuple[dict[str, Any], pd.DataFrame | None]:
    cells = cells_of(case.run, case.ontology, case.truth, over_cells(len(case.truth)))
    return unseen_part(cells, case.terms)
