"""What the CELLxGENE archive asks of a file beside its cell types, as far as it can be told without its validator."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.export.archive_terms import FORBIDDEN, UNKNOWN, archive_ontology
from celljury.export.obs_columns import column_order

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from celljury.ontology.graph import CellOntology

# Of schema 7.1.0 (cellxgene-schema 7.1.2, schema_definition.yaml): columns of obs without a condition, and keys of uns.
OBS: Final = (
    "assay_ontology_term_id", "cell_type_ontology_term_id", "development_stage_ontology_term_id",
    "disease_ontology_term_id", "donor_id", "is_primary_data", "self_reported_ethnicity_ontology_term_id",
    "sex_ontology_term_id", "suspension_type", "tissue_ontology_term_id", "tissue_type",
)  # fmt: skip
UNS: Final = ("organism_ontology_term_id", "title")
# The archive writes these itself (reserved, and to_column / to_key of add_labels), or no longer takes them (deprecated).
RESERVED: Final[dict[str, frozenset[str]]] = {
    "obs": frozenset(
        "assay cell_type development_stage disease ethnicity ethnicity_ontology_term_id experimental_condition"
        " observation_joinid organism organism_ontology_term_id perturbation_types self_reported_ethnicity sex tissue".split()
    ),
    "var": frozenset("feature_biotype feature_length feature_name feature_reference feature_type".split()),
    "uns": frozenset(
        "X_normalization citation contributors default_field is_pre_analysis layer_descriptions organism preprint_doi"
        " project_description project_links project_name publication_doi schema_reference schema_version tags version".split()
    ),
}  # fmt: skip
# Genes of the organisms that it takes: Ensembl, ERCC spike-ins, FlyBase and WormBase (its gencode.py).
GENE: Final = re.compile(r"ENS[A-Z]*G\d{11}|ERCC-\d+|FBgn\d+|WBGene\d+|RR\d+_.*")


def why_not_taken(path: Path) -> list[str]:
    """Return what stands between a file and the archive, one line each; empty = nothing that these rules know of.

    They ask for names, forms and terms of cell types. Whether the query's other values are right (terms of assays, tissues
    and diseases, genes of the archive's list, counts in the raw matrix) only the archive's own validator tells.
    """
    import h5py

    with h5py.File(path, "r") as file:
        return [
            *_missing(file),
            *_in_the_way(file),
            *_matrices(file),
            *_genes(file),
            *wrong_terms(_distinct(file["obs"]["cell_type_ontology_term_id"]), archive_ontology()),
        ]


def wrong_terms(terms: list[str], archive: CellOntology) -> list[str]:
    """Return what is wrong with values of ``cell_type_ontology_term_id``."""
    lines = []
    for term in terms:
        if term == UNKNOWN:
            continue
        if term in FORBIDDEN:
            lines.append(f"cell_type_ontology_term_id: {term} is forbidden")
        elif term in archive.obsolete or term in archive.replaced:
            lines.append(f"cell_type_ontology_term_id: {term} is obsolete in CL {archive.source.release}")
        elif term not in archive:
            lines.append(f"cell_type_ontology_term_id: {term!r} is no term of CL {archive.source.release}")
    return lines


def _missing(file: h5py.Group) -> list[str]:
    have = set(column_order(file["obs"]))
    lines = [f"obs has no {name}" for name in OBS if name not in have]
    uns = set(file["uns"]) if "uns" in file else set()
    lines += [f"uns has no {name}" for name in UNS if name not in uns]
    if "feature_is_filtered" not in column_order(file["var"]):
        lines.append("var has no feature_is_filtered")
    if not any(name.startswith("X_") for name in (file["obsm"] if "obsm" in file else ())):
        lines.append("obsm has no embedding whose name starts with X_")
    return lines


def _in_the_way(file: h5py.Group) -> list[str]:
    names: dict[str, set[str]] = {"obs": set(column_order(file["obs"])), "var": set(column_order(file["var"]))}
    names["uns"] = set(file["uns"]) if "uns" in file else set()
    lines = [
        f"{where} has {name}, which the archive writes itself or no longer takes"
        for where, found in names.items()
        for name in sorted(found & RESERVED[where])
    ]
    lines += [
        f"{where} has {name}: names that start with __ are reserved"
        for where, found in names.items()
        for name in sorted(found)
        if name.startswith("__")
    ]
    return lines


def _matrices(file: h5py.Group) -> list[str]:
    """Raw counts are float32, and a sparse matrix has rows first."""
    places = {"X": file.get("X")}
    raw = file.get("raw")
    if raw is not None and hasattr(raw, "keys") and "X" in raw:
        places["raw.X"] = raw["X"]
    lines = [
        f"{name} is sparse with columns first; the archive takes rows first (csr)"
        for name, matrix in places.items()
        if matrix is not None and str(matrix.attrs.get("encoding-type", "")) == "csc_matrix"
    ]
    name, matrix = list(places.items())[-1]
    if matrix is None:
        return ["there is no X"]
    dtype = matrix["data"].dtype if hasattr(matrix, "keys") else matrix.dtype
    if dtype != np.float32:
        lines.append(f"{name} holds {dtype}; the archive takes raw counts as float32")
    return lines


def _genes(file: h5py.Group) -> list[str]:
    from anndata.io import read_elem

    names = np.asarray(read_elem(file["var"][str(file["var"].attrs["_index"])])).astype(str)
    strange = [name for name in names.tolist() if not GENE.fullmatch(name)]
    if not strange:
        return []
    return [
        f"{len(strange):,} of {len(names):,} genes are not named by an Ensembl id without its version (e.g. {strange[0]!r})"
    ]


def _distinct(column: Any) -> list[str]:
    from anndata.io import read_elem

    return [str(name) for name in read_elem(column["categories"])]
