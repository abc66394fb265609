"""The figures of an evaluation as a report shows them: taken as `celljury evaluate` left them, with their numbers in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from celljury.errors import UnreadableFileError
from celljury.report.figure_style import DrawnFigure
from celljury.report.figure_text import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def evaluation_drawn(folder: Path) -> list[DrawnFigure]:
    """Return the figures in the folder of an evaluation; none where it has none.

    Raises
    ------
    UnreadableFileError
        If ``evaluation.json`` is damaged.
    """
    path = folder / "evaluation.json"
    if not path.is_file():
        return []
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        said = {name: alt(report) for name, (_, _, alt) in _FIGURES.items()}
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"{path} cannot be read: {error}. Make it again with: celljury evaluate {folder.parent} --truth COLUMN"
        )
        raise UnreadableFileError(message) from error
    drawn = []
    for name, (title, about, _) in _FIGURES.items():
        paths = {suffix: folder / f"{name}{suffix}" for suffix in (".png", ".svg")}
        paths = {suffix: file for suffix, file in paths.items() if file.is_file()}
        if ".png" in paths:
            drawn.append(DrawnFigure(name, title, about, said[name], paths))
    return drawn


def _estimate(found: Mapping[str, Any]) -> str:
    """Return an estimate with its interval."""
    if found["value"] is None:
        return "not defined"
    interval = "" if found["low"] is None else f" (95 % interval {percent(found['low'])} to {percent(found['high'])})"
    return f"{percent(found['value'])}{interval}"


def _risk(report: Mapping[str, Any]) -> str:
    calls, alpha = report["calls"], report["alpha"]
    promised = "" if alpha is None else f"; promised were at most {percent(alpha)}"
    return (
        f"Of the labelled cells {_estimate(calls['covered_error'])} are wrong{promised};"
        f" {_estimate(calls['coverage'])} of the cells with a known type are labelled."
    )


def _reliability(report: Mapping[str, Any]) -> str:
    found = report["calibration"]
    return (
        f"Mean support {_estimate(found['mean_support'])}, share right {_estimate(found['share_right'])}; mean distance of"
        f" the two over {len(found['bins'])} bins {_estimate(found['calibration_error'])}."
    )


def _depth(report: Mapping[str, Any]) -> str:
    rows = [
        f"depth {row['depth']}: {'not defined' if row['error'] is None else percent(row['error'])} of {row['n']:,}"
        for row in report["by_depth"]
    ]
    return f"Share of calls that are wrong, by depth of the call. {'; '.join(rows)}."


def _roc(report: Mapping[str, Any]) -> str:
    found = report["unseen"]
    if "auroc" not in found:
        return ""
    return (
        f"Area under the curve {found['auroc']['value']:.3f}; {found['n_unseen']:,} cells of unseen types,"
        f" {found['n_seen']:,} of seen ones. The run called {_estimate(found['caught'])} of the unseen so, and"
        f" {_estimate(found['false_unseen'])} of the seen."
    )


_FIGURES: Final[Mapping[str, tuple[str, str, Callable[[Mapping[str, Any]], str]]]] = {
    "risk_coverage": (
        "Error as calls with less support are left out",
        "From right to left calls with less support are left out, and the share of the rest that is wrong falls. On the"
        " right each call is weighed by its information.",
        _risk,
    ),
    "reliability": (
        "Is support the probability of being right?",
        "A point is a bin of cells with similar support; on the dotted line support is the share that is right. Below, the"
        " cells of each bin.",
        _reliability,
    ),
    "error_by_depth": (
        "Error by depth of the call",
        "A point is the calls of one depth with its 95 % interval; a dash counts no error where the truth is only coarser.",
        _depth,
    ),
    "unseen_roc": (
        "How well unseen cells are told from seen ones",
        "Cells are ranked by p of belonging to the reference. The diamond is where the run itself stands.",
        _roc,
    ),
}
