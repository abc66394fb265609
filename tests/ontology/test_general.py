from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from celljury.errors import ConfigError, UnknownTermError
from celljury.ontology.general import shipped_list, too_general, too_general_policy

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology


def listed(ontology: CellOntology, mask: np.ndarray) -> set[str]:
    assert mask.dtype == np.bool_
    assert mask.shape == (len(ontology),)
    return {ontology.ids[i] for i in np.flatnonzero(mask)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, set(), id="shipped_list_names_no_toy_term"),
        pytest.param({"terms": ("T:0", "T:90")}, {"T:0", "T:2"}, id="own_list_follows_replaced_ids"),
        pytest.param({"terms": ()}, set(), id="empty_list_is_no_list"),
        pytest.param({"max_descendants": 3}, {"T:0", "T:1"}, id="more_than_the_limit"),
        pytest.param({"max_descendants": 2}, {"T:0", "T:1", "T:2"}, id="limit_itself_is_allowed"),
        pytest.param({"max_descendants": 3, "exceptions": ("T:1",)}, {"T:0"}, id="exception_beats_the_limit"),
        pytest.param({"terms": ("T:7",), "exceptions": ("T:7",)}, set(), id="exception_beats_the_list"),
        pytest.param({"terms": ("T:7",), "max_descendants": 6}, {"T:0", "T:7"}, id="list_and_limit_add_up"),
        pytest.param({"terms": ("T:92", "T:7")}, {"T:7"}, id="obsolete_id_is_passed_over"),
    ],
)
def test_policy_by_hand(toy: CellOntology, settings: dict, expected: set[str]) -> None:
    assert listed(toy, too_general(toy, **settings)) == expected


def test_policy_says_why(toy: CellOntology) -> None:
    policy = too_general_policy(toy, terms=("T:7",), max_descendants=6)
    assert policy.why == {
        toy.index("T:0"): "has 8 descendants, more than 6",
        toy.index("T:7"): "is on the list that was given",
    }


def test_unknown_ids_and_negative_limits_are_refused(toy: CellOntology) -> None:
    with pytest.raises(UnknownTermError):
        too_general(toy, terms=("T:77",))
    with pytest.raises(UnknownTermError):
        too_general(toy, exceptions=("T:77",))
    with pytest.raises(ConfigError, match="max_descendants: expected 0 or more, got -1"):
        too_general(toy, max_descendants=-1)


def test_shipped_list_is_live_unique_and_gives_reasons(cl: CellOntology) -> None:
    assert set(shipped_list()) <= set(cl.ids)
    assert all(why and "\t" not in why for why in shipped_list().values())
    assert len(shipped_list()) == int(too_general(cl).sum()) >= 50


def test_shipped_labels_are_those_of_the_release(cl: CellOntology) -> None:
    from importlib.resources import files

    lines = files("celljury.data").joinpath("too_general.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# version 1")
    for line in lines[2:]:
        term_id, label, _ = line.split("\t")
        assert cl.labels[cl.index(term_id)] == label


@pytest.mark.parametrize(
    "term", ["cell", "eukaryotic cell", "motile cell", "secretory cell", "stuff accumulating cell", "progenitor cell"]
)
def test_properties_are_too_general(term: str, cl: CellOntology) -> None:
    assert too_general(cl)[cl.labels.index(term)]


@pytest.mark.parametrize(
    "term",
    [
        "epithelial cell",
        "neuron",
        "leukocyte",
        "lymphocyte",
        "myeloid cell",
        "T cell",
        "hematopoietic cell",
        "connective tissue cell",
        "mononuclear leukocyte",
        "platelet",
        "muscle cell",
        "endothelial cell",
    ],
)
def test_lineages_are_labels(term: str, cl: CellOntology) -> None:
    assert not too_general(cl)[cl.labels.index(term)]


def test_scpca_policy_can_be_said(cl: CellOntology) -> None:
    terms = ("CL:0001035", "CL:0000213", "CL:0000081", "CL:0011026", "CL:0000630")
    mask = too_general(cl, terms=terms, max_descendants=170, exceptions=("CL:0000540", "CL:0000066"))
    names = {cl.labels[i] for i in np.flatnonzero(mask)}
    assert {"bone cell", "blood cell", "progenitor cell", "supporting cell", "lymphocyte", "T cell"} <= names
    assert not {"neuron", "epithelial cell", "interneuron", "stromal cell"} & names
    assert mask.sum() == int((cl.n_descendants > 170).sum()) - 2 + 3  # progenitor cell is over the limit anyway


def test_walks_of_random_pairs_mostly_end_at_listed_terms(cl: CellOntology) -> None:
    pairs = np.random.default_rng(0).integers(0, len(cl), (20000, 2)).astype(np.int32)
    meet = cl.lca_rows(pairs)
    assert too_general(cl)[meet[meet >= 0]].mean() > 0.6
