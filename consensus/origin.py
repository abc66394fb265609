"""What a finished run was made from, found again: its ontology, its jury, its query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from celljury.errors import InputError, OntologyError
from celljury.ontology.cache import read_index
from celljury.ontology.load import load_ontology
from celljury.provenance import sha256

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.run import Run


def jury_folder(run: Run) -> Path | None:
    """Return the folder of the jury that made a run; None where it is gone, or was fitted anew since.

    It is looked for where it was, and beside the run: the two are often moved together.
    """
    jury = run.record.get("jury")
    if not jury:
        return None
    for folder in (Path(jury["folder"]), run.folder.parent / Path(jury["folder"]).name):
        about = folder / "jury.json"
        if about.is_file() and sha256(about) == jury["sha256"]:
            return folder
    return None


def query_file(run: Run) -> Path | None:
    """Return the file that a run annotated; None where it is gone or another one now, or the query was an object.

    It is looked for where it was, and beside the run.
    """
    query = run.record["query"]
    if not query.get("sha256") or not query.get("file"):
        return None
    for path in (Path(query["file"]), run.folder.parent / Path(query["file"]).name):
        if path.exists() and sha256(path) == query["sha256"]:
            return path
    return None


def ontology_of(run: Run) -> CellOntology:
    """Return the ontology that a run used: its jury's, else the same release loaded anew.

    Raises
    ------
    InputError
        If neither its jury nor what its settings name gives that ontology.
    """
    used = run.record["ontology"]
    if (folder := jury_folder(run)) is not None and (folder / "ontology.npz").is_file():
        return read_index(folder / "ontology.npz")
    settings = run.record.get("config", {}).get("ontology", {})
    extra = settings.get("extra_terms")
    wanted = f"{used['origin']}, CL {used['release']}"
    try:
        ontology = load_ontology(settings.get("source"), release=used["release"], extra=Path(extra) if extra else None)
    except (OSError, OntologyError) as error:
        jury = f"its jury ({run.record['jury']['folder']}) is not there, and " if "jury" in run.record else ""
        message = (
            f"{run.folder}: the ontology that it used ({wanted}) is not found: {jury}{error} Put the jury or that file"
            " back, or annotate anew."
        )
        raise InputError(message) from error
    for field in ("sha256", "extra_sha256"):
        if used.get(field, getattr(ontology.source, field)) != getattr(ontology.source, field):
            message = (
                f"{run.folder} was made with another ontology ({wanted}) than the one found now"
                f" ({ontology.source.origin}): terms differ. Put the file back that the run used, or annotate anew."
            )
            raise InputError(message)
    return ontology
