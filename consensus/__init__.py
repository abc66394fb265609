"""Ensemble consensus cell types on the Cell Ontology."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celljury.api import annotate, fit, vote
    from celljury.calls import Calls
    from celljury.jury import Jury
    from celljury.ontology.graph import CellOntology
    from celljury.ontology.load import load_ontology
    from celljury.run import Run
    from celljury.votes import Votes

__version__ = "0.1.0"
__all__ = ["Calls", "CellOntology", "Jury", "Run", "Votes", "annotate", "fit", "load_ontology", "vote"]

# Imported on first use: a program that only asks for the version should not wait for pandas and scipy.
_HOME = {
    "Calls": "celljury.calls",
    "CellOntology": "celljury.ontology.graph",
    "Jury": "celljury.jury",
    "Run": "celljury.run",
    "Votes": "celljury.votes",
    "annotate": "celljury.api",
    "fit": "celljury.api",
    "load_ontology": "celljury.ontology.load",
    "vote": "celljury.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    message = f"module 'celljury' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
