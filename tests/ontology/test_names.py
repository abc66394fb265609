"""Texts to terms: exact look-ups by hand, suggestions on what authors really write."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import pytest

from celljury.ontology.abbreviations import MAX_READINGS, abbreviations, normalized, readings
from celljury.ontology.names import Match, NameIndex

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology


@pytest.fixture(scope="module")
def names(cl: CellOntology) -> NameIndex:
    return NameIndex(cl)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CD14+ Mono", "cd14 positive mono"),
        ("T_CD4", "t cd4"),
        ("CD25- naive", "cd25 negative naive"),
        ("CD4+/CD45RA+/CD25- T", "cd4 positive cd45ra positive cd25 negative t"),
        ("T-cell", "t cell"),
        ("\N{GREEK SMALL LETTER GAMMA}\N{GREEK SMALL LETTER DELTA} T", "gammadelta t"),
        ("\N{GREEK CAPITAL LETTER ALPHA}\N{GREEK SMALL LETTER BETA} T", "alphabeta t"),
        ("  B\t cells ", "b cells"),
        ("Bm2' B cell", "bm2 prime b cell"),
        ("Peyers' patch", "peyers patch"),
        ("+", "positive"),
        ("??", ""),
    ],
)
def test_normalized(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("T:2", ("T:2", "id"), id="id"),
        pytest.param(" T:2 ", ("T:2", "id"), id="id_with_spaces"),
        pytest.param("t_2", ("T:2", "id"), id="id_with_underscore"),
        pytest.param("http://purl.obolibrary.org/obo/T_2", ("T:2", "id"), id="iri"),
        pytest.param("T:90", ("T:2", "replaced_id"), id="alternative_id_is_followed"),
        pytest.param("T:92", None, id="obsolete_id_without_successor"),
        pytest.param("t  CELL", ("T:2", "label"), id="label_in_any_case_and_spacing"),
        pytest.param("CD4+ T cell", ("T:3", "label"), id="plus_is_positive"),
        pytest.param("CD4- T cell", None, id="minus_is_not"),
        pytest.param("T-lymphocyte", ("T:2", "synonym"), id="synonym_with_hyphen"),
        pytest.param("shared name", None, id="synonym_of_two_terms"),
        pytest.param("T cells", None, id="plural_is_not_exact"),
        pytest.param("", None, id="empty"),
        pytest.param("--", None, id="punctuation"),
    ],
)
def test_lookup_by_hand(toy: CellOntology, text: str, expected: tuple[str, str] | None) -> None:
    match = NameIndex(toy).lookup(text)
    assert match == (None if expected is None else Match(toy.index(expected[0]), expected[1]))  # type: ignore[arg-type]


def test_every_label_names_its_own_term(cl: CellOntology, names: NameIndex) -> None:
    for i_term, label in enumerate(cl.labels):
        assert names.lookup(label.upper()) == Match(i_term, "label")


def test_every_id_in_use_is_found(cl: CellOntology, names: NameIndex) -> None:
    assert names.lookup("CL_0000084") == Match(cl.index("CL:0000084"), "id")
    assert all(names.lookup(old) == Match(cl.index(new), "replaced_id") for old, new in cl.replaced.items())


# What authors wrote (obs of PBMC and pancreas data sets) -> the terms that a curator accepts for it.
AUTHOR_LABELS = {
    "CD14 mono": {"CL:0001054", "CL:0000860"},
    "FCGR3A+ Mono": {"CL:0000875"},
    "FCGR3A+ Monocytes": {"CL:0000875"},
    "Mono_CD16": {"CL:0000875"},
    "CD4 T": {"CL:0000624"},
    "CD4 T cells": {"CL:0000624"},
    "T_CD8": {"CL:0000625"},
    "Memory CD4 T": {"CL:0000897"},
    "Naive CD4 T": {"CL:0000895"},
    "CD4+/CD45RO+ Memory": {"CL:0000897"},
    "CD4+/CD45RA+/CD25- Naive T": {"CL:0000895"},
    "CD8+/CD45RA+ Naive Cytotoxic": {"CL:0000900"},
    "CD8+ Cytotoxic T": {"CL:0000794"},
    "CD4+/CD25 T Reg": {"CL:0000792"},
    "Treg": {"CL:0000815"},
    "CD34+": {"CL:0000037", "CL:0008001"},
    "CD56+ NK": {"CL:0000623"},
    "CD19+ B": {"CL:0000236"},
    "B": {"CL:0000236"},
    "Dendritic cells": {"CL:0000451"},
    "Dendritic": {"CL:0000451"},
    "DC": {"CL:0000451"},
    "pDC": {"CL:0000784"},
    "MK": {"CL:0000556"},
    "Megakaryocytes": {"CL:0000556"},
    "HSC": {"CL:0000037"},
    "gdT": {"CL:0000798"},
    "MAIT": {"CL:0000940"},
    "alpha": {"CL:0000171"},
    "beta": {"CL:0000169"},
    "delta": {"CL:0000173"},
    "ductal": {"CL:0002079"},
    "acinar": {"CL:0002064"},
    "activated_stellate": {"CL:0002410"},
    "Fibro": {"CL:0000057"},
    "Endo": {"CL:0000115"},
    "monocite": {"CL:0000576"},
}


@pytest.mark.parametrize("label", AUTHOR_LABELS)
def test_the_right_term_is_among_the_first_three(label: str, cl: CellOntology, names: NameIndex) -> None:
    found = {cl.ids[i] for i, _ in names.search(label, limit=3)}
    assert found & AUTHOR_LABELS[label]


def test_labels_of_the_real_data_sets_are_suggested(shared_data: Path, cl: CellOntology, names: NameIndex) -> None:
    import h5py

    seen = 0
    for path in sorted(shared_data.glob("*.h5ad")):
        with h5py.File(path) as file:
            columns = [file["obs"][name] for name in ("cell_type", "cell_type_ontology_term_id")]
            (labels, label_codes), (ids, id_codes) = (
                (column["categories"].asstr()[:], column["codes"][:]) for column in columns
            )
        for label, term_id in np.unique(np.stack([labels[label_codes], ids[id_codes]]).astype(str), axis=1).T:
            found = [cl.ids[i] for i, _ in names.search(label, limit=3)]
            assert term_id in found, (path.name, label, found)
            seen += 1
    assert seen == 28


def test_suggestions_on_a_crosswalk_of_other_hands(shared_data: Path, cl: CellOntology, names: NameIndex) -> None:
    with (shared_data / "panhuman_azimuth_to_cl.csv").open(encoding="utf-8") as file:
        rows = {
            (row["Annotation_Label"], row["CL_ID"])
            for row in csv.DictReader(file)
            if row["CL_Match"] == "skos:exactMatch" and row["CL_ID"] in cl
        }
    hits = sum(cl.index(term_id) in [i for i, _ in names.search(label, limit=3)] for label, term_id in rows)
    assert len(rows) == 192
    assert hits >= 170


def test_exact_names_lead_with_100_and_suggestions_stay_below(toy: CellOntology) -> None:
    found = NameIndex(toy).search("t-cell")
    assert found[0] == (toy.index("T:2"), 100.0)
    assert all(score < 100 for _, score in found[1:])
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(type(i) is int for i, _ in found)


def test_search_keeps_to_its_limit_and_finds_nothing_in_nothing(toy: CellOntology) -> None:
    assert len(NameIndex(toy).search("cell", limit=2)) == 2
    assert NameIndex(toy).search("") == []
    assert NameIndex(toy).search("??") == []


# The table of abbreviations ---------------------------------------


def test_every_expansion_names_a_term_or_says_that_there_is_none(names: NameIndex) -> None:
    text = files("celljury.data").joinpath("abbreviations.tsv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    assert list(rows[0]) == ["abbreviation", "expansion", "note"]
    assert len(rows) > 250
    assert len({(row["abbreviation"], row["expansion"]) for row in rows}) == len(rows)
    for row in rows:
        assert (names.lookup(row["expansion"]) is None) == ("no such term" in row["note"]), row


def test_longer_abbreviations_go_first_and_words_may_stand_in_any_order() -> None:
    assert readings("T_CD4")[0] == readings("CD4 T")[0]
    assert "helper" not in readings("CD4 T")[0]
    lengths = [len(key) for key, _ in abbreviations()]
    assert lengths == sorted(lengths, reverse=True)


def test_a_label_reads_as_written_too_and_readings_stay_few() -> None:
    assert ("zzz",) in readings("zzz")
    assert ("hsc",) in readings("HSC")
    assert len(readings("HSC EC MC KC LC PC ASC MG RGC Acinar")) <= MAX_READINGS + 1
