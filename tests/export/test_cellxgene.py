"""The export for CELLxGENE: its validator takes it, terms are the archive's, nothing is invented."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.export.archive_terms import FORBIDDEN, UNKNOWN, archive_ontology, archive_release, archive_terms
from celljury.export.cellxgene_rules import why_not_taken, wrong_terms
from celljury.export.make import export_run, exported_json, exported_lines
from celljury.export.validator import Verdict, shown_lines
from celljury.ontology.extra import ExtraTerm
from celljury.ontology.load import load_ontology
from celljury.provenance import sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeQuery, Validators
    from numpy.typing import NDArray

    from celljury.run import Run

    Submission = Callable[[list[str]], ad.AnnData]

WANTED = {
    "assay_ontology_term_id": "EFO:0009922",
    "development_stage_ontology_term_id": "HsapDv:0000258",
    "disease_ontology_term_id": "PATO:0000461",
    "donor_id": "donor 1",
    "self_reported_ethnicity_ontology_term_id": "unknown",
    "sex_ontology_term_id": "PATO:0000383",
    "suspension_type": "cell",
    "tissue_ontology_term_id": "UBERON:0000178",
    "tissue_type": "tissue",
}


ENSEMBL = [f"ENSG{i:011d}" for i in range(1, 31)]


@pytest.fixture
def submission(make_query: MakeQuery, names: NDArray[np.str_]) -> Submission:
    """A query with everything that the archive asks for but cell types; made values."""

    def make(genes: list[str]) -> ad.AnnData:
        adata = make_query(names, genes)
        del adata.layers["counts"]
        for name, value in WANTED.items():
            adata.obs[name] = pd.Categorical([value] * len(names))
        adata.obs["is_primary_data"] = True
        adata.uns["organism_ontology_term_id"] = "NCBITaxon:9606"
        adata.uns["title"] = "Made cells of a test"
        adata.var["feature_is_filtered"] = False
        adata.raw = ad.AnnData(adata.X.copy(), var=adata.var.drop(columns="feature_is_filtered"))
        adata.X = adata.X.log1p()
        return adata

    return make


@pytest.fixture
def complete(submission: Submission, tmp_path: Path) -> Path:
    path = tmp_path / "query.h5ad"
    submission(ENSEMBL).write_h5ad(path)
    return path


def test_the_archives_validator_takes_a_complete_query(
    submission: Submission, reviewed: Run, validators: Validators, tmp_path: Path
) -> None:
    query = tmp_path / "query.h5ad"
    submission(validators.genes(60)).write_h5ad(query)
    made = export_run(
        reviewed, to="cellxgene", out=tmp_path / "out.h5ad", query=query, calls="final", validator=validators.folder
    )
    assert made.verdict is not None
    assert made.verdict.valid, "\n".join(made.verdict.lines)
    # It warns of what the made query lacks, and of no column of ours.
    assert made.verdict.lines == (
        "WARNING: Dataframe 'var' only has 60 rows. Features SHOULD NOT be filtered from expression matrix.",
    )
    assert made.missing == ()
    assert made.taken
    assert "cellxgene-schema says: valid." in exported_lines(made)


def test_the_validator_refuses_what_our_rules_name(
    run: Run, query: Path, validators: Validators, tmp_path: Path
) -> None:
    made = export_run(run, to="cellxgene", out=tmp_path / "out.h5ad", query=query, validator=validators.folder)
    assert made.verdict is not None
    assert not made.verdict.valid
    assert not made.taken
    told = "\n".join(made.verdict.lines)
    for name in (*WANTED, "is_primary_data"):
        assert f"'obs' is missing column '{name}'" in told
        assert f"obs has no {name}" in made.missing
    for name in ("title", "organism_ontology_term_id"):
        assert f"'{name}' in 'uns' is not present" in told
        assert f"uns has no {name}" in made.missing
    assert "'var' is missing column 'feature_is_filtered'" in told
    assert "var has no feature_is_filtered" in made.missing
    assert "30 of 30 genes are not named by an Ensembl id without its version (e.g. 'GENE0')" in made.missing


def test_each_cell_has_its_call_and_unseen_cells_are_unknown(
    run: Run, names: NDArray[np.str_], complete: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5ad"
    made = export_run(run, to="cellxgene", out=out, query=complete)
    obs, calls = ad.read_h5ad(out).obs, run.calls
    assert obs.index.tolist() == names.tolist()
    calls = calls.loc[obs.index]
    called = calls["status"].isin(["resolved", "backed_off"]).to_numpy()
    exported = obs["cell_type_ontology_term_id"].astype(str).to_numpy()
    assert exported[called].tolist() == calls["term"].astype(str)[called].tolist()
    assert set(exported[~called]) == {UNKNOWN}
    unseen = (calls["status"] == "unseen").to_numpy()
    assert made.counts["n_unseen"] == unseen.sum() > 0
    assert made.counts["n_unresolved"] == (calls["status"] == "unresolved").sum() > 0
    # The node is kept where it says what it is.
    assert obs["celljury_term"].astype(str)[unseen].tolist() == calls["term"].astype(str)[unseen].tolist()
    assert obs["celljury_term"][unseen].notna().any()
    assert obs["celljury_label"].astype(str)[called].tolist() == calls["label"].astype(str)[called].tolist()
    assert "cell_type" not in obs


def test_curators_decisions_are_what_is_submitted(submission: Submission, reviewed: Run, tmp_path: Path) -> None:
    query, out = tmp_path / "query.h5ad", tmp_path / "out.h5ad"
    submission(ENSEMBL).write_h5ad(query)
    made = export_run(reviewed, to="cellxgene", out=out, query=query)
    assert made.calls == "final"
    obs = ad.read_h5ad(out).obs
    final = pd.read_parquet(reviewed.folder / "final.parquet").set_index("cell_id").loc[obs.index]
    curated = (final["source"] == "curator").to_numpy()
    assert {"resolved", "unseen"} == set(final["status"][curated])
    decided = obs["cell_type_ontology_term_id"].astype(str).to_numpy()[curated]
    assert set(decided) == {"CL:0000576", UNKNOWN}
    assert (decided == "CL:0000576").sum() == (final["term"][curated] == "CL:0000576").sum()


def test_the_query_keeps_all_and_its_own_cell_types_give_way(submission: Submission, run: Run, tmp_path: Path) -> None:
    query, out = tmp_path / "query.h5ad", tmp_path / "out.h5ad"
    adata = submission(ENSEMBL)
    adata.obs["cell_type"] = pd.Categorical(["T cell"] * len(adata))
    adata.obs["cell_type_ontology_term_id"] = pd.Categorical(["CL:0000084"] * len(adata))
    adata.uns["cell_type_colors"] = np.array(["#0b6e99"], dtype=object)
    adata.write_h5ad(query)
    before = sha256(query)
    made = export_run(run, to="cellxgene", out=out, query=query)
    assert sha256(query) == before
    assert made.counts["renamed"] == {
        "cell_type_ontology_term_id": "author_cell_type_ontology_term_id", "cell_type": "author_cell_type",
    }  # fmt: skip
    found = ad.read_h5ad(out)
    assert set(found.obs["author_cell_type"]) == {"T cell"}
    assert set(found.obs["author_cell_type_ontology_term_id"]) == {"CL:0000084"}
    assert found.uns["author_cell_type_colors"].tolist() == ["#0b6e99"]
    assert "cell_type_colors" not in found.uns
    for name in adata.obs.columns.difference(["cell_type", "cell_type_ontology_term_id"]):
        pd.testing.assert_series_equal(found.obs[name], adata.obs[name])
    assert (found.X != adata.X).nnz == 0
    assert (found.raw.X != adata.raw.X).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_umap"], adata.obsm["X_umap"])


def test_what_is_in_the_way_is_named(submission: Submission, run: Run, tmp_path: Path) -> None:
    query, out = tmp_path / "query.h5ad", tmp_path / "out.h5ad"
    adata = submission(ENSEMBL)
    adata.obs["assay"] = pd.Categorical(["10x"] * len(adata))
    adata.obs["__mine"] = 1
    adata.var["feature_name"] = "gene"
    adata.uns["citation"] = "somewhere"
    adata.X = adata.X.tocsc()
    adata.raw = ad.AnnData(adata.raw.X.astype(np.float64), var=adata.raw.var)
    adata.write_h5ad(query)
    made = export_run(run, to="cellxgene", out=out, query=query)
    assert list(made.missing) == [
        "obs has assay, which the archive writes itself or no longer takes",
        "var has feature_name, which the archive writes itself or no longer takes",
        "uns has citation, which the archive writes itself or no longer takes",
        "obs has __mine: names that start with __ are reserved",
        "X is sparse with columns first; the archive takes rows first (csr)",
        "raw.X holds float64; the archive takes raw counts as float32",
    ]
    assert any("remove-labels" in line for line in exported_lines(made))


def test_a_complete_query_passes_our_rules_without_a_validator(
    run: Run, complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = export_run(run, to="cellxgene", out=tmp_path / "out.h5ad", query=complete)
    assert made.missing == ()
    assert made.taken
    assert made.verdict is None
    said = "\n".join(exported_lines(made))
    assert "Checked by celljury's own rules" in said
    assert "pip install cellxgene-schema" in said
    assert json.loads(json.dumps(exported_json(made)))["validator"] is None


def test_without_a_check_nothing_is_said_of_the_archive(run: Run, query: Path, tmp_path: Path) -> None:
    made = export_run(run, to="cellxgene", out=tmp_path / "out.h5ad", query=query, check=False)
    assert made.missing == ()
    assert made.taken
    assert made.unchecked == ""


def test_lines_that_quote_other_names_are_told_a_dozen_times() -> None:
    lines = (*(f"ERROR: no gene 'G{i}' in 'var'" for i in range(20)), "ERROR: 'title' is not present.")
    shown = shown_lines(Verdict("cellxgene-schema", valid=False, lines=lines))
    assert shown == [*lines[:12], "... and 8 more like it (all with --json)", lines[-1]]


# Terms ----------------------------------------------------------------------------------------------------------


def test_the_pinned_release_is_the_one_that_the_schema_names() -> None:
    assert archive_release() == "2026-03-26"


def test_terms_that_the_archive_lacks_become_their_most_specific_ancestor() -> None:
    archive = archive_ontology()
    used = archive.with_terms(
        [
            ExtraTerm("LAB:1", "my B cell", ("CL:0000236",), ()),
            ExtraTerm("LAB:2", "my naive B cell", ("LAB:1", "CL:0000788"), ()),
        ]
    )
    found = archive_terms(["CL:0000236", "LAB:1", "LAB:2", "CL:0000255"], used, archive)
    assert {term: (one.to, one.why) for term, one in found.items()} == {
        "CL:0000236": ("CL:0000236", ""),
        "LAB:1": ("CL:0000236", "lacks"),
        # The naive B cell says more than the B cell.
        "LAB:2": ("CL:0000788", "lacks"),
        # Eukaryotic cell is a live term that the schema forbids; above it is "cell".
        "CL:0000255": ("CL:0000000", "forbidden"),
    }
    assert found["LAB:2"].to_label == "naive B cell"


def test_a_term_that_was_retired_since_is_followed_to_its_successor() -> None:
    used, archive = load_ontology(release="2025-02-13"), archive_ontology()
    retired = [term for term in used.ids if term in archive.replaced]
    assert retired
    found = archive_terms(retired, used, archive)
    for term in retired:
        assert found[term].to == archive.replaced[term]
        assert found[term].why == "obsolete"


def test_a_term_with_nothing_in_common_is_unknown() -> None:
    from celljury.ontology.load import ontology_from_edges

    used = ontology_from_edges({"X:1": "thing", "X:2": "small thing"}, {"X:2": ["X:1"]})
    assert archive_terms(["X:2"], used, archive_ontology())["X:2"].to == UNKNOWN


@given(st.data())
def test_what_is_exported_is_at_or_above_the_call_and_taken(data: st.DataObject) -> None:
    used, archive = load_ontology(release="2025-02-13"), archive_ontology()
    term = data.draw(st.sampled_from(used.ids))
    one = archive_terms([term], used, archive)[term]
    assert one.to not in FORBIDDEN
    assert wrong_terms([one.to], archive) == []
    if one.why in ("lacks", "forbidden"):
        assert used.is_ancestor(used.index(one.to), used.index(term))
    if not one.why:
        assert one.to == term


@pytest.mark.parametrize(
    ("term", "said"),
    [
        pytest.param("CL:0000255", "is forbidden", id="eukaryotic_cell"),
        pytest.param("CL:0000548", "is forbidden", id="animal_cell"),
        pytest.param("CL:0000003", "is obsolete", id="native_cell"),
        pytest.param("LAB:1", "is no term", id="own_term"),
        pytest.param("T cell", "is no term", id="label"),
    ],
)
def test_wrong_terms_are_named(term: str, said: str) -> None:
    (line,) = wrong_terms([term, UNKNOWN, "CL:0000084"], archive_ontology())
    assert term in line
    assert said in line


def test_a_file_with_a_wrong_term_is_refused_by_our_rules(run: Run, complete: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5ad"
    export_run(run, to="cellxgene", out=out, query=complete)
    with h5py.File(out, "r+") as file:
        categories = file["obs/cell_type_ontology_term_id/categories"]
        names = categories.asstr()[:]
        names[0] = "CL:0000257"
        categories[:] = names
    assert why_not_taken(out) == ["cell_type_ontology_term_id: CL:0000257 is forbidden"]
