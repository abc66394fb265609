"""The calls as a Cell Annotation Schema document: one labelset a run, one annotation a term, written as it goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np

from celljury.export.cas_words import LONGEST_TITLE, GroupCounts, cut, rationale
from celljury.origin import ontology_of
from celljury.write import writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.export.run_columns import RunColumns
    from celljury.ontology.graph import CellOntology

SCHEMA_VERSION: Final = "1.1.0"
"""Release of cell-annotation-schema whose general and BICAN schemas these documents satisfy."""
LABELSET: Final = "celljury"
# Reserved by the schema: "explicitly reserved for unknown or 'author does not know'".
UNKNOWN: Final = "unknown"
NOT_GIVEN: Final = "not given"
IDS_AT_ONCE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Publication:
    """What only the authors know of a document.

    Attributes
    ----------
    author
        First and last name; the schema wants one.
    title
        Of the data set; the schema wants one.
    url
        Where the annotation will be found; only CAP's schema wants it.
    """

    author: str = ""
    title: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class CasDocument:
    """What was written.

    Attributes
    ----------
    n_annotations, n_cells
        Annotations, and cells in them: every cell of the run is in exactly one.
    not_given
        Fields that the schema wants and nobody gave.
    schemas
        Schemas of the package that it is meant to satisfy.
    """

    n_annotations: int
    n_cells: int
    not_given: tuple[str, ...]
    schemas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Cells of one annotation: ``kind`` as in `rationale`, a term (empty = none), and their positions in the run."""

    kind: str
    term: str
    label: str
    rows: NDArray[np.int64]


def write_cas(columns: RunColumns, to: Path, *, about: Publication = Publication()) -> CasDocument:
    """Write the document and return what is in it.

    Called cells stand under their term. Unseen cells with a node stand apart with the node as their term, for the schema asks
    for "the closest available ontology term" of a label that has none; their label says that they are new under it. All
    others are ``unknown`` without a term. Curators' verdicts are counted, but no ``Review`` is written: the released schema
    asks it for a field that it forbids.

    Raises
    ------
    OutputError
        If the file cannot be written. Nothing stands under its name then, or what stood there before.
    InputError
        If the run's ontology is not found.
    """
    ontology = ontology_of(columns.run)
    table = _counted(columns)
    groups = list(_groups(table))
    if (n := sum(len(group.rows) for group in groups)) != columns.n_cells:
        message = f"{n:,} cells in annotations, {columns.n_cells:,} in the run: a cell is not in exactly one"
        raise RuntimeError(message)
    head, not_given = _head(columns, about, curated=bool(table["curated"].any()))
    with writing(to) as partial, partial.open("w", encoding="utf-8") as file:
        # Every key and value but the last brace; annotations follow as the last key.
        file.write(json.dumps(head, indent=1, ensure_ascii=False)[:-2])
        file.write(',\n "annotations": [')
        for i, group in enumerate(groups):
            file.write(",\n  " if i else "\n  ")
            _write_annotation(file, _annotation(group, table, columns, ontology), columns.cell_ids[group.rows])
        file.write("\n ]\n}\n")
    schemas = ("general", "BICAN", *(("CAP",) if about.url else ()))
    return CasDocument(len(groups), n, not_given, schemas)


def _counted(columns: RunColumns) -> dict[str, Any]:
    """Return what annotations count, arrays over cells; texts as categoricals."""
    final = columns.source == "final"
    called = columns.called("term", "label", "status", *(("source", "decided_at") if final else ())).to_pandas()
    own = columns.from_calls("agreement", "support", "needs_review").to_pandas()
    table: dict[str, Any] = {name: called[name].astype("category").cat for name in ("term", "label", "status")}
    table |= {name: own[name].to_numpy() for name in own.columns}
    table["curated"] = (called["source"] == "curator").to_numpy() if final else np.zeros(len(called), bool)
    table["decided_at"] = max((str(at) for at in called["decided_at"].dropna().unique()), default="") if final else ""
    return table


def _groups(table: dict[str, Any]) -> Iterator[_Group]:
    """Yield the annotations: called terms and then unseen nodes, most cells first in each, and last the unknown."""
    term, status = table["term"], table["status"]
    code = term.codes.to_numpy().astype(np.int64)
    unseen = (status.categories == "unseen")[status.codes.to_numpy()]
    # A missing term may be written as an empty text.
    named = (code >= 0) & np.append(term.categories.astype(str) != "", False)[code]
    n = len(term.categories)
    key = np.where(named, code + n * unseen, 2 * n)
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    found = list(zip(keys.tolist(), np.split(order, starts[1:]), strict=True))
    for key_of, rows in sorted(found, key=lambda pair: (pair[0] // n if n else 2, -len(pair[1]), pair[0])):
        if key_of == 2 * n:
            yield _Group("unknown", "", UNKNOWN, rows)
            continue
        label = str(table["label"].categories[table["label"].codes.to_numpy()[rows[0]]])
        yield _Group("unseen" if key_of >= n else "called", str(term.categories[key_of % n]), label, rows)


def _annotation(group: _Group, table: dict[str, Any], columns: RunColumns, ontology: CellOntology) -> dict[str, Any]:
    """Return an annotation without its cells."""
    counts = _counts(group.rows, table)
    said: dict[str, Any] = {"labelset": LABELSET}
    if group.kind == "called":
        said |= {"cell_label": group.label, "cell_fullname": group.label}
    elif group.kind == "unseen":
        said |= {
            "cell_label": f"unseen, new under {group.label}",
            "cell_fullname": f"cell of a type that the reference does not hold, new under {group.label}",
        }
    else:
        # "any reserved word used in the field 'cell_label' MUST match the value of this field"
        said |= {"cell_label": UNKNOWN, "cell_fullname": UNKNOWN}
    if group.term:
        said |= {"cell_ontology_term_id": group.term, "cell_ontology_term": group.label}
    said["rationale"] = rationale(counts, columns.run.record, kind=group.kind, label=group.label)
    synonyms = ontology.synonyms[ontology.index(group.term)] if group.kind == "called" else ()
    return said | {"synonyms": list(synonyms), "author_annotation_fields": counts.fields()}


def _counts(rows: NDArray[np.int64], table: dict[str, Any]) -> GroupCounts:
    status = table["status"]
    names = np.append(status.categories.astype(str), "")[status.codes.to_numpy()[rows]]
    curated = table["curated"][rows]

    def mean(name: str) -> float | None:
        return None if curated.all() else float(table[name][rows][~curated].mean(dtype=np.float64))

    return GroupCounts(
        len(rows), int((names == "backed_off").sum()), int((names == "unseen").sum()), int((names == "unresolved").sum()),
        int(table["needs_review"][rows].sum()), int(curated.sum()), mean("agreement"), mean("support"),
    )  # fmt: skip


def _write_annotation(file: TextIO, said: dict[str, Any], cell_ids: NDArray[Any]) -> None:
    file.write(json.dumps(said, ensure_ascii=False)[:-1] + ', "cell_ids": [')
    for start in range(0, len(cell_ids), IDS_AT_ONCE):
        file.write(", " if start else "")
        file.write(json.dumps(cell_ids[start : start + IDS_AT_ONCE].tolist(), ensure_ascii=False)[1:-1])
    file.write("]}")


def _head(columns: RunColumns, about: Publication, *, curated: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return all but the annotations, and which wanted fields nobody gave."""
    record = columns.run.record
    present = [str(member["name"]) for member in record["members"] if not member.get("absent")]
    description = (
        f"Cell types called by a jury of {len(present)} ({', '.join(present)}) on Cell Ontology"
        f" {record['ontology']['release']}; rule {record.get('rule', 'not recorded')}."
    )
    if columns.source == "final":
        description += " Curators' decisions stand over the calls."
    repository = _repository()
    made = str(record.get("ended") or "")
    head: dict[str, Any] = {
        "title": cut(about.title or f"Cell types called by celljury: {_query_name(columns)}", LONGEST_TITLE),
        "description": description,
        "cellannotation_schema_version": SCHEMA_VERSION,
        **({"cellannotation_timestamp": made, "cellannotation_version": _version(made)} if made else {}),
        **({"cellannotation_url": about.url} if about.url else {}),
        "author_name": about.author or NOT_GIVEN,
        "labelsets": [
            {
                "name": LABELSET,
                "description": f"{description} {'Of the calls before review: ' if curated else ''}{record['promise']}",
                "annotation_method": "both" if curated else "algorithmic",
                "automated_annotation": {
                    "algorithm_name": "celljury",
                    "algorithm_version": str(record.get("versions", {}).get("celljury", NOT_GIVEN)),
                    "algorithm_repo_url": repository,
                },
            }
        ],
    }
    wanted = {"author_name": about.author, "title": about.title, "algorithm_repo_url": repository}
    return head, tuple(name for name, given in wanted.items() if not given)


def _version(made: str) -> str:
    """Return the day as a version in three numbers, which is the form that the schema recommends."""
    year, month, day = made[:10].split("-")
    return f"{int(year)}.{int(month)}.{int(day)}"


def _query_name(columns: RunColumns) -> str:
    from pathlib import Path

    said = columns.run.record.get("query", {}).get("file")
    return Path(said).name if said else columns.run.folder.name


def _repository() -> str:
    """Return where celljury's source is, as its package says; empty where it does not."""
    for line in metadata("celljury").get_all("Project-URL") or ():
        label, _, url = line.partition(",")
        if label.strip().lower() in ("repository", "source", "source code", "homepage"):
            return str(url.strip())
    return ""
