"""Read a Cell Ontology release out of the installed cellxgene-ontology-guide package; nothing is downloaded."""

from __future__ import annotations

import json
import logging
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from celljury.errors import OntologyError, UnreadableFileError
from celljury.ontology.release import Release

log = logging.getLogger(__name__)

PACKAGE: Final = "cellxgene-ontology-guide"
FILE_NAME: Final = re.compile(r"CL-ontology-v(\d{4}-\d{2}-\d{2})\.json\.zst")

_OLIGODENDROCYTE_PRECURSOR_IN_GLIA: Final = ("CL:0002453", "CL:0000125")
_NUCLEI_IN_MUSCLE_FIBRES: Final = (("CL:4052024", "CL:0008046"), ("CL:4052025", "CL:0008046"))

# The guide lists is_a and part_of parents alike. These part_of edges (child, whole) were found by comparing the guide
# with cl.obo of 2026-03-26, where is_a and part_of are apart; the earlier releases are listed by the same three edges,
# as far as each carries them.
PART_OF: Final[dict[str, frozenset[tuple[str, str]]]] = {
    "2025-02-13": frozenset(_NUCLEI_IN_MUSCLE_FIBRES),
    "2025-04-10": frozenset(_NUCLEI_IN_MUSCLE_FIBRES),
    "2025-07-30": frozenset({_OLIGODENDROCYTE_PRECURSOR_IN_GLIA, *_NUCLEI_IN_MUSCLE_FIBRES}),
    "2026-03-26": frozenset({_OLIGODENDROCYTE_PRECURSOR_IN_GLIA, *_NUCLEI_IN_MUSCLE_FIBRES}),
}


# Obsolete ids that the release files give as alternative ids of the term they were merged into. The guide shows them
# like any obsolete term; without this list it would count 199 obsolete terms where cl.obo has 196.
MERGED: Final = frozenset({"CL:0000111", "CL:0000328", "CL:0002609"})


def guide_folder() -> Path:
    """Return the folder with the guide's data files.

    Raises
    ------
    UnreadableFileError
        If the package is not installed.
    """
    spec = find_spec("cellxgene_ontology_guide")
    if spec is None or spec.origin is None:
        message = f"{PACKAGE} is not installed, and no ontology file was given. Install: pip install {PACKAGE}"
        raise UnreadableFileError(message)
    return Path(spec.origin).parent / "data"


def guide_origin() -> str:
    """Return the name and version of the installed guide, e.g. ``cellxgene-ontology-guide 1.11.1``."""
    return f"{PACKAGE} {version(PACKAGE)}"


def guide_releases() -> dict[str, Path]:
    """Return the file of each Cell Ontology release in the guide, oldest first."""
    found = ((FILE_NAME.fullmatch(path.name), path) for path in guide_folder().iterdir())
    return dict(sorted((match[1], path) for match, path in found if match))


def guide_file(release: str | None = None) -> tuple[str, Path]:
    """Return date and file of a release; None = the newest.

    Raises
    ------
    OntologyError
        If the guide does not carry the release; those it carries are named.
    """
    releases = guide_releases()
    if not releases:
        message = f"{guide_origin()} holds no CL-ontology-v*.json.zst in {guide_folder()}. Install it anew."
        raise UnreadableFileError(message)
    wanted = (release or next(reversed(releases))).removeprefix("v")
    if wanted not in releases:
        message = f"{guide_origin()} has no CL release {release!r}. It has: {', '.join(releases)}. Or give a file."
        raise OntologyError(message)
    return wanted, releases[wanted]


def read_guide(release: str, path: Path) -> Release:
    """Return what the guide's file says.

    Each term there has all its ancestors with their distance: those at distance 1 are its parents. Alternative ids
    stand among the terms, deprecated and without a label.

    Raises
    ------
    UnreadableFileError
        If the file cannot be unpacked or is not the expected JSON.
    """
    import zstandard

    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            terms: dict[str, dict[str, Any]] = json.loads(stream.read())
        live = {term_id: term for term_id, term in terms.items() if not term["deprecated"]}
        retired = {term_id: term for term_id, term in terms.items() if term["deprecated"]}
        part_of = PART_OF.get(release)
        if part_of is None:
            part_of = PART_OF[max(PART_OF)]
            log.warning("CL %s of %s is newer than the list of its part_of edges", release, guide_origin())
        return Release(
            release=release,
            labels={term_id: term["label"] for term_id, term in live.items()},
            parents={
                term_id: tuple(
                    parent
                    for parent, distance in term["ancestors"].items()
                    # In 2025-02-13 one term (CL:4047034) stands among its own ancestors.
                    if distance == 1 and parent != term_id and (term_id, parent) not in part_of
                )
                for term_id, term in live.items()
            },
            synonyms={term_id: tuple(term.get("synonyms", ())) for term_id, term in live.items()},
            replaced={term_id: term["replaced_by"] for term_id, term in retired.items() if term.get("replaced_by")},
            obsolete={
                term_id: term["label"] for term_id, term in retired.items() if term["label"] and term_id not in MERGED
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zstandard.ZstdError) as error:
        message = f"cannot read the Cell Ontology in {path}: {error!r}. Install {PACKAGE} anew, or give a file."
        raise UnreadableFileError(message) from error
