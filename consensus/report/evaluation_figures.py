"""Figures of an evaluation: risk against coverage, reliability, ROC of unseen cells, error by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.report.figure_style import (
    CALL,
    CAMPS,
    GREY,
    INK,
    MUTED,
    SMALL,
    STRANGE,
    TEXT,
    WIDTH,
    new_figure,
    save_figure,
    styled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

BLUE, ORANGE = CALL, CAMPS[0]


def draw_evaluation(
    folder: Path, tables: Mapping[str, pd.DataFrame], *, alpha: float | None, unseen: Mapping[str, Any]
) -> list[Path]:
    """Draw the figures for which there are numbers, as PNG and SVG, and return the paths.

    Parameters
    ----------
    tables
        ``risk_coverage``, ``reliability``, ``by_depth`` and, where there are unseen cells, ``unseen_roc``.
    alpha
        The promised error, drawn as a line; None = no promise.
    unseen
        That part of the report: where the run itself stands on the ROC curve.
    """
    made = []
    if len(tables["risk_coverage"]):
        made += _saved(_draw_risk(tables["risk_coverage"], alpha), folder / "risk_coverage")
    if len(tables["reliability"]):
        made += _saved(_draw_reliability(tables["reliability"]), folder / "reliability")
    if len(tables["by_depth"]):
        made += _saved(_draw_depth(tables["by_depth"], alpha), folder / "error_by_depth")
    if "unseen_roc" in tables:
        made += _saved(_draw_roc(tables["unseen_roc"], unseen), folder / "unseen_roc")
    return made


def _saved(figure: Any, stem: Path) -> list[Path]:
    return list(save_figure(figure, stem, formats=(".png", ".svg")).values())


def _plain(panel: Any, *, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=TEXT + 0.5, loc="left", color=INK)
    panel.set_xlabel(x, color=INK)
    panel.set_ylabel(y, color=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(colors=INK, labelsize=SMALL)


def _promise(panel: Any, alpha: float | None) -> None:
    if alpha is not None:
        panel.axhline(alpha, color=STRANGE, linestyle="--", linewidth=1.2, label=f"promised error {alpha:.0%}")


@styled
def _draw_risk(curve: pd.DataFrame, alpha: float | None) -> Any:
    figure = new_figure(width=WIDTH, height=3.2)
    panels = figure.subplots(1, 2, sharey=True)
    total = float(curve["risk"].iloc[-1])
    for panel, x, y, name in (
        (panels[0], "coverage", "risk", "share of labelled cells kept"),
        (panels[1], "information", "information_risk", "bits of the calls kept, share of the truth's"),
    ):
        shown = curve[curve[x].notna() & curve[y].notna()]
        panel.plot(shown[x], shown[y], color=BLUE, linewidth=1.8, marker="o" if len(shown) < 12 else None, markersize=4,
                   label="ranked by the run's score")  # fmt: skip
        panel.set_xlim(0, 1.02)
        _promise(panel, alpha)
        _plain(panel, title="", x=name, y="share of them that is wrong" if panel is panels[0] else "")
    kept = np.linspace(0.001, 1, 400)
    panels[0].plot(kept, np.maximum(kept - (1 - total), 0) / kept, color=MUTED, linestyle=":", linewidth=1.5,
                   label="all errors last (best possible)")  # fmt: skip
    high = max(total, alpha or 0, *(float(np.nanmax(curve[y], initial=0)) for y in ("risk", "information_risk")))
    panels[0].set_ylim(0, min(1.05, max(1.15 * high, 0.02)))
    panels[0].set_title("error as calls with less support are left out", fontsize=TEXT + 0.5, loc="left", color=INK)
    panels[1].set_title("the same, each call weighed by its information", fontsize=TEXT + 0.5, loc="left", color=INK)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False, fontsize=SMALL
    )
    return figure


@styled
def _draw_reliability(bins: pd.DataFrame) -> Any:
    figure = new_figure(width=3.9, height=4.4)
    panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    # Supports lie mostly near 1: the axes begin at the tenth below all points.
    lowest = min(float(bins["low_support"].min()), float(np.nanmin(bins[["low", "share_right"]].to_numpy())))
    start = np.floor(10 * max(lowest, 0)) / 10 if lowest < 1 else 0.9
    panels[0].plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.5, label="means what it says")
    _bars(panels[0], bins["mean_support"], bins["share_right"], bins, label="bin of cells, 95 % interval")
    margin = 0.02 * (1 - start)
    panels[0].set_xlim(start - margin, 1 + margin)
    panels[0].set_ylim(start - margin, 1 + margin)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False, fontsize=SMALL
    )
    _plain(
        panels[0],
        title=f"is support the probability of being right? n = {int(bins['n'].sum()):,} cells",
        x="",
        y="share right (truth at or below)",
    )
    low, high, n = (bins[name].to_numpy(np.float64) for name in ("low_support", "high_support", "n"))
    width = np.maximum(high - low, 0.012 * (1 - start))
    panels[1].bar((high + low) / 2, n, width=width, color=GREY, edgecolor="white", linewidth=0.5)
    _plain(panels[1], title="", x="support of the call", y="cells")
    return figure


def _bars(panel: Any, x: Any, y: Any, rows: pd.DataFrame, *, label: str) -> None:
    """Draw points with their intervals."""
    at, value = np.asarray(x, np.float64), np.asarray(y, np.float64)
    low, high = (np.nan_to_num(np.abs(value - rows[name].to_numpy(np.float64))) for name in ("low", "high"))
    panel.errorbar(
        at, value, yerr=[low, high], fmt="o", color=BLUE, markersize=5, capsize=2.5, linewidth=1.2, label=label
    )


@styled
def _draw_depth(rows: pd.DataFrame, alpha: float | None) -> Any:
    figure = new_figure(width=1.2 + max(0.46 * len(rows), 3.0), height=3.2)
    panel = figure.subplots()
    _bars(panel, rows["depth"], rows["error"], rows, label="error, 95 % interval")
    panel.plot(rows["depth"], rows["error_lenient"], linestyle="none", marker="_", markersize=14, color=ORANGE,
               label="lenient: truth only coarser is no error")  # fmt: skip
    _promise(panel, alpha)
    top = max(float(np.nanmax(rows[["error", "high"]].to_numpy(), initial=0)), alpha or 0, 0.02)
    panel.set_ylim(-0.03 * top, 1.42 * top)
    panel.set_xlim(rows["depth"].min() - 0.6, rows["depth"].max() + 0.6)
    panel.set_xticks(rows["depth"], [f"{row.depth}\n{row.n:,}" for row in rows.itertuples()])
    panel.legend(frameon=False, fontsize=SMALL, loc="upper left")
    title = f"error by depth of the call, n = {int(rows['n'].sum()):,} cells"
    _plain(panel, title=title, x="depth of the call; below it, cells", y="share not at or below the call")
    return figure


@styled
def _draw_roc(curve: pd.DataFrame, unseen: Mapping[str, Any]) -> Any:
    figure = new_figure(width=3.9, height=3.9)
    panel = figure.subplots()
    panel.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1.5, label="chance")
    panel.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=BLUE, linewidth=1.8,
               label=f"1 - p_seen, area {unseen['auroc']['value']:.3f}")  # fmt: skip
    if "caught" in unseen:
        panel.plot(unseen["false_unseen"]["value"], unseen["caught"]["value"], marker="D", markersize=7, color=ORANGE,
                   linestyle="none", label="called unseen by the run")  # fmt: skip
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    panel.set_aspect("equal")
    panel.legend(frameon=False, fontsize=SMALL, loc="lower right")
    n = f"{unseen['n_unseen']:,} cells of unseen types, {unseen['n_seen']:,} of seen ones"
    _plain(panel, title=n, x="share of the seen that is flagged", y="share of the unseen that is flagged")
    return figure
