"""Read a Cell Ontology release from an OBO, OWL or OBO-graph file through pronto."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from celljury.errors import MemberUnavailableError, UnreadableFileError
from celljury.ontology.release import PREFIX, Release

if TYPE_CHECKING:
    from pathlib import Path

# What pronto 2.7 raised on truncated, binary, empty and unrelated files; xml and JSON errors are children of these.
PRONTO_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
)


def read_obo(path: Path) -> Release:
    """Return what the file says, Cell Ontology ids only; imports are not followed.

    Raises
    ------
    UnreadableFileError
        If the file is missing, truncated, of another format, a directory, or holds no Cell Ontology term.
    MemberUnavailableError
        If pronto is not installed.
    """
    if find_spec("pronto") is None:
        message = f"reading {path} needs pronto. Install: pip install 'celljury[ontology]'"
        raise MemberUnavailableError(message)
    import pronto

    try:
        with warnings.catch_warnings():
            # pronto reports every clause that it does not model; none of them is read here.
            warnings.simplefilter("ignore")
            ontology = pronto.Ontology(path, import_depth=0, threads=1)
            terms = [term for term in ontology.terms() if term.id.startswith(PREFIX)]
            release = _release(ontology, terms)
    except PRONTO_ERRORS as error:
        message = (
            f"cannot read {path} as an ontology: {_first_line(error)}. Expected a complete OBO, OWL or OBO-graph JSON"
            " file such as cl.obo. Download it again, or leave it out to use the release that is installed."
        )
        raise UnreadableFileError(message) from error
    if not release.labels:
        message = f"{path} holds no Cell Ontology term (ids CL:...). Expected a release of CL such as cl.obo."
        raise UnreadableFileError(message)
    return release


def _release(ontology: Any, terms: list[Any]) -> Release:
    live = [term for term in terms if not term.obsolete]
    retired = [term for term in terms if term.obsolete]
    live_ids = {term.id for term in live}
    subsets: dict[str, list[str]] = {}
    for term in live:
        for tag in term.subsets:
            subsets.setdefault(tag, []).append(term.id)
    replaced = {old: term.id for term in terms for old in term.alternate_ids if old not in live_ids}
    # Term.replaced_by looks ids up and fails on those of other ontologies; the record behind it holds them as text.
    for term in retired:
        successors = sorted(term._data().replaced_by)
        if len(successors) == 1:
            replaced[term.id] = successors[0]
    return Release(
        release=_date(ontology.metadata.data_version),
        labels={term.id: term.name or term.id for term in live},
        parents={
            term.id: tuple(
                parent.id for parent in term.superclasses(distance=1, with_self=False) if parent.id.startswith(PREFIX)
            )
            for term in live
        },
        synonyms={term.id: tuple(s.description for s in term.synonyms if s.scope == "EXACT") for term in live},
        replaced=replaced,
        obsolete={term.id: term.name or term.id for term in retired},
        subsets={tag: tuple(ids) for tag, ids in subsets.items()},
    )


def _date(data_version: str | None) -> str:
    match = re.search(r"\d{4}-\d{2}-\d{2}", data_version or "")
    return match[0] if match else (data_version or "unknown")


def _first_line(error: BaseException) -> str:
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    return text.splitlines()[0][:200] if text.strip() else type(error).__name__
