"""Load the Cell Ontology: the installed release by default, any OBO / OWL / OBO-graph file, or plain edges."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from celljury.errors import OntologyError, UnreadableFileError
from celljury.ontology.cache import read_cached, write_cached
from celljury.ontology.extra import read_extra_terms
from celljury.ontology.graph import CellOntology, OntologySource
from celljury.ontology.guide import guide_file, guide_origin, read_guide
from celljury.ontology.obo import read_obo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celljury.ontology.release import Release


def load_ontology(
    source: str | Path | None = None,
    *,
    release: str | None = None,
    extra: Path | None = None,
    cache: bool = True,
) -> CellOntology:
    """Return the index of a Cell Ontology release.

    Both sources give the same index of CL 2026-03-26: ids, labels, exact synonyms, obsolete and replaced ids, is_a
    edges. Only a file carries subset tags.

    Parameters
    ----------
    source
        None = the release inside cellxgene-ontology-guide, which needs no download; else an OBO, OWL or OBO-graph
        JSON file, read through pronto.
    release
        Date of the release, e.g. ``2025-07-30``; None = the newest in the guide, or whatever the file holds.
    extra
        TSV table of further terms (id, label, parents, synonyms) to merge, see `read_extra_terms`.
    cache
        Keep the built index in the user's cache folder (see `cache_folder`) and use it where the file is the same.

    Raises
    ------
    UnreadableFileError
        If a file is missing, truncated, of another format, a directory, or holds no Cell Ontology term.
    OntologyError
        If the guide lacks the release, the file holds another one, or edges or extra terms are inconsistent.
    """
    wanted: str | None
    if source is None:
        wanted, path = guide_file(release)
        origin = guide_origin()
    else:
        wanted, path = release, Path(source)
        origin = path.name
    sha256 = _sha256(path)
    ontology = read_cached(sha256) if cache else None
    if ontology is None:
        said = read_guide(str(wanted), path) if source is None else read_obo(path)
        ontology = _indexed(said, path=path, source=OntologySource(said.release, origin, sha256))
        if cache:
            write_cached(ontology)
    elif ontology.source.origin != origin:
        ontology = replace(ontology, source=replace(ontology.source, origin=origin))
    if wanted is not None and ontology.source.release != wanted:
        message = (
            f"{path} holds CL {ontology.source.release}, expected release {wanted}. Give the file of that release."
        )
        raise OntologyError(message)
    return ontology if extra is None else ontology.with_terms(read_extra_terms(Path(extra)))


def ontology_from_edges(
    terms: Mapping[str, str],
    parents: Mapping[str, Sequence[str]],
    *,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    replaced: Mapping[str, str] | None = None,
    obsolete: Mapping[str, str] | None = None,
    subsets: Mapping[str, Sequence[str]] | None = None,
    release: str = "unknown",
    origin: str = "edges in memory",
) -> CellOntology:
    """Return an index from plain Python: id -> label, and id -> ids of its direct parents.

    Roots may be left out of ``parents``. The further tables are those of `CellOntology`.

    Raises
    ------
    OntologyError
        If there is no term, two terms share a label, a parent or child is not a term, or there is a cycle.
    """
    if not terms:
        message = "an ontology needs at least one term, got none"
        raise OntologyError(message)
    if strays := [term_id for term_id in parents if term_id not in terms]:
        message = f"parents are given for {', '.join(strays[:5])}, which is no term. Add it to the terms."
        raise OntologyError(message)
    holder: dict[str, str] = {}
    for term_id, label in terms.items():
        other = holder.setdefault(label.casefold(), term_id)
        if other != term_id:
            message = f"{other} and {term_id} share the label {label!r}. Give each term a label of its own."
            raise OntologyError(message)
    return CellOntology.from_edges(
        terms,
        parents,
        source=OntologySource(release, origin),
        synonyms=synonyms,
        replaced=replaced,
        obsolete=obsolete,
        subsets=subsets,
    )


def _indexed(said: Release, *, path: Path, source: OntologySource) -> CellOntology:
    try:
        return CellOntology.from_edges(
            said.labels,
            said.parents,
            source=source,
            synonyms=said.synonyms,
            replaced=said.replaced,
            obsolete=said.obsolete,
            subsets=said.subsets,
        )
    except OntologyError as error:
        message = f"{path}: {error}"
        raise OntologyError(message) from error


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot read the ontology file {path}: {reason}. Expected an OBO, OWL or OBO-graph JSON file."
        raise UnreadableFileError(message) from error
