"""What a release says beyond is_a, as plain rows: the one shape that files and the shipped table share."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from celljury.errors import OutputError, UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED: Final = "relations.tsv"
COLUMNS: Final = ("subject", "relation", "object", "source")

TAXON_RELATIONS: Final = ("present_in_taxon", "only_in_taxon", "never_in_taxon")
State = Literal["has", "lacks", "low"]
MARKER_STATES: Final[dict[str, State]] = {"has_marker": "has", "lacks_marker": "lacks", "low_marker": "low"}
LOCATION_RELATIONS: Final = ("part_of", "located_in", "has_soma_location")
WITHIN: Final = "within"
"""Between anatomical terms: the first is a kind, or a part, of the second."""
BETWEEN_TERMS: Final = ("develops_from", "disjoint_from")
RELATIONS: Final = (*BETWEEN_TERMS, *LOCATION_RELATIONS, *MARKER_STATES, *TAXON_RELATIONS, WITHIN)

NAME_SOURCES: Final = ("label", "synonym", "phenotype")
"""Sources of a marker that are words: the label, an exact synonym, "with the phenotype ..." in the definition."""

KINDS: Final = ("develops_from", "disjoint_from", "marker clauses", "marker names", "taxon", "location")
"""What a release may carry; `Told.lacking` names those of which it has nothing."""

_HEADER: Final = re.compile(
    r"# Cell Ontology beyond is_a; release (?P<release>[^;]+); file (?P<origin>[^;]+); sha256 (?P<sha256>[0-9a-f]*);"
    r" licence (?P<licence>[^;]+);"
)


class Statement(NamedTuple):
    """One row.

    Attributes
    ----------
    subject
        Id of the term it is said of; an id of UBERON with the relation ``within``.
    relation
        One of `RELATIONS`.
    object
        Id of a term, taxon or anatomical structure, or a gene symbol.
    source
        Id of the property that the release used, e.g. ``RO:0002202``, or one of `NAME_SOURCES`.
    """

    subject: str
    relation: str
    object: str
    source: str


@dataclass(frozen=True, slots=True)
class RelationsSource:
    """The release that relations were read from: its date, the name and hash of the file, the licence of its content."""

    release: str
    origin: str
    sha256: str
    licence: str = "CC BY 4.0"


@dataclass(frozen=True, slots=True)
class Told:
    """Everything a release says beyond is_a.

    Attributes
    ----------
    statements
        Distinct rows, ascending by relation, subject, object.
    source
        Where they come from.
    """

    statements: tuple[Statement, ...]
    source: RelationsSource

    @property
    def lacking(self) -> tuple[str, ...]:
        """The `KINDS` of which the release has no statement."""
        have = {_kind(statement) for statement in self.statements}
        return tuple(kind for kind in KINDS if kind not in have)


def in_order(statements: set[Statement]) -> tuple[Statement, ...]:
    """Return the rows by relation, subject, object; of several sources the first by alphabet, so properties lead."""
    kept: dict[tuple[str, str, str], Statement] = {}
    for statement in sorted(statements, key=lambda row: (row.relation, row.subject, row.object, row.source)):
        kept.setdefault((statement.relation, statement.subject, statement.object), statement)
    return tuple(kept.values())


def write_statements(path: Path, told: Told, *, overwrite: bool = False) -> None:
    """Write a table of ids with release and licence in its first line, the same bytes for the same release.

    Raises
    ------
    OutputError
        If the file exists and ``overwrite`` is False, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError.for_path(path, "it exists; --overwrite replaces it")
    source = told.source
    text = io.StringIO(newline="")
    text.write(
        f"# Cell Ontology beyond is_a; release {source.release}; file {source.origin}; sha256 {source.sha256};"
        f" licence {source.licence}; made with: celljury ontology relations {source.origin}\n"
    )
    rows = csv.writer(text, delimiter="\t", lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(told.statements)
    try:
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError.for_path(path, error.strerror or str(error)) from error


def read_statements(path: Path | None = None) -> Told:
    """Return the rows of a table that `write_statements` wrote; None = the table that ships.

    Raises
    ------
    UnreadableFileError
        If the file is missing, not such a table, or a row names an unknown relation.
    """
    where = SHIPPED if path is None else str(path)
    try:
        resource = files("celljury.data").joinpath(SHIPPED) if path is None else path
        lines = resource.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the relations {where}: {error}. Make it with: celljury ontology relations FILE.obo"
        raise UnreadableFileError(message) from error
    header = _HEADER.match(lines[0]) if lines else None
    if header is None or lines[1:2] != ["\t".join(COLUMNS)]:
        message = (
            f"{where} is no table of relations: expected a first line with release and licence, then the columns"
            f" {', '.join(COLUMNS)}. Make it with: celljury ontology relations FILE.obo --out relations.tsv"
        )
        raise UnreadableFileError(message)
    rows = [line.split("\t") for line in lines[2:]]
    for number, row in enumerate(rows, start=3):
        if len(row) != len(COLUMNS) or row[1] not in RELATIONS:
            message = f"{where}, line {number}: expected {', '.join(COLUMNS)} with a known relation, got {row}"
            raise UnreadableFileError(message)
    return Told(tuple(Statement(*row) for row in rows), RelationsSource(**header.groupdict()))


def _kind(statement: Statement) -> str:
    if statement.relation in MARKER_STATES:
        return "marker names" if statement.source in NAME_SOURCES else "marker clauses"
    if statement.relation in TAXON_RELATIONS:
        return "taxon"
    return "location" if statement.relation in LOCATION_RELATIONS else statement.relation
