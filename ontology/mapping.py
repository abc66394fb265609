"""Label maps: SSSOM tables in and out, and labels to terms by map, id, label or synonym; never by similarity."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from celljury.errors import InputError, OutputError, UnknownTermError, UnreadableFileError
from celljury.ontology.names import NameIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

Predicate = Literal["exact", "broad", "narrow", "close"]
How = Literal["map", "id", "replaced_id", "label", "synonym"]

# SSSOM 1.0 reads subject -> object: skos:broadMatch says that the term is broader than the label.
PREDICATES: Final[dict[str, Predicate]] = {
    "skos:exactMatch": "exact",
    "skos:broadMatch": "broad",
    "skos:narrowMatch": "narrow",
    "skos:closeMatch": "close",
}
NO_MATCH: Final = frozenset({"sssom:notermfound", "sssom:no_term_found", "no match", "no_match"})
REQUIRED: Final = ("subject_label", "predicate_id", "object_id")
COLUMNS: Final = (
    "subject_label",
    "predicate_id",
    "object_id",
    "object_label",
    "mapping_justification",
    "confidence",
    "comment",
)


@dataclass(frozen=True, slots=True)
class LabelMap:
    """A curator's map from labels to terms.

    Attributes
    ----------
    terms
        Label with single spaces -> (term ids, predicate). Ids are live; one label has one term.
    replaced
        Labels whose row names an alternative or obsolete id, which was followed to the live one.
    unmapped
        Labels that the map lists without a term.
    """

    terms: Mapping[str, tuple[tuple[str, ...], Predicate]]
    replaced: frozenset[str] = frozenset()
    unmapped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MapRow:
    """One row of a map to write; an empty ``object_id`` is a label that waits for a curator's term."""

    subject_label: str
    object_id: str = ""
    predicate_id: str = "skos:exactMatch"
    mapping_justification: str = "semapv:LexicalMatching"
    confidence: float | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Mapped:
    """How a label reached its term: by ``how``, with ``predicate`` (the term is its exact, broad, ... match)."""

    i_term: int
    how: How
    predicate: Predicate = field(default="exact")


def map_labels(
    labels: Sequence[str], ontology: CellOntology, *, label_map: LabelMap | None = None
) -> list[Mapped | None]:
    """Return for each label its term, or None where nothing names it exactly.

    The map comes first, then ids, labels and exact synonyms (see `NameIndex.lookup`). A label that the map lists
    without a term stays unmapped.
    """
    names = NameIndex(ontology)
    known: dict[str, Mapped | None] = {}
    for label in dict.fromkeys(labels):
        text = _one_line(label)
        if label_map is not None and text in label_map.terms:
            ids, predicate = label_map.terms[text]
            known[label] = Mapped(ontology.index(ids[0]), "map", predicate)
        elif label_map is not None and text in label_map.unmapped:
            known[label] = None
        else:
            match = names.lookup(text)
            known[label] = None if match is None else Mapped(match.i_term, match.how)
    return [known[label] for label in labels]


def read_sssom(path: Path, ontology: CellOntology) -> LabelMap:
    """Return the map in an SSSOM TSV file (https://mapping-commons.github.io/sssom/).

    Columns ``subject_label``, ``predicate_id`` and ``object_id`` are read, others are left alone; lines that start
    with ``#`` are metadata. Rows without ``object_id``, or whose predicate or object says that there is no match, list
    a label as unmapped.

    Raises
    ------
    UnreadableFileError
        If the file is missing, a directory or not UTF-8 text.
    InputError
        If a column is missing, a predicate is unknown, or a label is mapped to two terms; file, line, expected and
        got are named.
    UnknownTermError
        If an ``object_id`` is not in the ontology, with the file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the label map {path}: {error}. Expected an SSSOM TSV file, as celljury map writes."
        raise UnreadableFileError(message) from error
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    rows = [(number, _cells(line)) for number, line in numbered]
    header = rows[0][1] if rows else []
    if missing := [name for name in REQUIRED if name not in header]:
        message = (
            f"{path}: no column {', '.join(missing)}. Expected an SSSOM TSV file with {', '.join(REQUIRED)},"
            f" got: {', '.join(header) or 'an empty file'}"
        )
        raise InputError(message)
    terms: dict[str, tuple[tuple[str, ...], Predicate]] = {}
    replaced, unmapped, line_of = set(), set(), dict[str, int]()
    for number, values in rows[1:]:
        row = dict(zip(header, values, strict=False))
        where = f"{path}, line {number}"
        label, predicate_id, object_id = (row.get(name, "") for name in REQUIRED)
        if not label:
            message = f"{where}: subject_label is empty; expected the label as it stands in the data"
            raise InputError(message)
        if not object_id or object_id.lower() in NO_MATCH:
            unmapped.add(label)
            continue
        if predicate_id.lower() in NO_MATCH:
            message = (
                f"{where}: predicate_id {predicate_id!r} says that {label!r} has no term, but object_id is {object_id}."
                " Empty object_id, or correct predicate_id, e.g. to skos:exactMatch."
            )
            raise InputError(message)
        if predicate_id not in PREDICATES:
            message = f"{where}: predicate_id: expected one of {', '.join(PREDICATES)}, got {predicate_id!r}"
            raise InputError(message)
        try:
            i_term, followed = ontology.resolve(object_id)
        except UnknownTermError as error:
            message = f"{where}: object_id of {label!r}: {error}"
            raise UnknownTermError(message) from error
        entry = ((ontology.ids[i_term],), PREDICATES[predicate_id])
        if terms.setdefault(label, entry) != entry:
            (old,), old_predicate = terms[label]
            message = (
                f"{where}: {label!r} is mapped to {object_id} ({predicate_id}), but line {line_of[label]} maps it to"
                f" {old} ({old_predicate} match). Keep one row a label; for two possible types give their common parent"
                " as skos:broadMatch."
            )
            raise InputError(message)
        line_of.setdefault(label, number)
        if followed:
            replaced.add(label)
    return LabelMap(terms, frozenset(replaced), frozenset(unmapped - terms.keys()))


def write_sssom(path: Path, rows: Iterable[MapRow], ontology: CellOntology) -> None:
    """Write a map as SSSOM TSV with its metadata, beside and renamed; object labels come from the ontology.

    Raises
    ------
    UnknownTermError
        If an ``object_id`` is not in the ontology.
    OutputError
        If the file cannot be written.
    """
    table = []
    for row in rows:
        label = ontology.labels[ontology.index(row.object_id)] if row.object_id else ""
        confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
        values = (
            row.subject_label,
            row.predicate_id,
            row.object_id,
            label,
            row.mapping_justification,
            confidence,
            row.comment,
        )
        table.append([_one_line(value) for value in values])
    metadata = {
        "mapping_set_id": f"https://w3id.org/sssom/mappings/celljury/{path.name}",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "mapping_tool": "celljury",
        "object_source": "obo:cl",
        "object_source_version": ontology.source.release,
        "comment": "Ids and labels of the Cell Ontology (CC BY 4.0). Rows without object_id wait for a curator.",
    }
    text = io.StringIO(newline="")
    text.writelines(f'#{key}: "{value}"\n' for key, value in metadata.items())
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(table)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text.getvalue(), encoding="utf-8", newline="")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError.for_path(path, error.strerror or str(error)) from error


def _cells(line: str) -> list[str]:
    # Line by line: a stray quote then spoils its own row only, and line numbers stay true.
    return [_one_line(value) for value in next(csv.reader([line], delimiter="\t"))]


def _one_line(text: str) -> str:
    """Return text without tabs and line breaks, which would end a cell of the table."""
    return " ".join(text.split())
