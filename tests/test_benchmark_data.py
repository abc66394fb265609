"""The benchmarks' data: real pairs say rightly what is unseen in them, and the atlas is what its docstring promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from atlas import RARE_SHARE, leave_out_types, make_atlas, make_embedded_atlas
from atlas_source import read_source
from pairs import CROSS, FEW_GENES, PAIRS, REPORTED, TRUTH, Cells, facts_of, make_pair, without_types
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from celljury.cells import open_cells
from celljury.members.normalize import log1p_cp10k
from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from pairs import Made

    from celljury.ontology.graph import CellOntology

B, CD4, CD8, NK, MEMORY_CD4, T = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000623", "CL:0000897", "CL:0000084"
CD14_MONO, CD16_MONO, DC, MK, HSC, PLATELET = (
    "CL:0001054", "CL:0000875", "CL:0000451", "CL:0000556", "CL:0000037", "CL:0000233",
)  # fmt: skip
LYMPHOCYTE, MATURE_AB_T = "CL:0000542", "CL:0000791"


@pytest.fixture(scope="module")
def ontology() -> CellOntology:
    return load_ontology()


@pytest.fixture(scope="module")
def embedded() -> ad.AnnData:
    return make_embedded_atlas()


def of_types(*terms: str) -> ad.AnnData:
    """One cell a type, two genes."""
    obs = pd.DataFrame({TRUTH: terms, "batch": "b", "donor": "d"}, index=[f"cell{i}" for i in range(len(terms))])
    return ad.AnnData(csr_matrix(np.ones((len(terms), 2), np.float32)), obs=obs, var=pd.DataFrame(index=["G1", "G2"]))


def whole(counts: csr_matrix) -> bool:
    return counts.data.min() > 0 and np.array_equal(counts.data, np.rint(counts.data))


# Facts, by hand ---------------------------------------------------------------------------------------------------


def test_a_query_type_is_seen_coarser_or_unseen():
    facts = facts_of("toy", of_types(CD4, B, CD14_MONO), of_types(CD4, MEMORY_CD4, T, NK, NK))
    assert facts["unseen_terms"] == (NK,)
    assert facts["coarser_terms"] == (T,)
    assert facts["n_unseen"] == 2
    assert facts["parents"] == {NK: LYMPHOCYTE}
    assert (facts["n_reference"], facts["n_query"], facts["n_shared_genes"]) == (3, 5, 2)


def test_columns_with_one_level_are_not_passed_to_fit():
    one, two = of_types(CD4, B), of_types(CD4, B)
    two.obs["batch"] = ["b1", "b2"]
    facts = facts_of("toy", two, one)
    assert (facts["batch"], facts["donor"], facts["query_batch"]) == ("batch", None, None)


def test_leaving_a_term_out_leaves_out_what_lies_below_it():
    assert without_types(of_types(CD4, MEMORY_CD4, B, T, NK), [T]).obs[TRUTH].tolist() == [B, NK]


def test_leaving_out_a_type_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=f"no cell is of {NK}.*{B}"):
        without_types(of_types(CD4, B), [NK])


# Pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n_reference", "n_query", "n_shared", "batch", "parents"),
    [
        pytest.param("P1", 770, 430, 1767, "batch", {}, id="P1_two_technologies_to_a_third"),
        pytest.param("P2", 454, 296, 1267, None, {}, id="P2_one_donor_to_another"),
        # The platelet is no megakaryocyte in the ontology; both are myeloid cells.
        pytest.param("P3", 1200, 2638, 271, "batch", {PLATELET: "CL:0000763"}, id="P3_another_laboratory"),
        pytest.param("P4", 94, 81, 11132, "batch", {}, id="P4_pancreas"),
        pytest.param("U1", 731, 430, 1767, "batch", {NK: LYMPHOCYTE}, id="U1_without_NK"),
        pytest.param("U2", 669, 430, 1767, "batch", {B: LYMPHOCYTE}, id="U2_without_B"),
        pytest.param("U3", 354, 296, 1267, None, {B: LYMPHOCYTE}, id="U3_without_B_across_donors"),
        pytest.param("U4", 602, 430, 1767, "batch", {CD8: MATURE_AB_T}, id="U4_without_CD8_T"),
        pytest.param("U5", 580, 430, 1767, "batch", {CD14_MONO: "CL:0000113", CD16_MONO: "CL:0000113"},
                     id="U5_without_monocytes"),
    ],
)  # fmt: skip
def test_reported_pair(shared_data, name, n_reference, n_query, n_shared, batch, parents):
    _, query, facts = REPORTED[name](folder=shared_data)
    assert facts["name"] == name
    assert (facts["n_reference"], facts["n_query"], facts["n_shared_genes"]) == (n_reference, n_query, n_shared)
    assert (facts["batch"], facts["donor"]) == (batch, batch and "donor")
    assert (facts["parents"], facts["unseen_terms"]) == (parents, tuple(sorted(parents)))
    assert facts["n_unseen"] == query.obs[TRUTH].isin(list(parents)).sum()
    assert facts["coarser_terms"] == ()


@pytest.mark.parametrize("name", PAIRS)
def test_pair_holds_raw_counts_and_shares_no_cell(shared_data, ontology, name):
    reference, query, facts = PAIRS[name](folder=shared_data)
    assert whole(reference.X)
    assert whole(query.X)
    assert not set(reference.obs_names) & set(query.obs_names)
    types = set(query.obs[TRUTH].astype(str)) | set(reference.obs[TRUTH].astype(str))
    assert all(ontology.ids[ontology.index(term)] == term for term in types)
    learned = ontology.indices(sorted(set(reference.obs[TRUTH].astype(str))))
    for term, parent in facts["parents"].items():
        assert not ontology.is_ancestor(learned, ontology.index(term)).any()
        assert ontology.is_ancestor(ontology.index(parent), ontology.index(term))
        assert ontology.is_ancestor(ontology.index(parent), learned).any()


def test_truth_above_a_reference_type_is_not_called_unseen(shared_data):
    _, _, facts = CROSS["X-pbmc3k-symphony"](folder=shared_data)
    assert facts["coarser_terms"] == (CD4,)
    assert facts["unseen_terms"] == (HSC, MK)
    assert facts["query_batch"] == "batch"


def test_few_genes_are_shared_ones_and_nothing_else_of_p3_changes(shared_data):
    reference, query, facts = FEW_GENES["P3-200"](folder=shared_data)
    _, full, _ = REPORTED["P3"](folder=shared_data)
    assert facts["n_shared_genes"] == query.n_vars == 200
    assert set(query.var_names) <= set(reference.var_names)
    assert (query.X != full[:, query.var_names].X).nnz == 0
    assert query.obs_names.equals(full.obs_names)
    assert query.var_names.equals(full.var_names[full.var_names.isin(query.var_names)])


def test_the_registry_keeps_reported_and_cross_pairs_apart():
    assert len(PAIRS) == len(REPORTED) + len(FEW_GENES) + len(CROSS) == 9 + 1 + 13
    assert all(name.startswith("X-") for name in CROSS)


def test_a_batch_that_the_file_lacks_is_refused(shared_data):
    with pytest.raises(ValueError, match="none of \\['3pv9'\\]"):
        make_pair("?", Cells("pbmc_symphony_3tech", ("3pv9",)), Cells("pbmc3k_clustifyr"), folder=shared_data)


# Atlas ------------------------------------------------------------------------------------------------------------


def donors_accuracy(atlas: ad.AnnData, *, n_reference: int) -> np.ndarray:
    """Accuracy on each other donor of a logistic regression trained on the first ones."""
    donor = atlas.obs["donor"].cat.codes.to_numpy()
    truth = atlas.obs[TRUTH].astype(str).to_numpy()
    first = donor < n_reference
    expression = log1p_cp10k(atlas.X, share=1)
    model = LogisticRegression(C=0.3, max_iter=1000).fit(expression[first], truth[first])
    right = pd.Series(model.predict(expression[~first]) == truth[~first])
    return right.groupby(donor[~first]).mean().to_numpy()


def test_embedded_atlas_has_whole_counts_and_every_donor(embedded, ontology):
    assert embedded.shape == (720, 500)
    assert embedded.X.dtype == np.float32
    assert whole(embedded.X)
    assert embedded.X.sum(axis=1).min() > 50
    assert embedded.obs["donor"].value_counts().to_dict() == {f"d{d:03}": 60 for d in range(12)}
    assert embedded.obs["batch"].tolist() == embedded.obs["donor"].tolist()
    assert embedded.obs_names.is_unique
    types = embedded.obs[TRUTH].cat.categories
    assert len(types) >= 9
    assert all(ontology.ids[ontology.index(term)] == term for term in types)


def test_an_atlas_is_read_as_a_reference_is(embedded, tmp_path):
    embedded.write_h5ad(tmp_path / "atlas.h5ad")
    cells = open_cells(tmp_path / "atlas.h5ad", counts="auto")
    assert (cells.counts_in, cells.n_cells) == ("X", 720)


def test_a_seed_decides_every_count():
    small = {"n_donors": 2, "cells_per_donor": 30, "n_genes": 300}
    once, again, other = (make_embedded_atlas(**small, seed=seed) for seed in (3, 3, 4))
    assert (once.X != again.X).nnz == 0
    pd.testing.assert_frame_equal(once.obs, again.obs)
    assert (once.X != other.X).nnz > 0


def test_more_donors_leave_the_first_ones_as_they_are(embedded):
    few = make_embedded_atlas(n_donors=3)
    assert (few.X != embedded.X[: few.n_obs]).nnz == 0
    assert few.obs[TRUTH].tolist() == embedded.obs[TRUTH].tolist()[: few.n_obs]


def test_border_cells_keep_the_label_of_the_larger_part(embedded):
    real = read_source("embedded", n_genes=500)
    on_border = embedded.obs[embedded.obs["lesser_term"] != ""]
    assert 0.15 < len(on_border) / embedded.n_obs < 0.35  # ambiguity 0.25
    assert on_border["lesser_part"].between(0, 0.5, inclusive="neither").all()
    for term, lesser in set(zip(on_border[TRUTH], on_border["lesser_term"], strict=True)):
        assert real.terms.index(lesser) in real.neighbours[real.terms.index(term)]
    assert not (embedded.obs["lesser_part"] > 0)[embedded.obs["lesser_term"] == ""].any()
    none = make_embedded_atlas(n_donors=2, ambiguity=0.0)
    assert not none.obs["lesser_part"].any()


def test_a_type_has_no_neighbour_that_is_itself():
    real = read_source("embedded", n_genes=500)
    own = np.arange(len(real.terms))[:, None]
    assert (real.neighbours != own).all()


def test_profiles_are_shares_about_the_mean_of_the_type():
    real = read_source("embedded", n_genes=100)
    i_b = real.terms.index(B)
    profile, total = real.profiles(np.full(20_000, i_b), assay=0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(profile.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(profile.mean(axis=0), real.means[0, i_b], rtol=0.05, atol=1e-5)
    assert set(total) <= set(real.total[real.kind == i_b])


@pytest.mark.parametrize(
    ("rare_in", "expected"),
    [
        pytest.param(0.0, {0}, id="never_there"),
        pytest.param(0.5, {0, 1}, id="in_some_donors"),
        pytest.param(1.0, {1}, id="in_every_donor"),
    ],
)
def test_rare_types_occur_in_some_donors(rare_in, expected):
    real = read_source("embedded", n_genes=50)
    rare = [term for term, share in zip(real.terms, real.type_share, strict=True) if share < RARE_SHARE]
    assert rare
    atlas = make_embedded_atlas(n_donors=8, cells_per_donor=400, n_genes=50, rare_in=rare_in, concentration=1000.0)
    there = pd.crosstab(atlas.obs["donor"], atlas.obs[TRUTH]).reindex(columns=rare, fill_value=0) > 0
    assert set(there.to_numpy().astype(int).ravel()) == expected


def test_donor_effects_shift_genes_and_depth():
    def apart(**variation: float) -> tuple[float, float]:
        """Mean distance of two donors' mean expression of B cells, and sd of the donors' log depth."""
        atlas = make_embedded_atlas(n_donors=8, cells_per_donor=300, ambiguity=0.0, **variation)
        shifted = atlas[atlas.obs[TRUTH] == B]
        expression = pd.DataFrame(log1p_cp10k(shifted.X, share=1).toarray())
        mean = expression.groupby(shifted.obs["donor"].to_numpy(), observed=True).mean().to_numpy()
        total = pd.Series(np.asarray(atlas.X.sum(axis=1)).ravel()).groupby(atlas.obs["donor"].to_numpy(), observed=True)
        return float(np.linalg.norm(mean[:4] - mean[4:], axis=1).mean()), float(np.log(total.median()).std())

    still, alike = apart(donor_sd=0.0, depth_sd=0.0)
    moved, unlike = apart(donor_sd=0.35, depth_sd=0.3)
    assert moved > 1.5 * still
    assert unlike > 2 * alike


def test_embedded_atlas_is_neither_easy_nor_hopeless(embedded):
    accuracy = donors_accuracy(embedded, n_reference=6)
    assert 0.8 < accuracy.mean() < 0.98
    assert 0.005 < accuracy.std(ddof=1) < 0.12
    harder = make_embedded_atlas(donor_sd=0.9, ambiguity=0.8)
    assert donors_accuracy(harder, n_reference=6).mean() < accuracy.mean() - 0.05


def test_atlas_is_neither_easy_nor_hopeless(shared_data, ontology):
    atlas = make_atlas(source=shared_data / "pbmc_symphony_3tech.h5ad")
    assert atlas.shape == (4500, 800)
    assert whole(atlas.X)
    assert set(atlas.obs[TRUTH].cat.categories) == {B, CD4, CD8, NK, CD14_MONO, CD16_MONO, DC, MK, HSC}
    assert atlas.obs["assay"].nunique() == 3
    assert (atlas.obs.groupby("donor", observed=True)["assay"].nunique() == 1).all()
    types_of_a_donor = atlas.obs.groupby("donor", observed=True)[TRUTH].nunique()
    assert types_of_a_donor.min() < 9
    accuracy = donors_accuracy(atlas, n_reference=15)
    assert 0.82 < accuracy.mean() < 0.97
    assert 0.01 < accuracy.std(ddof=1) < 0.1


def test_more_genes_than_there_are_is_refused():
    with pytest.raises(ValueError, match="n_genes: expected 1 to the 765"):
        make_embedded_atlas(n_genes=766)


# Types left out of an atlas ---------------------------------------------------------------------------------------


def split(atlas: ad.AnnData, *terms: str) -> Made:
    return leave_out_types(atlas, terms, n_reference=8)


def test_types_are_left_out_of_the_reference_alone(embedded):
    reference, query, facts = split(embedded, NK)
    assert facts["unseen_terms"] == (NK,)
    assert facts["parents"] == {NK: LYMPHOCYTE}
    assert (facts["batch"], facts["donor"], facts["query_batch"]) == ("batch", "donor", "batch")
    assert reference.obs["donor"].unique().tolist() == [f"d{d:03}" for d in range(8)]
    assert query.obs["donor"].unique().tolist() == [f"d{d:03}" for d in range(8, 12)]
    assert query.n_obs == 240
    assert facts["n_unseen"] == (query.obs[TRUTH] == NK).sum() > 0
    assert reference.n_obs == 480 - (embedded.obs[TRUTH][:480] == NK).sum()


def test_a_split_without_types_is_a_plain_pair(embedded):
    reference, _, facts = split(embedded)
    assert reference.n_obs == 480
    assert facts["name"] == "S"


@pytest.mark.parametrize("n_reference", [0, 12])
def test_both_sides_need_a_donor(embedded, n_reference):
    with pytest.raises(ValueError, match="expected 1 to 11 of the 12 donors"):
        leave_out_types(embedded, [NK], n_reference=n_reference)
