from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.ontology.markers import genes_by_name, genes_by_protein, stated_as_phenotype, stated_in_name

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("CD4-positive, alpha-beta T cell", {"CD4": "has"}, id="positive"),
        pytest.param(
            "CD14-positive, CD16-negative classical monocyte", {"CD14": "has", "FCGR3A": "lacks"}, id="negative"
        ),
        pytest.param("CD14-low, CD16-positive monocyte", {"CD14": "low", "FCGR3A": "has"}, id="low_is_no_absence"),
        pytest.param("CD56-bright natural killer cell", {"NCAM1": "has"}, id="bright_is_presence"),
        pytest.param("CD4-intermediate thymocyte", {"CD4": "low"}, id="intermediate_is_low"),
        pytest.param("CD8-positive T cell", {"CD8A": "has"}, id="either_dimer_of_cd8_has_the_alpha_chain"),
        pytest.param("CD8-negative T cell", {"CD8A": "lacks", "CD8B": "lacks"}, id="no_cd8_is_neither_chain"),
        pytest.param("CD8-alpha-negative dendritic cell", {"CD8A": "lacks"}, id="longest_name_wins"),
        pytest.param("CD8-alpha alpha positive cell", {"CD8A": "has"}, id="name_with_a_space"),
        pytest.param("CD4 single-positive thymocyte", {"CD4": "has"}, id="single_positive"),
        pytest.param("CD11c+CD123- DC", {"ITGAX": "has", "IL3RA": "lacks"}, id="signs"),
        pytest.param("CD38- naive B cell", {"CD38": "lacks"}, id="minus_before_a_space"),
        pytest.param("CD45RA-negative T cell", {}, id="a_splice_form_s_absence_says_nothing_of_the_gene"),
        pytest.param("CD45RA-positive T cell", {"PTPRC": "has"}, id="a_splice_form_s_presence_does"),
        pytest.param("IgG-positive B cell", {}, id="one_of_four_genes_is_not_named"),
        pytest.param(
            "double negative thymocyte", {"CD4": "lacks", "CD8A": "lacks", "CD8B": "lacks"}, id="dn_thymocyte"
        ),
        pytest.param("double negative memory B cell", {"IGHD": "lacks", "CD27": "lacks"}, id="dn_b_cell"),
        pytest.param("double-positive, alpha-beta thymocyte", {"CD4": "has", "CD8A": "has"}, id="dp_thymocyte"),
        pytest.param("CD117-positive progenitor OR CD217-positive progenitor", {}, id="or_states_nothing"),
        pytest.param("CD4-CD8 ratio", {}, id="a_joining_hyphen_is_no_minus"),
        pytest.param("CD4 T cell", {}, id="a_bare_name_states_nothing"),
        pytest.param("xCD4-positive", {}, id="part_of_another_name"),
        pytest.param("Ly49D-positive natural killer cell, mouse", {}, id="mouse_allele_has_no_human_gene"),
        pytest.param("Kit and Sca1-positive cell", {}, id="no_word_is_shared_over_and"),
        pytest.param("CD4-positive, CD4-negative", {}, id="both_ways_is_nothing"),
    ],
)
def test_names_by_hand(name: str, expected: dict[str, str]) -> None:
    assert dict(stated_in_name(name)) == expected


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        pytest.param(
            "A T cell with the phenotype CCR7-positive, CD127-positive, CD45RA-negative, and CD25-negative.",
            {"CCR7": "has", "IL7R": "has", "IL2RA": "lacks"},
            id="list",
        ),
        pytest.param(
            "phenotype perforin-positive and granzyme B positive.", {"PRF1": "has", "GZMB": "has"}, id="space"
        ),
        pytest.param(
            "phenotype CD117-high, CD200R3-positive, and FceRI-high.",
            {"KIT": "has", "FCER1A": "has"},
            id="unknown_name",
        ),
        pytest.param(
            "phenotype CD138-positive, surface immunoglobulin-negative, and MHC Class II-negative.",
            {"SDC1": "has", "HLA-DRA": "lacks"},
            id="names_of_several_words",
        ),
        pytest.param("the phenotype CD11c-negative or low, CD14-negative", {"CD14": "lacks"}, id="or_leaves_it_open"),
        pytest.param("phenotype found in CD4-positive T cells", {}, id="prose_is_left_alone"),
        pytest.param("A cell that develops from a CD4-positive T cell.", {}, id="no_phenotype_no_list"),
    ],
)
def test_phenotype_lists_by_hand(definition: str, expected: dict[str, str]) -> None:
    assert dict(stated_as_phenotype(definition)) == expected


@given(st.sampled_from(sorted(genes_by_name())), st.sampled_from(["positive", "negative", "low"]))
def test_every_name_is_read_with_every_word(name: str, word: str) -> None:
    state = {"positive": "has", "negative": "lacks", "low": "low"}[word]
    genes = genes_by_name()[name]
    wanted = genes.lacks if state == "lacks" else genes.has
    assert stated_in_name(f"immature {name}-{word} cell") == {(gene, state) for gene in wanted}


@given(st.text())
def test_any_text_is_read_without_error_and_no_gene_both_ways(text: str) -> None:
    for read in (stated_in_name, stated_as_phenotype):
        genes = [gene for gene, _ in read(f"phenotype {text}")]
        assert len(genes) == len(set(genes))


def test_table_is_one_to_one_and_well_formed() -> None:
    lines = files("celljury.data").joinpath("marker_genes.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    assert all(len(row) == 4 for row in rows)
    names = [name for row in rows for name in row[0].split("|")]
    proteins = [protein for row in rows for protein in row[3].split("|") if protein]
    assert len(names) == len(set(names)) == len(genes_by_name())
    assert len(proteins) == len(set(proteins)) == len(genes_by_protein())
    assert all(re.fullmatch(r"PR:\d{9}", protein) for protein in proteins)
    for genes in genes_by_name().values():
        assert genes.has or genes.lacks
        assert all(re.fullmatch(r"[A-Z][A-Z0-9-]+", gene) for gene in (*genes.has, *genes.lacks))
    assert genes_by_protein()["PR:000001004"].has == ("CD4",)
    assert genes_by_protein()["PR:000001483"].has == ("FCGR3A",)


def test_stated_words_of_the_release_are_read_or_known_to_have_no_gene(cl: CellOntology) -> None:
    stating = re.compile(r"([\w/.-]+?)-(?:positive|negative)\b")
    unread = {
        match[1]
        for label in cl.labels
        if " OR " not in label
        for match in stating.finditer(label)
        if match[1] not in genes_by_name()
    }
    assert unread == {
        "CD57", "Dx5", "Gr1", "Ly49CI", "Ly49D", "Ly49H", "NK1.1", "Sca1", "TCR", "Vdelta6.3", "Vgamma1.1", "Vgamma2",
        "Vgamma5", "double", "lineage", "metallothionein", "preBCR", "single",
    }  # fmt: skip
