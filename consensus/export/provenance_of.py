"""Where calls came from, as plain texts and numbers that every reader takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

    from celljury.export.run_columns import RunColumns

KEY = "celljury"


def provenance_of(columns: RunColumns, **further: Any) -> dict[str, Any]:
    """Return what a file should say of the calls in it: texts, numbers and nothing nested; unknown things are left out."""
    record = columns.run.record
    present = [str(member["name"]) for member in record["members"] if not member.get("absent")]
    absent = [str(member["name"]) for member in record["members"] if member.get("absent")]
    query = record.get("query", {})
    said = {
        "version": record.get("versions", {}).get("celljury"),
        "made": record.get("ended"),
        "calls": columns.source,
        "n_cells": columns.n_cells,
        "members": ", ".join(present),
        "members_absent": ", ".join(absent),
        "rule": record.get("rule"),
        "tier": record["tier"],
        "alpha": record.get("alpha"),
        "promise": record["promise"],
        "ontology": f"Cell Ontology {record['ontology']['release']}",
        "ontology_source": record["ontology"].get("origin"),
        "query_sha256": query.get("sha256"),
    }
    return {name: value for name, value in (said | further).items() if value not in (None, "")}


def write_provenance(file: h5py.Group, said: dict[str, Any]) -> None:
    """Write it as ``uns["celljury"]``; an earlier one is replaced."""
    from anndata.io import write_elem

    if "uns" not in file:
        write_elem(file, "uns", {})
    if KEY in file["uns"]:
        del file["uns"][KEY]
    write_elem(file["uns"], KEY, said)
