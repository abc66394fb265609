"""totalVI kNN: the shared checks on CITE-seq cells, what surgery may move, and cells whose proteins are missing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import end_to_end, p1

from celljury.errors import InputError, MemberError
from celljury.members import scvi_training, totalvi_training
from celljury.members.base import Block, Proteins, Reference
from celljury.members.checks import Trial, member_checks
from celljury.members.scvi_model import Encoder, build, release, state_of
from celljury.members.scvi_training import operate
from celljury.members.torch_session import session
from celljury.members.totalvi_knn import TotalviKnn
from celljury.members.totalvi_training import mean_counts, without_gaps

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("scvi", reason="needs scvi-tools", exc_type=ImportError)

MAKE = partial(TotalviKnn, latent=8, hidden=32, epochs=30, surgery_epochs=3)
COLUMNS = "fc_layers.Layer 0.0.weight"
DECODERS = (
    "px_decoder", "px_scale_decoder", "py_back_decoder", "py_back_mean_log_alpha", "py_back_mean_log_beta",
    "py_fore_decoder", "py_fore_scale_decoder", "sigmoid_decoder", "px_dropout_decoder_gene", "py_background_decoder",
)  # fmt: skip
BACKGROUND = ("background_pro_alpha", "background_pro_log_beta")
# No part of the loss: observed library size, negative binomial genes. The last one is frozen by scvi-tools.
UNUSED = (
    f"encoder.l_gene_encoder.{COLUMNS}", f"decoder.px_dropout_decoder_gene.{COLUMNS}", "log_per_batch_efficiency",
)  # fmt: skip


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(MAKE, proteins=8)


def proteins_of(block: Block) -> Proteins:
    assert block.proteins is not None
    return block.proteins


def lacking(query: Block, names: set[str]) -> Block:
    """Return a query that has not measured some proteins."""
    known = proteins_of(query)
    present = np.array([name not in names for name in known.names])
    return replace(query, proteins=Proteins(known.counts * present.astype(np.float32), known.names, present))


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


def test_names_and_extras_are_those_of_the_package() -> None:
    assert (TotalviKnn.kind, TotalviKnn.heavy) == ("torch", True)
    assert (TotalviKnn.modules, TotalviKnn.distribution, TotalviKnn.extra) == (("scvi", "torch"), "scvi-tools", "scvi")


def test_saved_folder_holds_only_json_and_npz_without_objects(trial, tmp_path) -> None:
    trial.member.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".npz"}
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(not archive[name].dtype.hasobject for name in archive.files)
    assert json.loads((tmp_path / "proteins.json").read_text()) == [f"tag{i}" for i in range(8)]


def test_reference_without_proteins_is_refused_with_the_setting() -> None:
    plain = Trial(MAKE)
    with pytest.raises(InputError, match=r"(?s)expected protein counts.*setting proteins.*got none"):
        MAKE().fit(plain.reference)


def test_proteins_in_another_order_are_refused(trial) -> None:
    known = proteins_of(trial.query)
    other = replace(trial.query, proteins=replace(known, names=known.names[::-1]))
    with pytest.raises(InputError, match=r"align_proteins"):
        trial.member.predict(other)


# Surgery ----------------------------------------------------------------------------------------------------------


def moved_by(trial: Trial, query: Block) -> dict[str, np.ndarray]:
    options = {"epochs": 3, "device": "cpu", "seed": 0, "threads": 1}
    return operate(trial.member.network, query.counts, proteins=trial.member._read(query), **options)


def test_surgery_moves_the_query_batchs_own_entries(trial) -> None:
    start = trial.member.network.typical_batch()
    moved = moved_by(trial, trial.query)
    encoders = [f"encoder.{part}.{COLUMNS}" for part in ("encoder", "l_gene_encoder")]
    assert set(moved) == {*BACKGROUND, UNUSED[-1], *encoders, *(f"decoder.{part}.{COLUMNS}" for part in DECODERS)}
    assert {name for name in moved if np.array_equal(moved[name], start[name])} == set(UNUSED)


def test_surgery_leaves_every_other_weight(trial, monkeypatch) -> None:
    after: dict[str, np.ndarray] = {}
    monkeypatch.setattr(
        scvi_training, "release", lambda *models: after.update(state_of(models[-1])) or release(*models)
    )
    moved = moved_by(trial, trial.query)
    network = trial.member.network
    assert set(after) == set(network.state)
    for name, weight in network.state.items():
        assert_array_equal(after[name][:, :-1] if name in moved else after[name], weight, err_msg=name)


def test_weights_that_move_beside_the_batchs_own_are_an_error(trial, monkeypatch) -> None:
    with session(seed=0, threads=1):
        model = build(trial.member.network)
        kind = type(model)
        release(model)
    real = kind.load_query_data.__func__
    monkeypatch.setattr(kind, "load_query_data", classmethod(partial(real, unfrozen=True)))
    with pytest.raises(MemberError, match="surgery moved"):
        moved_by(trial, trial.query)


def test_reference_cells_stay_where_they_were(trial) -> None:
    cells = trial.reference.cells
    options = {"present": cells.present, "share": trial.member.gene_share, "proteins": cells.proteins}
    before = Encoder(trial.member.network, threads=1).latent(cells.counts, cells.batch, **options)
    assert_allclose(trial.member.encoder.latent(cells.counts, cells.batch, **options), before, rtol=0, atol=1e-5)
    # The query's own batch is elsewhere: what surgery learned is in use.
    query = trial.query
    typical = np.full(query.n_cells, trial.member.network.n_batches)
    plain = trial.member.encoder.latent(query.counts, typical, **(options | {"proteins": query.proteins}))
    assert np.abs(trial.member.placed(query) - plain).max() > 1e-3


def test_nothing_is_learned_from_proteins_that_the_query_lacks(trial) -> None:
    lost = {"tag1", "tag6"}
    start, moved = trial.member.network.typical_batch(), moved_by(trial, lacking(trial.query, lost))
    measured = [i for i in range(8) if f"tag{i}" not in lost]
    for name in BACKGROUND:
        change = np.abs(moved[name] - start[name]).ravel()
        assert change[[1, 6]].max() == 0, name
        assert change[measured].min() > 0, name


# Proteins that are missing ----------------------------------------------------------------------------------------


def test_missing_proteins_are_filled_as_worked_by_hand() -> None:
    counts = np.array([[10, 0, 0], [40, 0, 0]], np.float32)
    some = Proteins(counts, ("a", "b", "c"), np.array([True, False, False]))
    mean = np.array([20.4, 7.6, 3.0])
    assert_array_equal(without_gaps(some, mean=mean), [[10, 8, 3], [40, 8, 3]])
    none = replace(some, present=np.zeros(3, bool))
    assert_array_equal(without_gaps(none, mean=mean), [[20, 8, 3], [20, 8, 3]])
    assert_array_equal(without_gaps(replace(some, present=np.ones(3, bool)), mean=mean), counts)


def test_mean_is_over_batches_that_measured_the_protein() -> None:
    counts = np.array([[2, 0], [4, 0], [6, 8]], np.float32)
    assert_array_equal(mean_counts(counts, np.array([0, 0, 3])), [4, 8])


@pytest.fixture(scope="module")
def told_by_proteins() -> tuple[TotalviKnn, Trial]:
    """Genes that say nothing of the type, and proteins that tell it: cells got the genes of others."""
    trial = Trial(MAKE, proteins=8)
    rng = np.random.default_rng(0)
    for cells in (trial.reference.cells, trial.query):
        shuffled = cells.counts[rng.permutation(cells.n_cells)]
        cells.counts.data, cells.counts.indices, cells.counts.indptr = shuffled.data, shuffled.indices, shuffled.indptr
    return MAKE().fit(trial.reference), trial


def accuracy(member: TotalviKnn, query: Block, truth: np.ndarray) -> float:
    return float(np.mean(member.adapt(query).predict(query).mass.argmax(axis=1) == truth))


def test_proteins_tell_types_that_genes_do_not(told_by_proteins) -> None:
    member, trial = told_by_proteins
    assert accuracy(member, trial.query, trial.truth) > 0.9
    assert accuracy(member, replace(trial.query, proteins=None), trial.truth) < 0.6


def test_another_panel_is_read_for_what_it_has(told_by_proteins) -> None:
    """Proteins 0, 3 and 6 are the first type's: read as zeros, its cells are taken for others (0.67 right, not 0.97)."""
    member, trial = told_by_proteins
    assert accuracy(member, lacking(trial.query, {"tag0", "tag3", "tag6"}), trial.truth) > 0.85


def test_genes_tell_types_where_proteins_are_missing(trial, tmp_path: Path) -> None:
    trial.member.save(tmp_path)
    member = TotalviKnn.load(tmp_path)
    nothing = lacking(trial.query, {f"tag{i}" for i in range(8)})
    assert accuracy(member, nothing, trial.truth) > 0.9
    assert_array_equal(
        member.predict(nothing).mass, member.adapt(replace(trial.query, proteins=None)).predict(nothing).mass
    )


def test_reference_batch_without_proteins_is_masked_and_larger_panels_get_their_background(capfd) -> None:
    """Donor 2 has RNA alone; with more than ten proteins scvi-tools draws the background's prior from the cells."""
    trial = Trial(MAKE, proteins=12)
    cells = trial.reference.cells
    known = proteins_of(cells)
    tags = known.counts * (cells.batch == 0)[:, np.newaxis].astype(np.float32)
    half = Reference(replace(cells, proteins=replace(known, counts=tags)), trial.reference.label, trial.reference.terms)
    member = MAKE().fit(half)
    assert_allclose(member.protein_mean, known.counts[cells.batch == 0].mean(axis=0), rtol=1e-6)
    assert accuracy(member, trial.query, trial.truth) > 0.9
    assert capfd.readouterr() == ("", "")


def test_early_stopping_stops_on_held_out_cells(trial, monkeypatch) -> None:
    monkeypatch.setattr(scvi_training, "EARLY_STOPPING_FROM", 100)
    monkeypatch.setattr(scvi_training, "PATIENCE", 1)
    ran = []
    monkeypatch.setattr(
        totalvi_training, "release", lambda model: ran.append(model.trainer.current_epoch) or release(model)
    )
    TotalviKnn(latent=4, hidden=8, epochs=400).fit(trial.reference)
    assert ran[0] < 400


# Real cells -------------------------------------------------------------------------------------------------------


@cache
def tagged_p1() -> tuple[Reference, Block, np.ndarray]:
    """P1 with ten made proteins: each high in a random half of the types, over batches and cells of unequal yield."""
    reference, query, truth = p1()
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 5, 10) * np.where(rng.random((len(reference.terms), 10)) < 0.5, 6, 1)

    def tagged(cells: Block, label: np.ndarray) -> Block:
        batch = rng.lognormal(0, 0.3, (len(cells.batches), 10))[cells.batch]
        yields = rng.lognormal(0, 0.4, cells.n_cells)[:, np.newaxis]
        counts = rng.poisson(rng.gamma(3, rate[label] * batch * yields / 3)).astype(np.float32)
        return replace(cells, proteins=Proteins(counts, tuple(f"p{i}" for i in range(10)), np.ones(10, bool)))

    known = Reference(tagged(reference.cells, reference.label), reference.label, reference.terms)
    return known, tagged(query, truth), truth


def test_technologies_of_blood_agree() -> None:
    """P1 of the evaluation with made proteins. Measured: 0.92 with these 60 epochs, 0.98 with the default 200."""
    found = end_to_end(partial(TotalviKnn, epochs=60), cells=tagged_p1)
    assert found.accuracy > 0.88
