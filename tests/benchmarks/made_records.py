"""What ``run.json`` says, cut to what texts on a run read; numbers are those of the runs that the docs show."""

from __future__ import annotations

import copy
from typing import Any

MEMBERS: list[dict[str, Any]] = [
    {"name": "logistic", "version": "scikit-learn 1.9.1", "settings": {"components": 30}, "absent": None},
    {"name": "celltypist", "version": "celltypist 1.7.1", "settings": {"model": None}, "absent": None},
    {"name": "symphony", "version": "symphonypy 0.2.4", "settings": {"neighbors": 15}, "absent": None},
    {"name": "singler", "version": "singler 0.5.0", "settings": {"markers": 25}, "absent": None},
    {
        "name": "scvi_knn", "version": "scvi-tools 1.4.2", "absent": None,
        "settings": {"surgery_epochs": 10, "surgery_min_share": 0.5, "neighbors": 15},
    },
    {
        "name": "scanvi", "version": "scvi-tools 1.4.2", "absent": None,
        "settings": {"surgery_epochs": 10, "surgery_min_share": 0.5, "neighbors": 15, "vote": "classifier"},
    },
]  # fmt: skip
CALIBRATION: dict[str, Any] = {
    "unit": "donor",
    "donors": [f"d{i}" for i in range(12)],
    "n_cells": 4000,
    "settings": {
        "alpha": 0.05,
        "loss": "strict",
        "pool": "reliability",
        "prior_votes": 20.0,
        "eps": 0.05,
        "unseen": True,
    },
    "thresholds": [{"value": 0.8652800000000002, "tier": "cluster-t", "n_donors": 12, "n_cells": 4000, "scope": "all"}],
    "evidence": {"members": [{"name": member["name"], "method": "temperature"} for member in MEMBERS]},
    "signals": [["residual", "logistic"], ["mahalanobis", "logistic"], ["relative", "logistic"]],
    "matching": {"matched": False},
    "exchangeable": {"checked": True, "unlike": []},
    "notes": [],
    "n_unseen": 26,
}
ANNOTATED: dict[str, Any] = {
    "command": "annotate",
    "versions": {"celljury": "0.1.0", "python": "3.11.7", "anndata": "0.12.19"},
    "config": {"seed": 0, "reduce": {"rule": "auto", "quorum": 0.5, "on": "votes", "tail": 0.05}},
    "ontology": {"release": "2026-03-26", "extra_terms": 0},
    "query": {"n_cells": 1353, "batch": "sample", "batches": ["s1", "s2"]},
    "genes": {"n_reference": 2000, "n_shared": 1765, "share": 0.912},
    "members": MEMBERS,
    "rule": "calibrated",
    "tier": "cluster-t",
    "alpha": 0.05,
    "promise": "Aimed at ...",
    "calibration": CALIBRATION,
    "reference_terms": ["CL:0000236", "CL:0000084"],
}
VOTED: dict[str, Any] = {
    "command": "vote",
    "versions": {"celljury": "0.1.0", "python": "3.11.7", "anndata": "0.12.19"},
    "config": {"seed": 0, "reduce": {"rule": "auto", "quorum": 0.5, "on": "votes", "tail": 0.05}},
    "ontology": {"release": "2026-03-26", "extra_terms": 2},
    "query": {"n_cells": 3},
    "members": [{"name": name, "absent": None} for name in ("azimuth", "author_label")],
    "rule": "lca",
    "tier": "none",
    "alpha": None,
    "promise": "Labels of other tools ...",
}
REVIEW = {"n_cells": 1353, "n_reviewed": 172, "n_changed": 65, "n_conflict": 4, "n_items": 11, "n_reviewers": 2}
EVALUATION: dict[str, Any] = {
    "truth": {"column": "cell_type", "n_known": 1300, "n_types": 9},
    "intervals": {"over": "donors", "n_units": 6, "level": 0.95},
    "calls": {
        "accuracy": {"value": 0.927907, "low": 0.904651, "high": 0.951221, "n": 1300},
        "macro_f1": {"value": 0.754569, "low": None, "high": None, "n": 1300},
        "covered_error": {"value": 0.028, "low": 0.009, "high": 0.0441, "n": 1204},
        "coverage": {"value": 0.926, "low": 0.897, "high": 0.95, "n": 1300},
    },
}


def annotated(**changes: Any) -> dict[str, Any]:
    """A record of `celljury annotate`; ``section__key=value`` changes what lies deeper."""
    return _changed(ANNOTATED, changes)


def voted(**changes: Any) -> dict[str, Any]:
    """A record of `celljury vote`."""
    return _changed(VOTED, changes)


def _changed(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(record)
    for path, value in changes.items():
        *sections, key = path.split("__")
        part = made
        for section in sections:
            part = part[section]
        part[key] = value
    return made
