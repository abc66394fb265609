"""`panhuman_azimuth`: panhumanpy's own code around a network whose weights were set by hand."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anndata
import numpy as np
import pandas as pd
import pytest
from environments_for_tests import needs_environment
from numpy.testing import assert_array_equal
from on_p1 import SHARED, end_to_end, p1

import celljury
from celljury.config import Config
from celljury.errors import ConfigError, MemberError, MemberUnavailableError
from celljury.members.arrays import load_arrays
from celljury.members.checks import MARKERS, N_GENES, TERMS, Trial, member_checks
from celljury.members.panhuman_azimuth import FILE, PanhumanAzimuth
from celljury.members.remote import RemoteMember
from celljury.members.workers.panhuman_network import refuse_code, terms_of, usable_terms

if TYPE_CHECKING:
    from celljury.members.base import Reference

# Genes of the panel that stand for the trial's made ones, and the labels whose terms are the trial's.
LABELS = ("B cell", "NK cell", "CD14 monocyte")
BLOOD = {
    "B cell": ["MS4A1", "CD79A", "CD79B", "TCL1A"],
    "NK cell": ["GNLY", "KLRD1", "KLRF1", "SPON2"],
    "CD14 monocyte": ["S100A8", "S100A9", "CD14", "VCAN"],
    "CD16 monocyte": ["FCGR3A", "CDKN1C", "MS4A7", "LST1"],
    "Dendritic cell": ["FCER1A", "CLEC10A", "CST3"],
    "Megakaryocyte": ["PPBP", "PF4", "GP9"],
    "Naive CD4 T cell": ["IL7R", "LEF1", "CCR7", "CD3D"],
    "CD4 T cell": ["IL7R", "LTB", "IL32", "CD3E"],
    "GZMK CD8 T cell": ["CD8A", "CD8B", "GZMK", "GZMH"],
}


class Maker(RemoteMember):
    """Asks `panhuman_network_maker` in the member's own interpreter."""

    name: ClassVar[str] = "maker"
    environment: ClassVar[str] = "panhuman"
    worker: ClassVar[str] = str(Path(__file__).with_name("panhuman_network_maker.py"))
    asked: ClassVar[dict[str, Any]] = {}

    def options(self) -> dict[str, Any]:
        return dict(self.asked)


def made(reference: Reference, to: Path, markers: dict[str, list[str]], **odd: bool) -> Maker:
    Maker.asked = {
        "to": str(to), "markers": markers, "reference": reference.terms, "with_code": False, "of_another_version": False,
    } | odd  # fmt: skip
    return Maker().fit(reference)


class PanelTrial(Trial):
    """The made cells with genes that the network takes."""

    def __init__(self, make, **trial: Any) -> None:
        super().__init__(make, **trial)
        genes = panel()[:N_GENES]
        self.reference = replace(self.reference, cells=replace(self.reference.cells, genes=genes))
        self.query = replace(self.query, genes=genes)


def panel() -> tuple[str, ...]:
    """The genes of the installed package's network."""
    from celljury.members.environments import environments_folder

    (path,) = (environments_folder() / "panhuman").glob("**/v1/inference_feature_panel/inference_feature_panel.txt")
    return tuple(path.read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A network that knows the trial's three types by their made markers."""
    needs_environment("panhuman")
    path = tmp_path_factory.mktemp("network") / FILE
    genes = panel()
    markers = {label: list(genes[i * MARKERS : (i + 1) * MARKERS]) for i, label in enumerate(LABELS)}
    made(PanelTrial(PanhumanAzimuth).reference, path, markers)
    return path


@pytest.fixture(scope="module")
def trial(network) -> PanelTrial:
    return PanelTrial(lambda: PanhumanAzimuth(weights=str(network)))


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


# A file of the user's, and the package's table: what runs without the other interpreter ------------------------------------


def described(path: Path, *objects: dict[str, Any]) -> bytes:
    """A Keras file that is made of these objects beside plain ones."""
    plain = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}}
    config = {
        "module": "keras.src.models.functional", "class_name": "Functional", "config": {"layers": [plain, *objects]},
        "compile_config": {"loss": {"module": None, "class_name": "LvlWtFocalLoss"}},
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        pytest.param("keras.layers", "Lambda", id="lambda_holds_bytecode"),
        pytest.param("keras.layers", "TFSMLayer", id="saved_model_holds_a_graph"),
        pytest.param("builtins", "function", id="any_function"),
        pytest.param("os", "system", id="any_module"),
        pytest.param("keras.utils", "get_file", id="keras_function_that_fetches"),
        pytest.param(None, "__lambda__", id="lambda_as_a_value"),
        pytest.param(None, "Mine", id="registered_class"),
    ],
)
def test_file_that_names_more_than_plain_layers_is_refused(module, kind, tmp_path) -> None:
    inner = {"config": {"function": [{"module": module, "class_name": kind}]}}
    with pytest.raises(ValueError, match=rf"network\.keras is made with .*{kind!r}, which may run code"):
        refuse_code(described(tmp_path / "network.keras", inner), name="network.keras")


def test_plain_layers_pass_whatever_they_were_compiled_with(tmp_path) -> None:
    refuse_code(described(tmp_path / "network.keras", {"class_name": "__keras_tensor__"}), name="network.keras")


def test_label_counts_for_the_nearest_term_that_is_true_of_it() -> None:
    rows = [
        ("Epithelial cell", "CL:0000066", "skos:exactMatch"), ("ZEB2+ cell", "CL:0000066", "skos:narrowMatch"),
        ("Leydig cell progenitor", "CL:0009091", "skos:broadMatch"), ("Doublet", "CL:0000000", "skos:narrowMatch"),
    ]  # fmt: skip
    table = [dict(zip(("Annotation_Label", "CL_ID", "CL_Match"), row, strict=True)) for row in rows]
    classes = [("ZEB2+ cell",), ("Epithelial cell", "Leydig cell progenitor"), ("Doublet",), ("Unassigned",)]
    assert terms_of(classes, usable_terms(table)) == ["CL:0000066", "CL:0000066", None, None]


# What is taken over --------------------------------------------------------------------------------------------------


def test_terms_of_the_network_stand_behind_the_references(trial) -> None:
    terms = trial.member.terms
    assert terms[:3] == TERMS
    assert len(terms) == len(set(terms))
    assert "CL:0000787" in terms  # memory B cell
    assert "CL:0000000" not in terms  # what the package's table says of doublets


def test_cell_that_is_likeliest_a_doublet_abstains(trial, tmp_path) -> None:
    genes = panel()
    labels = ("Fibroblast/Granulosa doublet like cell", *LABELS[1:])
    markers = {label: list(genes[i * MARKERS : (i + 1) * MARKERS]) for i, label in enumerate(labels)}
    made(trial.reference, tmp_path / FILE, markers)
    votes = PanhumanAzimuth(weights=str(tmp_path / FILE)).fit(trial.reference).predict(trial.query)
    said = votes.mass.sum(axis=1) > 0
    assert not said[trial.truth == 0].any()
    assert said[trial.truth != 0].all()
    others = trial.truth != 0
    assert_array_equal(votes.mass.argmax(axis=1)[others], trial.truth[others])


def test_file_is_not_needed_once_it_is_taken_over(trial, network, tmp_path) -> None:
    member = PanhumanAzimuth(weights=str(network)).fit(trial.reference)
    member.save(tmp_path / "member")
    assert load_arrays(tmp_path / "member" / "fitted" / "state.npz")["network"].tobytes() == network.read_bytes()
    hidden = network.with_suffix(".away")
    network.rename(hidden)
    try:
        votes = PanhumanAzimuth.load(tmp_path / "member").predict(trial.query)
    finally:
        hidden.rename(network)
    assert_array_equal(votes.mass, trial.votes.mass)


def test_missing_file_is_named_with_where_it_comes_from(trial, tmp_path) -> None:
    where = rf"{FILE}.*zenodo\.org/records/20401417"
    with pytest.raises(ConfigError, match=f"is not set.*{where}"):
        PanhumanAzimuth()
    with pytest.raises(MemberUnavailableError, match=f"none.keras is not a file.*{where}"):
        PanhumanAzimuth(weights=str(tmp_path / "none.keras")).fit(trial.reference)


def test_network_with_code_in_it_is_refused(trial, tmp_path) -> None:
    made(trial.reference, tmp_path / FILE, {"B cell": [panel()[0]]}, with_code=True)
    with pytest.raises(MemberError, match=r"is made with keras\.layers 'Lambda', which may run code"):
        PanhumanAzimuth(weights=str(tmp_path / FILE)).fit(trial.reference)


def test_network_of_another_shape_is_refused_with_the_shapes_that_serve(trial, tmp_path) -> None:
    made(trial.reference, tmp_path / FILE, {"B cell": [panel()[0]]}, of_another_version=True)
    with pytest.raises(MemberError, match=r"5055 -> 13, .*, 380 numbers a cell, expected .*v1: 5055 -> 13, .*, 382"):
        PanhumanAzimuth(weights=str(tmp_path / FILE)).fit(trial.reference)


def test_other_file_is_refused(trial, tmp_path) -> None:
    (tmp_path / FILE).write_bytes(b"no model")
    with pytest.raises(MemberError, match="is not a Keras model"):
        PanhumanAzimuth(weights=str(tmp_path / FILE)).fit(trial.reference)


def test_reference_without_any_of_its_genes_is_refused(trial, network) -> None:
    cells = replace(trial.reference.cells, genes=tuple(f"ENSG{i:011d}" for i in range(N_GENES)))
    with pytest.raises(MemberError, match=r"none of them is among the reference's 60, such as ENSG"):
        PanhumanAzimuth(weights=str(network)).fit(replace(trial.reference, cells=cells))


# On real cells: a network of a few markers, in panhumanpy's own pipeline and in ours ---------------------------------------


@pytest.fixture(scope="module")
def blood(tmp_path_factory) -> tuple[Path, Maker]:
    """A network that knows types of blood by three or four markers each, and who made it."""
    needs_environment("panhuman")
    path = tmp_path_factory.mktemp("blood") / FILE
    return path, made(p1()[0], path, BLOOD)


def test_votes_are_panhumanpys_labels_mapped_by_its_own_table(blood, caplog) -> None:
    path, maker = blood
    reference, query, truth = p1()
    found = end_to_end(lambda: PanhumanAzimuth(weights=str(path)))
    assert "608 of the network's 5055 genes" in caplog.text
    terms = found.member.terms
    Maker.asked = {**Maker.asked, "to": str(path), "known": terms}
    said = maker.predict(query)
    own, on_one_path = said.signals["residual"].astype(int), said.strange == 0
    voted = found.votes.mass.sum(axis=1) > 0
    assert voted.mean() > 0.97
    assert on_one_path.mean() > 0.9  # elsewhere its labels are made of parts of several paths
    vote = found.votes.mass.argmax(axis=1)
    assert_array_equal(vote[voted & on_one_path], own[voted & on_one_path])
    named = np.array(terms)
    assert {"CL:0000895", "CL:0000624", "CL:4052021"} <= set(named[vote[voted]].tolist())
    for term in ("CL:0000236", "CL:0001054"):
        assert np.mean(named[vote][np.array(reference.terms)[truth] == term] == term) > 0.9


def test_in_a_jury_its_labels_are_read_through_held_out_donors(blood, tmp_path) -> None:
    path, _ = blood
    cells = anndata.read_h5ad(SHARED / "pbmc_symphony_3tech.h5ad")
    new = cells.obs["batch"].astype(str) == "5p"
    config = Config.read(
        members=["logistic", "panhuman_azimuth"], engine="local", calibration__folds=2,
        settings__panhuman_azimuth__weights=str(path),
    )  # fmt: skip
    reference = cells[~new].copy()
    jury = celljury.fit(
        reference, labels="cell_type_ontology_term_id", batch="batch", config=config, out=tmp_path / "jury"
    )
    run = celljury.annotate(cells[new].copy(), jury, batch="batch", out=tmp_path / "run", h5ad=False, figures=False)
    (part,) = (run.folder / "votes").glob("part-*.parquet")
    votes = pd.read_parquet(part)["vote_panhuman_azimuth"]
    truth = cells.obs["cell_type_ontology_term_id"][new].astype(str).to_numpy()
    assert {"CL:0000895", "CL:4052021"} <= set(votes.dropna())  # naive CD4 T cell, effector memory CD8 T cell: its own
    assert np.mean(run.calls["term"].to_numpy() == truth) > 0.8
    evidence = json.loads((jury.folder / "card.json").read_text())["calibration"]["evidence"]["members"]
    assert {member["name"]: member["method"] for member in evidence}["panhuman_azimuth"] == "confusion"


def test_real_network_votes_on_real_cells() -> None:
    needs_environment("panhuman")
    path = os.environ.get("CELLJURY_PANHUMAN_WEIGHTS")
    if not path:
        pytest.skip(f"needs {FILE} (https://zenodo.org/records/20401417), named by CELLJURY_PANHUMAN_WEIGHTS")
    reference, _, truth = p1()
    found = end_to_end(lambda: PanhumanAzimuth(weights=path))
    vote = np.array(found.member.terms)[found.votes.mass.argmax(axis=1)]
    true = np.array(reference.terms)[truth]
    assert np.mean(vote[true == "CL:0000236"] == "CL:0000236") > 0.3
