"""A run against known types: every metric with its interval, baselines on the same votes, tables and figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from celljury.baselines import baseline_calls
from celljury.errors import OutputError
from celljury.evaluation_calls import Cells, calls_part, depth_table, donor_part, match_part, type_table
from celljury.evaluation_scores import calibration_part, selective_part, unseen_part
from celljury.intervals import N_DRAWS, Resampling
from celljury.ontology.mapping import read_sssom
from celljury.origin import ontology_of
from celljury.provenance import as_dict, now, versions, write_json, write_text
from celljury.report.evaluation_figures import draw_evaluation
from celljury.report.evaluation_page import evaluation_markdown
from celljury.truth import read_truth, reference_terms
from celljury.votes import votes_from_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.run import Run

SEED = 0
# What baselines are compared on; the names are those of `celljury.metrics.METRICS`.
COMPARED = (
    "accuracy", "macro_f1", "at_or_below", "covered_error", "covered_error_lenient", "information_kept",
    "hierarchical_f", "coverage",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    folder
        Where its files are.
    report
        Plain values, as in ``evaluation.json``.
    tables
        ``per_type``, ``risk_coverage``, ``reliability``, ``by_depth`` and, where there are unseen cells, ``unseen_roc``.
    """

    folder: Path
    report: dict[str, Any]
    tables: Mapping[str, pd.DataFrame]


def evaluate(
    run: Run,
    *,
    truth: str,
    donor: str | None = None,
    query: Path | str | None = None,
    label_map: Path | str | None = None,
    seen_types: Path | str | None = None,
    out: Path | str | None = None,
    n_draws: int = N_DRAWS,
    figures: bool = True,
) -> Evaluation:
    """Compare a run's calls with known types and write the folder ``evaluation``.

    Parameters
    ----------
    truth
        Column with the known types: Cell Ontology ids or labels; cells without one are left out.
    donor
        Column with donors: intervals are over donors, and each donor's error is set against alpha.
    query
        File with these columns; the run's ``query.celljury.h5ad`` if None.
    label_map
        SSSOM table for labels that are no names of the ontology.
    seen_types
        File with the reference's types, one a line, where neither run nor jury say them.
    out
        Folder to write; ``RUN/evaluation`` if None. Files of an earlier evaluation in it are replaced.
    n_draws
        Bootstrap draws behind each interval.

    Raises
    ------
    UnreadableFileError, MissingColumnError, CellsError, UnknownLabelError, BatchError
        See `celljury.truth.read_truth`.
    OutputError
        If the folder cannot be written.
    """
    ontology = ontology_of(run)
    mapping = read_sssom(Path(label_map), ontology) if label_map else None
    known = read_truth(
        run, ontology, column=truth, donor=donor, query=Path(query) if query else None, label_map=mapping
    )
    reference = reference_terms(run, ontology, seen_types=Path(seen_types) if seen_types else None, label_map=mapping)
    folder = _make_folder(Path(out) if out else run.folder / "evaluation")
    kept = known.i_term >= 0
    donors = None if known.donor is None else known.donor[kept]
    resampling = Resampling.of(donors, int(kept.sum()), n_draws=n_draws, seed=SEED)
    cells = cells_of(run, ontology, known.i_term, resampling)
    alpha = run.record.get("alpha")
    depths = depth_table(cells)
    types = type_table(cells)
    selective, risk_coverage = selective_part(cells)
    calibration, reliability = calibration_part(cells)
    unseen, roc = unseen_part(cells, reference)
    report: dict[str, Any] = {
        "run": str(run.folder),
        "made": now(),
        "versions": versions(),
        "ontology": as_dict(ontology.source),
        "tier": run.record.get("tier"),
        "alpha": alpha,
        "truth": {
            "file": known.where,
            "column": known.column,
            "n_cells": len(kept),
            "n_known": int(kept.sum()),
            "n_types": len(types),
            "labels": [
                as_dict(row) | {"term": ontology.ids[row.i_term] if row.i_term >= 0 else None} for row in known.rows
            ],
        },
        "intervals": {
            "over": resampling.over, "n_units": resampling.n_units, "n_draws": n_draws, "level": resampling.level,
            "seed": resampling.seed,
        },
        "calls": calls_part(cells),
        "matches": match_part(cells),
        "selective": selective,
        "calibration": calibration | {"bins": _records(reliability)},
        "unseen": unseen,
        "donors": donor_part(cells, donors, known.donors, alpha=alpha),
        "by_depth": _records(depths),
        "per_type": _records(types),
        "baselines": _baselines(run, ontology, cells, kept),
    }  # fmt: skip
    tables = {"per_type": types, "risk_coverage": risk_coverage, "reliability": reliability, "by_depth": depths}
    if roc is not None:
        tables["unseen_roc"] = roc
    found = Evaluation(folder, _plain(report), tables)
    _write(found, figures=figures)
    return found


def cells_of(run: Run, ontology: CellOntology, i_term: NDArray[np.int32], resampling: Resampling) -> Cells:
    """Return a run's calls beside the true terms (n_cells,), without the cells whose truth is not known (-1)."""
    calls = run.calls[i_term >= 0]
    term = _indices(calls["term"], ontology)
    status = calls["status"].astype(str).to_numpy(dtype=str)
    labelled = np.isin(status, ("resolved", "backed_off")) & (term >= 0)
    return Cells(
        ontology=ontology,
        truth=i_term[i_term >= 0],
        term=term,
        call=np.where(labelled, term, np.int32(-1)),
        said_unseen=status == "unseen",
        support=_numbers(calls, "support"),
        agreement=_numbers(calls, "agreement"),
        p_seen=_numbers(calls, "p_seen"),
        needs_review=calls["needs_review"].to_numpy(dtype=bool),
        resampling=resampling,
    )


def _indices(column: pd.Series, ontology: CellOntology) -> NDArray[np.int32]:
    codes, ids = pd.factorize(column.astype(object), use_na_sentinel=True)
    return np.append(ontology.indices([str(one) for one in ids]), np.int32(-1))[codes].astype(np.int32)


def _numbers(calls: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Return a column as float64, NaN where it is empty, or everywhere where an older run does not have it."""
    if name not in calls.columns:
        return np.full(len(calls), np.nan)
    return calls[name].to_numpy(dtype=np.float64, na_value=np.nan)


def _baselines(run: Run, ontology: CellOntology, cells: Cells, kept: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return a row a rule on the same votes, the run's own calls last."""
    parts: dict[str, list[NDArray[np.int32]]] = {}
    for part in run.parts("votes"):
        for name, call in baseline_calls(votes_from_table(part, ontology), ontology).items():
            parts.setdefault(name, []).append(call)
    calls = {name: np.concatenate(found)[kept] for name, found in parts.items()}
    calls = {name: call for name, call in calls.items() if (call >= 0).any() or not name.startswith("member:")}
    return [
        {"name": name} | {key: asdict(value) for key, value in calls_part(cells, call=call, names=COMPARED).items()}
        for name, call in (calls | {"run": cells.call}).items()
    ]


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _plain(value: Any) -> Any:
    """Return values that JSON knows: estimates as objects, numbers to six digits, NaN as null."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.for_path(folder, error.strerror or str(error)) from error
    return folder


def _write(found: Evaluation, *, figures: bool) -> None:
    folder, tables = found.folder, found.tables
    for stem in ("risk_coverage", "reliability", "unseen_roc", "error_by_depth"):  # of an earlier evaluation
        for suffix in (".png", ".svg"):
            folder.joinpath(stem + suffix).unlink(missing_ok=True)
    per_type = tables["per_type"].to_csv(sep="\t", index=False, lineterminator="\n", float_format="%.6g")
    write_text(folder / "per_type.tsv", per_type)
    if figures:
        draw_evaluation(folder, tables, alpha=found.report["alpha"], unseen=found.report["unseen"])
    write_text(folder / "evaluation.md", evaluation_markdown(found.report))
    write_json(folder / "evaluation.json", found.report)
