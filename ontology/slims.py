"""Slims: short lists of terms that summary tables roll every term up to."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.errors import OntologyError, UnreadableFileError
from celljury.ontology.general import too_general
from celljury.ontology.guide import guide_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

CURATED: Final = ("cell_class", "cell_subclass")
"""Lists of Cell Ontology terms that cellxgene-ontology-guide ships."""

OTHER: Final = "other"
"""What a table calls the terms with no slim term at or above them (-1 in `Slim.rollup`)."""


@dataclass(frozen=True, slots=True)
class Slim:
    """A slim on one ontology.

    Attributes
    ----------
    name
        As it was asked for, e.g. ``cell_class``, ``subset:human_reference_atlas``, ``depth:3`` or a file's name.
    terms
        Its terms, int32 (n_slim,), most specific first.
    rollup
        For every term the slim term it is counted under, int32 (n_terms,); -1 = other.
    """

    name: str
    terms: NDArray[np.int32]
    rollup: NDArray[np.int32]


def load_slim(ontology: CellOntology, name_or_path: str | Path) -> Slim:
    """Return a slim by name or from a file.

    Parameters
    ----------
    name_or_path
        ``cell_class`` or ``cell_subclass`` (curated lists of cellxgene-ontology-guide; their too-general terms count
        what no other of their terms does); ``subset:NAME`` (terms with
        that subset tag, which OBO files carry); ``depth:N`` (every term whose longest path from the root has at most N
        steps, without the too-general ones); or a text or TSV file whose first column holds ids. Of a file, empty
        lines, comments (``#``) and a header are skipped.

    Raises
    ------
    OntologyError
        If the name is unknown, or the slim holds no term of this ontology.
    UnreadableFileError
        If the file is missing or not text.
    UnknownTermError
        If a file names an id that is not in the ontology.
    """
    name = str(name_or_path)
    if name in CURATED:
        ids = _curated(name)
        # The lists are older than the release and name a few obsolete terms. They also mix lineages with properties:
        # by size alone a T cell would be counted as "motile cell", not as "hematopoietic cell".
        live = [term_id for term_id in ids if term_id in ontology]
        return make_slim(ontology, live, name=name, last_choice=too_general(ontology))
    if name.startswith("subset:"):
        tag = name.removeprefix("subset:")
        if tag not in ontology.subsets:
            have = (
                ", ".join(ontology.subsets) or f"none; load an OBO file for them, {ontology.source.origin} has no tags"
            )
            message = f"no term of CL {ontology.source.release} has the subset tag {tag!r}. Tags: {have}"
            raise OntologyError(message)
        return make_slim(ontology, ontology.subsets[tag], name=name)
    if name.startswith("depth:"):
        if not re.fullmatch(r"depth:[0-9]+", name):
            message = f"slim {name!r}: expected depth:N with a whole number N, e.g. depth:4"
            raise OntologyError(message)
        shallow = (ontology.depth <= int(name.removeprefix("depth:"))) & ~too_general(ontology)
        return make_slim(ontology, [ontology.ids[i] for i in np.flatnonzero(shallow)], name=name)
    path = Path(name_or_path)
    return make_slim(ontology, _read_ids(path), name=path.name)


def make_slim(
    ontology: CellOntology, ids: Sequence[str], *, name: str, last_choice: NDArray[np.bool_] | None = None
) -> Slim:
    """Return the slim with these terms; each term rolls up to the most specific slim term at or above it.

    Most specific is the first in the reducer's order, so that a term with several slim ancestors is counted once, and
    always under the same one. A term with none is counted as other, and so are too-general terms unless listed.

    Parameters
    ----------
    last_choice
        Slim terms, as bool (n_terms,), that other terms are counted under only where no other slim term is above
        them; None = all slim terms are equal.

    Raises
    ------
    OntologyError
        If there is no term.
    UnknownTermError
        If an id is not in the ontology.
    """
    terms = np.unique(ontology.indices(ids))
    if terms.size == 0:
        message = f"slim {name!r} names no term of CL {ontology.source.release}"
        raise OntologyError(message)
    late = np.zeros(terms.size, np.bool_) if last_choice is None else last_choice[terms]
    rollup = np.full(len(ontology), -1, np.int32)
    # What is written later stays: last choices first, then from the most general to the most specific.
    for i_slim in np.concatenate([terms[late][::-1], terms[~late][::-1]]):
        rollup[ontology.descendants(int(i_slim))] = i_slim
    rollup[terms] = terms
    return Slim(name, terms, rollup)


def other_places(ontology: CellOntology, slim: Slim) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the slim terms that a term could be counted under but is not, as pairs (term, slim term), int32 each.

    These are its most specific slim terms, those with no other slim term between, without its place in ``rollup``. A term
    with one way up has none. Pairs ascend; the terms of several parents that tables have to tell of are ``unique(term)``.
    """
    from scipy.sparse import csr_matrix

    n, m = len(ontology), len(slim.terms)
    column = np.full(n, -1, np.int64)
    column[slim.terms] = np.arange(m)
    term = np.repeat(np.arange(n), np.diff(ontology.closure_indptr))
    kept = column[ontology.closure_indices] >= 0
    term, above = term[kept], column[ontology.closure_indices[kept]]
    at_or_above = csr_matrix((np.ones(len(term), np.int32), (term, above)), shape=(n, m))
    between = at_or_above[slim.terms].tolil()
    between.setdiag(0)
    # How many slim terms stand at or above the term and strictly below the slim term.
    n_below = csr_matrix(at_or_above @ between.tocsr())
    lowest = (np.asarray(n_below[term, above]).ravel() == 0) & (slim.terms[above] != slim.rollup[term])
    return term[lowest].astype(np.int32), slim.terms[above[lowest]].astype(np.int32)


def _curated(name: str) -> list[str]:
    path = guide_folder() / f"{name}_list.json"
    try:
        return [str(term_id) for term_id in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        message = (
            f"cannot read the curated list {path}: {error}. Install cellxgene-ontology-guide anew, or give a file."
        )
        raise UnreadableFileError(message) from error


def _read_ids(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"no slim {str(path)!r}: neither {', '.join(CURATED)}, subset:NAME or depth:N, nor a readable file of ids"
            f" ({error})"
        )
        raise UnreadableFileError(message) from error
    first = [re.split(r"[\t,]", line, maxsplit=1)[0].strip().strip('"') for line in lines]
    ids = [text for text in first if text and not text.startswith("#")]
    # A header is a first row that is not written as an id.
    return ids[1:] if ids and ":" not in ids[0] else ids
