"""Members that vote for terms the reference lacks: the votes stand as cast, and held-out cells say what they are worth."""

from __future__ import annotations

import json
import logging
import pickle
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import SHARED

import celljury
from celljury.config import Config
from celljury.crossfit import Said, joined
from celljury.members.base import MemberVotes
from celljury.ontology.load import load_ontology
from celljury.pool import agreement, calibrate_member, confusion_posterior, right_votes
from celljury.reliability import learn_reliability
from celljury.votes import on_ontology

if TYPE_CHECKING:
    from pathlib import Path

T_CELL, CD4, CD8, NAIVE_CD4, B_CELL, HEPATOCYTE = (
    "CL:0000084", "CL:0000624", "CL:0000625", "CL:0000895", "CL:0000236", "CL:0000182",
)  # fmt: skip


# Laws, on a table that is seen by eye: reference CD4 T, CD8 T, B; further columns T cell (above two), hepatocyte (beside all)


@pytest.fixture(scope="module")
def columns():
    ontology = load_ontology()
    terms = [CD4, CD8, B_CELL, T_CELL, HEPATOCYTE]
    index = ontology.indices(terms)
    order = np.argsort(index)
    foreign = np.array([False, False, False, True, True])[order]
    return ontology, index[order].astype(np.int32), foreign, [terms[i] for i in order]


def test_vote_above_or_below_the_truth_is_right_and_one_beside_it_is_wrong(columns) -> None:
    ontology, index, foreign, names = columns
    agrees = agreement(index, foreign, ontology)
    place = {name: i for i, name in enumerate(names)}
    right = {(true, vote) for true in names for vote in names if agrees[place[true], place[vote]]}
    assert right == {(name, name) for name in names} | {(CD4, T_CELL), (CD8, T_CELL)}


def test_without_foreign_terms_only_the_truth_is_right(columns) -> None:
    ontology, index, _, _ = columns
    assert_array_equal(agreement(index, np.zeros(5, bool), ontology), np.eye(5, dtype=bool))


def test_abstention_is_never_right() -> None:
    votes, truth = np.array([[0, -1], [1, 1]], np.int32), np.array([0, 1], np.int32)
    assert_array_equal(right_votes(votes, truth, np.eye(2, dtype=bool)), [[True, False], [True, True]])


def test_foreign_vote_means_what_it_says_until_held_out_cells_say_what_is_meant() -> None:
    # Columns A, B, F. F was voted 60 times on A and never on B; G (column 3) was never voted.
    counts = np.zeros((4, 4))
    counts[0, 0], counts[1, 1], counts[2, 0] = 50, 40, 60
    posterior = confusion_posterior(counts, smoothing=20, foreign=np.array([False, False, True, True]))
    assert_allclose(posterior[2], [60 / 80, 0, 20 / 80, 0])
    assert_allclose(posterior[3], [0, 0, 0, 1])
    assert_allclose(posterior.sum(axis=1), 1)
    assert_allclose(posterior[0], confusion_posterior(counts, smoothing=20)[0])


def test_member_with_finer_labels_is_read_through_the_held_out_cells() -> None:
    # Truth A or B (columns 0, 1); the member splits A into 2 and 3, which the reference lacks, and says 1 for B.
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400).astype(np.int32)
    vote = np.where(truth == 1, 1, 2 + rng.integers(0, 2, 400))
    mass = np.eye(4)[vote] * 0.9 + 0.025
    agrees = np.eye(4, dtype=bool)
    agrees[0, 2:] = True
    foreign = np.array([False, False, True, True])
    made = calibrate_member(mass, truth, agrees=agrees, foreign=foreign)
    assert made.method == "confusion"
    assert made.accuracy == 1
    assert made.macro_f1 == 1
    assert_array_equal(made.apply(mass).argmax(axis=1), truth)
    assert calibrate_member(mass, truth).accuracy < 0.6  # read as if only the reference's own terms could be right


def test_vote_for_a_foreign_term_is_worth_as_much_as_one_that_is_as_often_right() -> None:
    # Two members, always right: one says the term, the other one of its two kinds (columns 2 and 3).
    truth = np.repeat([0, 1], 200).astype(np.int32)
    fine = np.where(truth == 1, 1, 2 + np.arange(400) % 2)
    vote = np.stack([truth, fine], axis=1).astype(np.int32)
    patterns, n = np.unique(vote, axis=0, return_counts=True)
    agrees = np.eye(4, dtype=bool)
    agrees[0, 2:] = True
    found = learn_reliability(patterns, n, held_vote=vote, held_truth=truth, n_terms=4, agrees=agrees)
    blind = learn_reliability(patterns, n, held_vote=vote, held_truth=truth, n_terms=4)
    assert found.right[1, 2] > 0.9
    assert blind.right[1, 2] < 0.1
    assert found.worth[1, 2] > 0.7 * found.worth[0, 0]
    assert_allclose(found.accuracy[0], blind.accuracy[0], atol=1e-4)


def test_folds_with_other_terms_are_joined() -> None:
    def said(rows: list[int], terms: tuple[str, ...], top: list[int]) -> Said:
        mass = np.eye(len(terms), dtype=np.float32)[top]
        return Said(np.array(rows), terms, MemberVotes(mass, np.arange(len(rows), dtype=np.float32), {}))

    votes, terms = joined([said([2, 0], ("a", "x"), [0, 1]), said([1], ("b", "a", "y"), [2])], ("a", "b"), n_cells=4)
    assert terms == ("a", "b", "x", "y")
    assert [terms[i] for i in votes.mass[:3].argmax(axis=1)] == ["x", "y", "a"]
    assert not votes.mass[3].any()
    assert_array_equal(votes.strange, [1, 0, 0, np.nan])


def test_terms_that_the_ontology_lacks_are_left_out_of_the_mass() -> None:
    ontology = load_ontology()
    votes = MemberVotes(np.array([[0.5, 0.3, 0.2], [0, 0, 1]], np.float32), np.zeros(2, np.float32), {})
    kept, index = on_ontology(votes, (CD4, CD8, "CL:9999999"), ontology)
    assert [ontology.ids[i] for i in index] == [CD4, CD8]
    assert_allclose(kept.mass, [[0.625, 0.375], [0, 0]])


# A pretrained CellTypist model in a jury, end to end -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[ad.AnnData, ad.AnnData, Path, Path]:
    """The reference with T cells in one, its query, a model trained elsewhere on finer labels of its own, and their map."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data (real data sets that are not part of the repository)")
    pytest.importorskip("celltypist")
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from celljury.members.celltypist_library import import_celltypist
    from celljury.members.normalize import log1p_cp10k

    cells = ad.read_h5ad(SHARED / "pbmc_symphony_3tech.h5ad")
    terms = cells.obs["cell_type_ontology_term_id"].astype(str)
    cells.obs["coarse"] = terms.replace({CD4: T_CELL, CD8: T_CELL})
    batch = cells.obs["batch"].astype(str)
    elsewhere = cells[batch == "3pv1"]
    labels = elsewhere.obs["cell_type"].astype(str).to_numpy()
    z = log1p_cp10k(elsewhere.X.tocsr(), share=1.0).toarray()
    scaler = StandardScaler().fit(z)
    classifier = LogisticRegression(C=0.1, max_iter=500).fit(np.minimum(scaler.transform(z), 10), labels)
    classifier.features = np.array(cells.var_names)
    model = import_celltypist().models.Model(classifier, scaler, {"number_celltypes": len(set(labels))})
    folder = tmp_path_factory.mktemp("pretrained")
    model.write(str(folder / "model.pkl"))
    known = dict(zip(cells.obs["cell_type"].astype(str), terms, strict=True))
    rows = [f"{label}\tskos:exactMatch\t{known[label]}" for label in sorted(set(labels))]
    text = "\n".join(["subject_label\tpredicate_id\tobject_id", *rows]) + "\n"
    (folder / "map.sssom.tsv").write_text(text, encoding="utf-8")
    return cells[batch == "3pv2"].copy(), cells[batch == "5p"].copy(), folder / "model.pkl", folder / "map.sssom.tsv"


@pytest.fixture(scope="module")
def jury(real, tmp_path_factory) -> celljury.Jury:
    reference, _, model, table = real
    folder = tmp_path_factory.mktemp("jury")
    (folder / "settings.toml").write_text(
        'members = ["logistic", "singler", "celltypist"]\nengine = "local"\n'
        f'[settings.celltypist]\nmodel = "{model}"\nlabel_map = "{table}"\ntrust_model = true\n'
    )
    config = Config.read(folder / "settings.toml")
    return celljury.fit(reference, labels="coarse", config=config, out=folder / "jury")


def votes_of(run: celljury.Run) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(part) for part in sorted((run.folder / "votes").glob("part-*.parquet"))])


def test_pretrained_labels_vote_as_they_are_mapped_and_the_call_stays_at_the_references_level(
    real, jury, tmp_path
) -> None:
    _, query, _, _ = real
    run = celljury.annotate(query, jury, out=tmp_path / "run", h5ad=False, figures=False)
    votes = votes_of(run)
    truth = query.obs["cell_type_ontology_term_id"].astype(str).to_numpy()
    t_cell = np.isin(truth, [CD4, CD8])
    assert set(votes["vote_celltypist"][t_cell].dropna()) >= {CD4, CD8}
    assert (votes["vote_celltypist"].to_numpy() == truth)[t_cell].mean() > 0.75
    # Held-out donors know T cells only: the promise covers that level, and the calls of T cells stand there.
    called = run.calls["term"].to_numpy()
    assert np.isin(called[t_cell], [T_CELL]).mean() > 0.8
    card = json.loads((jury.folder / "card.json").read_text())
    member = next(m for m in card["calibration"]["evidence"]["members"] if m["name"] == "celltypist")
    assert member["method"] == "confusion"
    assert member["accuracy"] > 0.9
    assert member["weight"] > 0.5 * max(m["weight"] for m in card["calibration"]["evidence"]["members"])


def test_by_votes_alone_its_finer_term_counts_below_the_others(real, jury, tmp_path) -> None:
    _, query, _, _ = real
    config = Config.read(base=jury.config, reduce__rule="quorum", reduce__quorum=0.6)
    run = celljury.annotate(query, jury, out=tmp_path / "run", config=config, h5ad=False, figures=False)
    votes = votes_of(run).set_index("cell_id")
    calls = run.calls
    finer = votes.index[
        (votes["vote_celltypist"] == CD4) & (votes["vote_logistic"] == T_CELL) & (votes["vote_singler"] == T_CELL)
    ]
    assert len(finer) > 50
    assert set(calls.loc[finer, "term"]) <= {T_CELL}
    assert (calls.loc[finer, "agreement"].astype(float) == 1).all()


def test_labels_without_a_term_are_named_once_and_abstain(real, tmp_path, caplog) -> None:
    from on_p1 import p1

    from celljury.members.celltypist import CellTypist

    _, _, model, table = real
    shorter = tmp_path / "map.sssom.tsv"
    shorter.write_text("\n".join(table.read_text().splitlines()[:-3]) + "\n")
    reference, query, _ = p1()
    with caplog.at_level(logging.WARNING, logger="celljury.members.celltypist"):
        member = CellTypist(model=str(model), trust_model=True, label_map=str(shorter)).fit(reference)
    (record,) = caplog.records
    assert "map to no term and abstain" in record.getMessage()
    votes = member.predict(query)
    assert 0.02 < np.mean(votes.mass.sum(axis=1) == 0) < 0.7


def test_map_that_names_an_unknown_term_is_refused_with_its_line(real, tmp_path) -> None:
    from on_p1 import p1

    from celljury.errors import UnknownTermError
    from celljury.members.celltypist import CellTypist

    _, _, model, table = real
    wrong = tmp_path / "map.sssom.tsv"
    wrong.write_text(table.read_text().replace(CD4, "CL:9999999"))
    with pytest.raises(UnknownTermError, match=r"map\.sssom\.tsv, line \d+.*CL:9999999"):
        CellTypist(model=str(model), trust_model=True, label_map=str(wrong)).fit(p1()[0])


def test_files_in_a_config_are_relative_to_it(tmp_path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({}))
    (tmp_path / "c.toml").write_text('[settings.celltypist]\nmodel = "model.pkl"\nlabel_map = "nowhere.tsv"\n')
    read = Config.read(tmp_path / "c.toml").settings["celltypist"]
    assert read == {"model": str(tmp_path / "model.pkl"), "label_map": "nowhere.tsv"}
