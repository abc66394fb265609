"""Which terms are too general to be a label: a shipped list with reasons, a limit on descendants, named exceptions."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from celljury.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology


@dataclass(frozen=True, slots=True)
class TooGeneral:
    """A policy on one ontology.

    Attributes
    ----------
    mask
        Which terms are too general, bool (n_terms,).
    why
        One plain phrase for each of them, by term index.
    """

    mask: NDArray[np.bool_]
    why: Mapping[int, str]


def too_general(
    ontology: CellOntology,
    *,
    terms: Sequence[str] | None = None,
    max_descendants: int | None = None,
    exceptions: Sequence[str] = (),
) -> NDArray[np.bool_]:
    """Return which terms are too general, bool (n_terms,); see `too_general_policy` for parameters and errors."""
    return too_general_policy(ontology, terms=terms, max_descendants=max_descendants, exceptions=exceptions).mask


def too_general_policy(
    ontology: CellOntology,
    *,
    terms: Sequence[str] | None = None,
    max_descendants: int | None = None,
    exceptions: Sequence[str] = (),
) -> TooGeneral:
    """Return the policy: a term is too general if it is listed or has too many descendants, unless it is an exception.

    Parameters
    ----------
    terms
        Ids that are too general whatever their size; None = the shipped list (data/too_general.tsv), () = none.
        Obsolete ids without a successor are no labels anyway and are passed over.
    max_descendants
        Terms with more descendants are too general; None = no limit. The ScPCA project uses 170.
    exceptions
        Ids that are never too general, even if listed.

    Raises
    ------
    UnknownTermError
        If an id of ``terms`` or ``exceptions`` is unknown.
    ConfigError
        If ``max_descendants`` is negative.
    """
    if max_descendants is not None and max_descendants < 0:
        message = f"too_general.max_descendants: expected 0 or more, got {max_descendants}"
        raise ConfigError(message)
    why: dict[int, str] = {}
    if max_descendants is not None:
        for i_term in np.flatnonzero(ontology.n_descendants > max_descendants).tolist():
            why[i_term] = f"has {ontology.n_descendants[i_term]:,} descendants, more than {max_descendants:,}"
    if terms is None:
        # The list was made on one release; a term that another ontology lacks cannot be called there either.
        why |= {ontology.index(term_id): reason for term_id, reason in shipped_list().items() if term_id in ontology}
    else:
        why |= dict.fromkeys(_indices(ontology, terms), "is on the list that was given")
    for i_term in _indices(ontology, exceptions):
        why.pop(i_term, None)
    mask = np.zeros(len(ontology), np.bool_)
    mask[list(why)] = True
    return TooGeneral(mask, why)


@cache
def shipped_list() -> Mapping[str, str]:
    """Return the shipped list: term id -> why it is too general."""
    text = files("celljury.data").joinpath("too_general.tsv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["term_id"]: row["why"] for row in csv.DictReader(lines, delimiter="\t")}


def _indices(ontology: CellOntology, ids: Sequence[str]) -> list[int]:
    # An obsolete id that nothing replaces names no live term, so a curators' older list still works.
    gone = ontology.obsolete.keys() - ontology.replaced.keys()
    return [ontology.index(term_id) for term_id in ids if term_id not in gone]
