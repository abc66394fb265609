"""A pretrained CellTypist model: its own genes, its own labels, also such as the reference lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import SHARED, end_to_end, p1

from celljury.members.celltypist import CellTypist
from celljury.members.checks import TERMS, Trial
from celljury.ontology.load import load_ontology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAIVE_B = "CL:0000788"

pytest.importorskip("celltypist")


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(CellTypist)


@pytest.fixture
def pretrained(trial, tmp_path) -> Callable[[list[str]], CellTypist]:
    """Fit on the trial's reference the model that the trial trained, with other names for its three cell types."""

    def taken(labels: list[str]) -> CellTypist:
        model = trial.member._model()
        model.classifier.classes_ = np.array(labels)
        model.write(str(tmp_path / "model.pkl"))
        return CellTypist(model=str(tmp_path / "model.pkl"), trust_model=True).fit(trial.reference)

    return taken


def test_labels_that_the_ontology_knows_need_no_map(trial, pretrained) -> None:
    member = pretrained(["B cell", "natural killer cell", TERMS[2]])
    assert member.terms == TERMS
    assert_allclose(member.predict(trial.query).mass, trial.votes.mass, atol=1e-6)


def test_term_that_the_reference_lacks_stands_behind_its_terms_with_the_mass_of_its_label(trial, pretrained) -> None:
    member = pretrained(["naive B cell", "natural killer cell", TERMS[2]])
    assert member.terms == (*TERMS, NAIVE_B)
    mass = member.predict(trial.query).mass
    assert_array_equal(mass[:, 0], 0)
    assert_allclose(mass[:, [3, 1, 2]], trial.votes.mass, atol=1e-6)


def test_labels_of_one_term_share_its_mass(trial, pretrained) -> None:
    mass = pretrained(["B cell", "B lymphocyte", TERMS[2]]).predict(trial.query).mass
    assert_allclose(mass[:, 0], trial.votes.mass[:, :2].sum(axis=1), atol=1e-6)
    assert_array_equal(mass[:, 1], 0)


def test_saved_member_keeps_its_further_terms(trial, pretrained, tmp_path) -> None:
    member = pretrained(["naive B cell", "natural killer cell", TERMS[2]])
    member.save(tmp_path / "saved")
    (tmp_path / "model.pkl").unlink()
    again = CellTypist.load(tmp_path / "saved")
    assert again.terms == member.terms
    assert_array_equal(again.predict(trial.query).mass, member.predict(trial.query).mass)


# On real cells: a model of pbmc3k, with naive and memory CD4 T cells, in a jury that knows CD4 T cells ----------------------


@pytest.fixture(scope="module")
def from_pbmc3k(tmp_path_factory) -> tuple[Path, Path]:
    """A model that was trained on all 2,000 genes of pbmc3k with its authors' labels, and their map."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real data sets that are not part of the repository)")
    import anndata
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from celljury.members.celltypist_library import import_celltypist
    from celljury.members.normalize import log1p_cp10k

    cells = anndata.read_h5ad(SHARED / "pbmc3k_clustifyr.h5ad")
    labels = cells.obs["cell_type"].astype(str).to_numpy()
    terms = cells.obs["cell_type_ontology_term_id"].astype(str).to_numpy()
    expression = log1p_cp10k(cells.X.tocsr().astype(np.float32), share=1.0).toarray()
    scaler = StandardScaler().fit(expression)
    classifier = LogisticRegression(C=0.1, max_iter=300).fit(np.minimum(scaler.transform(expression), 10), labels)
    classifier.features = np.array(cells.var_names)
    folder = tmp_path_factory.mktemp("pbmc3k")
    model = import_celltypist().models.Model(classifier, scaler, {"number_celltypes": len(set(labels))})
    model.write(str(folder / "model.pkl"))
    rows = [
        f"{label}\tskos:exactMatch\t{term}" for label, term in sorted(set(zip(labels.tolist(), terms, strict=True)))
    ]
    text = "\n".join(["subject_label\tpredicate_id\tobject_id", *rows]) + "\n"
    (folder / "map.sssom.tsv").write_text(text, encoding="utf-8")
    return folder / "model.pkl", folder / "map.sssom.tsv"


def test_model_of_another_experiment_and_finer_labels_votes_on_the_line_of_the_truth(from_pbmc3k) -> None:
    model, table = from_pbmc3k
    found = end_to_end(lambda: CellTypist(model=str(model), trust_model=True, label_map=str(table)))
    reference, _, truth = p1()
    own = found.member.terms[len(reference.terms) :]
    assert found.member.terms[: len(reference.terms)] == reference.terms
    assert own == ("CL:0000233", "CL:0000895", "CL:0000897")  # platelet, naive and memory CD4 T cell
    assert found.member.known.sum() == 271  # of 2,000: the two data sets chose their variable genes apart
    ontology = load_ontology()
    index = ontology.indices(found.member.terms)
    voted = found.votes.mass.sum(axis=1) > 0
    vote, true = index[found.votes.mass.argmax(axis=1)][voted], index[truth][voted]
    on_line = ontology.is_ancestor(vote, true) | ontology.is_ancestor(true, vote)
    assert voted.mean() > 0.98
    assert on_line.mean() > 0.85  # measured: .89
    finer = np.isin(vote, ontology.indices(["CL:0000895", "CL:0000897"]))
    assert finer[true == ontology.index("CL:0000624")].mean() > 0.8
