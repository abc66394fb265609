"""Extra terms of a user: a small table of new ids, labels, parents and synonyms that is merged into the ontology."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from celljury.errors import OntologyError, UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A CURIE: prefix, colon, local part; any prefix serves, so that a laboratory can number its own terms.
CURIE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*:[A-Za-z0-9_.-]+")
COLUMNS = ("id", "label", "parents", "synonyms")


@dataclass(frozen=True, slots=True)
class ExtraTerm:
    """A term that the release lacks.

    Attributes
    ----------
    id
        A CURIE of any prefix, e.g. ``LAB:0000001``.
    label
        A name that no live term carries yet.
    parents
        Ids of its direct is_a parents, at least one; of the release or of the same table.
    synonyms
        Further exact names, none of them in use; may be empty.
    """

    id: str
    label: str
    parents: tuple[str, ...]
    synonyms: tuple[str, ...] = ()


def read_extra_terms(path: Path) -> tuple[ExtraTerm, ...]:
    """Return the terms of a TSV table with the columns id, label, parents, synonyms (both lists parted by ``|``).

    Lines that start with ``#`` and empty lines are skipped. Whether ids and parents fit the ontology is checked where
    the terms are merged.

    Raises
    ------
    UnreadableFileError
        If the file is missing, a directory or not UTF-8 text.
    OntologyError
        If a column is missing or a row is incomplete; file, row, expected and got are named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"cannot read the extra terms in {path}: {error}. Expected a TSV table with the columns id, label, parents"
        )
        raise UnreadableFileError(message) from error
    # Line by line: a stray quote then spoils its own row only, and line numbers stay true.
    rows = [
        (number, [value.strip() for value in next(csv.reader([line], delimiter="\t"))])
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    header = [name.lower() for name in rows[0][1]] if rows else []
    if missing := [name for name in COLUMNS[:3] if name not in header]:
        message = (
            f"{path}: no column {', '.join(missing)}. Expected a TSV table with the header {' '.join(COLUMNS)}"
            f" (synonyms may be left out), got: {' '.join(header) or 'an empty file'}"
        )
        raise OntologyError(message)
    terms = []
    for number, values in rows[1:]:
        row = dict(zip(header, values, strict=False))
        parents, synonyms = (
            tuple(name.strip() for name in row.get(column, "").split("|") if name.strip())
            for column in ("parents", "synonyms")
        )
        term = ExtraTerm(row.get("id", ""), row.get("label", ""), parents, synonyms)
        if fault := _fault(term):
            message = f"{path}, line {number}: {fault}"
            raise OntologyError(message)
        terms.append(term)
    return tuple(terms)


def _fault(term: ExtraTerm) -> str:
    """Return what is wrong with one term on its own, or nothing."""
    if not CURIE.fullmatch(term.id):
        return f"expected an id such as LAB:0000001, got {term.id!r}"
    if not term.label:
        return f"{term.id} has no label"
    if not term.parents:
        return f"{term.id} {term.label!r} has no parent; name at least one, e.g. CL:0000000 (cell)"
    return ""


def check_extra_terms(terms: Sequence[ExtraTerm], *, known_ids: dict[str, str], known_names: dict[str, str]) -> None:
    """Refuse terms whose id or names are taken, or that have no parent.

    Parameters
    ----------
    terms
        The terms to merge.
    known_ids
        What each id in use stands for: live, alternative and obsolete ones.
    known_names
        Casefolded label or exact synonym in use -> id that carries it.

    Raises
    ------
    OntologyError
        Naming the term, the clash and who holds the id or name.
    """
    ids, names = dict(known_ids), dict(known_names)
    for term in terms:
        if fault := _fault(term):
            message = f"extra term: {fault}"
            raise OntologyError(message)
        if term.id in ids:
            message = f"extra term {term.id} {term.label!r}: the id is taken by {ids[term.id]!r}. Give it a new id."
            raise OntologyError(message)
        ids[term.id] = term.label
        for name in dict.fromkeys(text.casefold() for text in (term.label, *term.synonyms)):
            if name in names:
                message = (
                    f"extra term {term.id} {term.label!r}: the name {name!r} is taken by {names[name]}"
                    f" {ids.get(names[name], '')!r}. Give it a name of its own, or use that term."
                )
                raise OntologyError(message)
            names[name] = term.id


def extra_terms_sha256(terms: Sequence[ExtraTerm], *, before: str = "") -> str:
    """Return a hash of what the terms say, whatever the order and layout of the file they came from.

    ``before`` is the hash of terms that were merged earlier; without new terms it comes back as it is.
    """
    if not terms:
        return before
    lines = sorted(
        "\t".join((term.id, term.label, "|".join(sorted(term.parents)), "|".join(sorted(term.synonyms))))
        for term in terms
    )
    return hashlib.sha256("\n".join([before, *lines]).encode()).hexdigest()
