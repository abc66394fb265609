from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from celljury.cli import app
from celljury.errors import ConfigError, OutputError, UnreadableFileError
from celljury.ontology.describe import show_term
from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.ontology.relations import common_descendants, load_relations, relations_on
from celljury.ontology.relations_check import Contradiction, self_check
from celljury.ontology.relations_obo import read_relations
from celljury.ontology.statements import KINDS, RelationsSource, Statement, Told, read_statements, write_statements
from celljury.ontology.taxa import LINEAGES, lineage, taxon_in_label

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology
    from celljury.ontology.relations import Relations

SOURCE = RelationsSource("toy", "toy.obo", "ab12")


def told(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> Told:
    return Told(tuple(Statement(*row, "label") if len(row) == 3 else Statement(*row) for row in rows), SOURCE)


def on(ontology: CellOntology, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> Relations:
    return relations_on(ontology, told(*rows))


def ids(ontology: CellOntology, pair: tuple[int, ...] | None) -> tuple[str, ...] | None:
    return None if pair is None else tuple(ontology.ids[i] for i in pair)


@pytest.fixture(scope="module")
def line() -> CellOntology:
    r"""Two branches and a road from one to the other.

    ::

                       cell T:0
              /           |        \
        myeloid T:1    B lin T:2    stem T:9
        /      \        /     \
    mono T:3  mac T:4  B T:5  plasma T:7
      |        |        |
    CD14 T:6  M1 T:8  mature B T:10
    """
    return ontology_from_edges(
        {
            "T:0": "cell", "T:1": "myeloid cell", "T:2": "B lineage", "T:3": "monocyte", "T:4": "macrophage",
            "T:5": "B cell", "T:6": "CD14 monocyte", "T:7": "plasma cell", "T:8": "M1", "T:9": "stem cell",
            "T:10": "mature B cell",
        },
        {
            "T:1": ["T:0"], "T:2": ["T:0"], "T:3": ["T:1"], "T:4": ["T:1"], "T:5": ["T:2"], "T:6": ["T:3"],
            "T:7": ["T:2"], "T:8": ["T:4"], "T:9": ["T:0"], "T:10": ["T:5"],
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def shipped(cl: CellOntology) -> Relations:
    return load_relations(cl)


# Transitions ------------------------------------------------------------------------------------------------------

EDGES = (
    ("T:4", "develops_from", "T:3"),
    ("T:7", "develops_from", "T:10"),
    ("T:3", "develops_from", "T:9"),
    ("T:5", "develops_from", "T:2"),
)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("T:4", "T:3", ("T:4", "T:3"), id="as_stated"),
        pytest.param("T:3", "T:4", ("T:4", "T:3"), id="later_comes_first_whatever_the_order"),
        pytest.param("T:8", "T:6", ("T:4", "T:3"), id="subtypes_inherit"),
        pytest.param("T:8", "T:9", ("T:4", "T:9"), id="two_steps"),
        pytest.param("T:7", "T:5", ("T:7", "T:10"), id="wider_term_holds_the_earlier_one"),
        pytest.param("T:4", "T:2", None, id="other_branch"),
        pytest.param("T:4", "T:1", None, id="one_line"),
        pytest.param("T:7", "T:2", None, id="term_above_both_ends"),
        pytest.param("T:10", "T:7", ("T:7", "T:10"), id="direct_before_wider"),
        pytest.param("T:10", "T:2", None, id="edge_to_an_own_ancestor_joins_nothing"),
        pytest.param("T:4", "T:4", None, id="a_term_and_itself"),
    ],
)
def test_transitions_by_hand(line: CellOntology, a: str, b: str, expected: tuple[str, str] | None) -> None:
    relations = on(line, *EDGES)
    assert ids(line, relations.transition(line.index(a), line.index(b))) == expected


def test_steps_of_a_transition(line: CellOntology) -> None:
    relations = on(line, *EDGES)
    macrophage, monocyte, stem = line.indices(["T:4", "T:3", "T:9"]).tolist()
    assert relations.steps(macrophage, stem) == (macrophage, monocyte, stem)
    assert relations.steps(macrophage, monocyte) == (macrophage, monocyte)
    assert relations.steps(monocyte, macrophage) == ()


def test_three_steps_are_not_joined() -> None:
    chain = ontology_from_edges({f"C:{i}": f"c{i}" for i in range(5)}, {f"C:{i}": ["C:0"] for i in range(1, 5)})
    relations = on(chain, *((f"C:{i}", "develops_from", f"C:{i + 1}") for i in range(1, 4)))
    assert relations.transition(chain.index("C:1"), chain.index("C:3")) is not None
    assert relations.transition(chain.index("C:1"), chain.index("C:4")) is None


def test_two_steps_meet_where_the_middle_term_inherits(line: CellOntology) -> None:
    relations = on(line, ("T:7", "develops_from", "T:10"), ("T:5", "develops_from", "T:9"))
    assert ids(line, relations.transition(line.index("T:7"), line.index("T:9"))) == ("T:7", "T:9")


def test_too_general_ends_join_nothing() -> None:
    terms = {"CL:0000000": "cell", "CL:0011026": "progenitor cell", "CL:1": "a", "CL:2": "b"}
    small = ontology_from_edges(terms, {term: ["CL:0000000"] for term in list(terms)[1:]})
    relations = on(small, ("CL:1", "develops_from", "CL:0011026"), ("CL:1", "develops_from", "CL:2"))
    a, general, b = small.indices(["CL:1", "CL:0011026", "CL:2"]).tolist()
    assert relations.transition(a, general) is None
    assert relations.transition(a, b) == (a, b)


@given(st.lists(st.tuples(st.integers(-1, 10), st.integers(-1, 10)), max_size=30))
def test_pairs_are_answered_one_by_one_and_either_way_round(pairs: list[tuple[int, int]]) -> None:
    terms = {f"T:{i}": f"t{i}" for i in range(11)}
    parents = {f"T:{i}": [f"T:{(i - 1) // 2}"] for i in range(1, 11)}
    small = ontology_from_edges(terms, parents)
    relations = on(small, ("T:3", "develops_from", "T:5"), ("T:5", "develops_from", "T:10"),
                   ("T:1", "disjoint_from", "T:6"), ("T:7", "disjoint_from", "T:8"))  # fmt: skip
    a, b = np.array(pairs, np.int32).reshape(-1, 2).T
    joined, excluded = relations.pairs_joined(a, b), relations.pairs_disjoint(a, b)
    assert joined.dtype == excluded.dtype == np.int32
    assert joined.shape == excluded.shape == (len(pairs), 2)
    np.testing.assert_array_equal(joined, relations.pairs_joined(b, a))
    np.testing.assert_array_equal(excluded, relations.pairs_disjoint(b, a)[:, ::-1])
    for row, other, (x, y) in zip(joined.tolist(), excluded.tolist(), pairs, strict=True):
        assert (tuple(row) if row[0] >= 0 else None) == relations.transition(x, y)
        assert (tuple(other) if other[0] >= 0 else None) == relations.disjoint(x, y)
        if other[0] >= 0:
            assert small.is_ancestor(other, [x, y]).all()
        if row[0] >= 0:
            assert not small.is_ancestor([x, y], [y, x]).any()


# Exclusions, candidates, self-check -------------------------------------------------------------------------------


def test_disjoint_is_inherited_and_the_most_informative_pair_is_given(line: CellOntology) -> None:
    relations = on(line, ("T:1", "disjoint_from", "T:2"), ("T:3", "disjoint_from", "T:7"))
    mono, mac, plasma, b = line.indices(["T:6", "T:8", "T:7", "T:10"]).tolist()
    assert ids(line, relations.disjoint(mono, plasma)) == ("T:3", "T:7")
    assert ids(line, relations.disjoint(plasma, mono)) == ("T:7", "T:3")
    assert ids(line, relations.disjoint(mac, b)) == ("T:1", "T:2")
    assert relations.disjoint(mono, mac) is None


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("T:3", "T:4", ["T:5"], id="two_axes_meet"),
        pytest.param("T:2", "T:4", [], id="one_line_has_none"),
        pytest.param("T:2", "T:6", [], id="rivals_have_none"),
        pytest.param("T:1", "T:7", ["T:8"], id="most_general_one"),
    ],
)
def test_common_descendants_by_hand(toy: CellOntology, a: str, b: str, expected: list[str]) -> None:
    found = common_descendants(toy, toy.index(a), toy.index(b))
    assert found.dtype == np.int32
    assert [toy.ids[i] for i in found] == expected
    assert common_descendants(toy, toy.index(a), -1).size == 0


def test_common_descendants_are_capped_largest_first(cl: CellOntology) -> None:
    a, b = cl.index("CL:0000084"), cl.index("CL:0000219")
    every = common_descendants(cl, cl.index("CL:0000066"), cl.index("CL:0000151"), limit=1000)
    assert (
        common_descendants(cl, cl.index("CL:0000066"), cl.index("CL:0000151"), limit=3).tolist() == every[:3].tolist()
    )
    assert (np.diff(cl.n_descendants[every]) <= 0).all()
    assert not cl.is_ancestor(every[:, None], every[None, :])[~np.eye(len(every), dtype=bool)].any()
    assert cl.is_ancestor(b, common_descendants(cl, a, b)).all()


def test_self_check_lists_the_topmost_term_under_two_disjoint_ones(toy: CellOntology) -> None:
    relations = on(toy, ("T:3", "disjoint_from", "T:4"), ("T:1", "disjoint_from", "T:7"))
    assert self_check(relations) == (
        Contradiction("under_disjoint", "T:5", ("T:3", "T:4")),
        Contradiction("under_disjoint", "T:8", ("T:7", "T:1")),
    )
    assert self_check(on(toy, ("T:2", "disjoint_from", "T:6"))) == ()


# Markers ----------------------------------------------------------------------------------------------------------


def said(relations: Relations, term: str) -> dict[str, str]:
    return {m.gene: f"{m.state}, {m.said_by}" for m in relations.markers_of(relations.ontology.index(term))}


def test_markers_are_inherited_and_the_nearest_statement_holds(toy: CellOntology) -> None:
    relations = on(
        toy,
        ("T:1", "has_marker", "PTPRC"), ("T:2", "has_marker", "CD3E"), ("T:1", "lacks_marker", "CD3E", "phenotype"),
        ("T:3", "has_marker", "CD4", "RO:0002104"), ("T:2", "lacks_marker", "CD4"), ("T:3", "low_marker", "PTPRC"),
    )  # fmt: skip
    assert said(relations, "T:6") == {"CD3E": "lacks, phenotype in the definition of T:1", "PTPRC": "has, label of T:1"}
    assert said(relations, "T:4") == {
        "CD3E": "has, label of T:2", "CD4": "lacks, label of T:2", "PTPRC": "has, label of T:1",
    }  # fmt: skip
    # CD4 T says "low": what blood cells have is not claimed of it.
    assert said(relations, "T:3") == {"CD3E": "has, label of T:2", "CD4": "has, definition of T:3"}


def test_equally_near_contradictions_are_left_out_and_listed(toy: CellOntology) -> None:
    relations = on(toy, ("T:3", "has_marker", "CCR7"), ("T:4", "lacks_marker", "CCR7"), ("T:2", "has_marker", "CCR7"))
    assert said(relations, "T:5") == {}
    assert self_check(relations) == (Contradiction("marker", "T:5", ("label of T:3", "label of T:4"), "CCR7"),)


def test_stricter_source_of_a_term_holds_and_its_contradiction_is_listed(toy: CellOntology) -> None:
    relations = on(toy, ("T:6", "has_marker", "CD4", "synonym"), ("T:6", "lacks_marker", "CD4", "label"))
    assert said(relations, "T:6") == {"CD4": "lacks, label of T:6"}
    assert self_check(relations) == (Contradiction("marker", "T:6", ("synonym of T:6", "label of T:6"), "CD4"),)


# Taxa and places --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "organism", "excluded"),
    [
        pytest.param([("T:2", "only_in_taxon", "NCBITaxon:10090")], "human", True, id="only_in_another"),
        pytest.param([("T:2", "only_in_taxon", "NCBITaxon:10090")], "Mus musculus", False, id="only_in_this"),
        pytest.param([("T:2", "only_in_taxon", "NCBITaxon:9443")], "NCBITaxon:9606", False, id="only_in_its_order"),
        pytest.param([("T:1", "never_in_taxon", "NCBITaxon:33208")], "human", True, id="never_in_animals_inherited"),
        pytest.param([("T:1", "never_in_taxon", "NCBITaxon:50557")], "human", False, id="never_in_insects"),
        pytest.param([("T:2", "present_in_taxon", "NCBITaxon:10090")], "human", False, id="present_excludes_nothing"),
        pytest.param(
            [("T:2", "present_in_taxon", "NCBITaxon:9606"), ("T:1", "never_in_taxon", "NCBITaxon:33208")],
            "human", False, id="stated_presence_comes_first",
        ),
        pytest.param([], "human", False, id="nothing_stated"),
    ],
)  # fmt: skip
def test_exclusion_by_taxon(toy: CellOntology, rows: list, organism: str, *, excluded: bool) -> None:
    found = on(toy, *rows).excluded_by_taxon(toy.index("T:3"), organism)
    assert (found is not None) is excluded
    if found is not None:
        assert tuple(found[:3]) == rows[-1]


def test_unknown_organism_is_refused_with_the_known_ones(toy: CellOntology) -> None:
    with pytest.raises(ConfigError, match=r"unknown organism 'unicorn'. Known: Homo sapiens, .*Mus musculus"):
        on(toy).excluded_by_taxon(0, "unicorn")


def test_lineages_are_nested_and_species_are_not_in_one_another() -> None:
    assert {"NCBITaxon:9606", "NCBITaxon:9443", "NCBITaxon:40674", "NCBITaxon:33208"} <= lineage("Human")
    assert lineage("rat") & lineage("mouse") >= {"NCBITaxon:9989"}
    for species, numbers in LINEAGES.items():
        assert len(set(numbers)) == len(numbers)
        assert sum(f"NCBITaxon:{numbers[-1]}" in lineage(other) for other in LINEAGES) == 1, species


@pytest.mark.parametrize(
    ("label", "taxon"),
    [
        ("CD56-dim natural killer cell, human", "NCBITaxon:9606"),
        ("pvalb interneuron (Mmus)", "NCBITaxon:10090"),
        ("STRd D1 GABA neuron (Primate)", "NCBITaxon:9443"),
        ("human cell of something", None),
        ("effector memory T cell, terminally differentiated", None),
    ],
)
def test_taxon_at_the_end_of_a_label(label: str, taxon: str | None) -> None:
    assert taxon_in_label(label) == taxon


PLACES = (
    ("U:bronchial_epithelium", "within", "U:epithelium", "is_a"), ("U:bronchial_epithelium", "within", "U:lung", "p"),
    ("U:hepatic_duct", "within", "U:liver", "p"), ("UBERON:0000178", "within", "U:fluid", "is_a"),
    ("U:lung", "within", "U:chest", "p"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("place", "tissue", "excluded"),
    [
        pytest.param("U:lung", "U:liver", True, id="elsewhere"),
        pytest.param("U:lung", "U:chest", False, id="sample_is_wider"),
        pytest.param("U:chest", "U:lung", False, id="sample_is_narrower"),
        pytest.param("U:epithelium", "U:lung", False, id="something_is_in_both"),
        pytest.param("UBERON:0000178", "U:lung", False, id="blood_is_everywhere"),
        pytest.param("U:lung", "U:mars", False, id="unknown_tissue"),
        pytest.param("U:mars", "U:lung", False, id="unknown_place"),
    ],
)
def test_exclusion_by_location(toy: CellOntology, place: str, tissue: str, *, excluded: bool) -> None:
    relations = on(toy, ("T:2", "part_of", place), *PLACES)
    found = relations.excluded_by_location(toy.index("T:3"), tissue)
    assert (found == Statement("T:2", "part_of", place, "label")) is excluded
    assert relations.excluded_by_location(toy.index("T:6"), tissue) is None


# Reading ----------------------------------------------------------------------------------------------------------

FULL = """format-version: 1.2
data-version: cl/releases/2030-01-02/cl.owl
ontology: cl

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000001
name: helper
def: "A helper with the phenotype CCR7-positive and CD25-negative." []
synonym: "CD5+ helper" EXACT []
synonym: "CD19+ helper" BROAD []
is_a: CL:0000000 ! cell
disjoint_from: CL:0000002 ! killer
intersection_of: CL:0000000 ! cell
intersection_of: RO:0002104 PR:000001004 ! CD4 molecule
intersection_of: CL:4030046 PR:000025402 ! CD8
intersection_of: RO:0015016 PR:000001024 ! NCAM1
relationship: RO:0002202 CL:0000003 {source="x"} ! young
relationship: RO:0002202 CL:0000002 {gci_relation="part_of", gci_filler="NCBITaxon:10090"} ! killer
relationship: BFO:0000050 UBERON:0002048 ! lung
relationship: RO:0002160 NCBITaxon:40674 ! Mammalia
property_value: RO:0002175 NCBITaxon:9606

[Term]
id: CL:0000002
name: CD8-positive killer, human
is_a: CL:0000000 ! cell
relationship: lacks_plasma_membrane_part PR:000001004 ! CD4 molecule
relationship: RO:0002104 PR:000009999 ! protein that no table names
relationship: RO:0001025 UBERON:0000178 ! blood

[Term]
id: CL:0000003
name: young
is_a: CL:0000000 ! cell
relationship: RO:0002203 CL:0000002 ! killer
relationship: RO:0002202 CL:0000009 ! retired

[Term]
id: CL:0000009
name: obsolete retired
is_obsolete: true

[Term]
id: UBERON:0002048
name: lung
is_a: UBERON:0000062 ! organ
relationship: BFO:0000050 UBERON:0005178 ! thoracic cavity element

[Term]
id: UBERON:0000062
name: organ

[Term]
id: UBERON:0005178
name: thoracic cavity element

[Typedef]
id: RO:0002202
name: develops from
"""


@pytest.fixture
def full(tmp_path: Path) -> Path:
    pytest.importorskip("pronto")
    path = tmp_path / "full.obo"
    path.write_text(FULL, encoding="utf-8")
    return path


def test_every_clause_of_a_full_release_is_read(full: Path) -> None:
    read = read_relations(full)
    assert [tuple(statement) for statement in read.statements] == [
        ("CL:0000001", "develops_from", "CL:0000003", "RO:0002202"),
        ("CL:0000002", "develops_from", "CL:0000003", "RO:0002203"),
        ("CL:0000001", "disjoint_from", "CL:0000002", "disjoint_from"),
        ("CL:0000001", "has_marker", "CCR7", "phenotype"),
        ("CL:0000001", "has_marker", "CD4", "RO:0002104"),
        ("CL:0000001", "has_marker", "CD5", "synonym"),
        ("CL:0000002", "has_marker", "CD8A", "label"),
        ("CL:0000001", "lacks_marker", "CD8B", "CL:4030046"),
        ("CL:0000001", "lacks_marker", "IL2RA", "phenotype"),
        ("CL:0000002", "lacks_marker", "CD4", "lacks_plasma_membrane_part"),
        ("CL:0000002", "located_in", "UBERON:0000178", "RO:0001025"),
        ("CL:0000001", "low_marker", "NCAM1", "RO:0015016"),
        ("CL:0000001", "only_in_taxon", "NCBITaxon:40674", "RO:0002160"),
        ("CL:0000002", "only_in_taxon", "NCBITaxon:9606", "label"),
        ("CL:0000001", "part_of", "UBERON:0002048", "BFO:0000050"),
        ("CL:0000001", "present_in_taxon", "NCBITaxon:9606", "RO:0002175"),
        ("UBERON:0002048", "within", "UBERON:0000062", "is_a"),
        ("UBERON:0002048", "within", "UBERON:0005178", "BFO:0000050"),
    ]
    assert read.lacking == ()
    assert (read.source.release, read.source.origin, read.source.licence) == ("2030-01-02", "full.obo", "CC BY 4.0")
    assert len(read.source.sha256) == 64


def test_a_release_file_and_its_table_give_the_same_relations(full: Path, tmp_path: Path) -> None:
    table = tmp_path / "relations.tsv"
    write_statements(table, read_relations(full))
    assert read_statements(table) == read_relations(full)
    ontology = load_ontology(full, cache=False)
    direct, through = load_relations(ontology, full), load_relations(ontology, table)
    assert direct.source == through.source
    assert direct.markers == through.markers
    assert direct.excluded_by_location(ontology.index("CL:0000001"), "UBERON:0000062") is None
    np.testing.assert_array_equal(direct.develops_from, through.develops_from)
    card = show_term(ontology, "helper", relations=direct).lines()
    assert "  part of: UBERON:0002048" in card
    assert "    has CD4: definition of CL:0000001" in card


def test_what_is_not_live_is_dropped_and_counted(toy: CellOntology) -> None:
    relations = on(
        toy, ("T:2", "develops_from", "T:6"), ("T:2", "develops_from", "T:77"), ("T:90", "has_marker", "CD4"),
        ("T:91", "present_in_taxon", "NCBITaxon:9606"), ("T:77", "disjoint_from", "T:2"),
    )  # fmt: skip
    assert relations.n_dropped == 4
    assert len(relations.develops_from) == 1
    assert not relations.disjoint_from.size
    assert not relations.develops_from.flags.writeable


def test_an_empty_release_lacks_everything_and_answers_nothing(toy: CellOntology) -> None:
    relations = on(toy)
    assert relations.lacking == KINDS
    assert relations.transition(0, 3) is None
    assert relations.disjoint(0, 3) is None
    assert relations.markers_of(0) == ()
    assert relations.excluded_by_location(0, "UBERON:0002048") is None
    assert self_check(relations) == ()
    assert relations.pairs_joined(np.empty(0, np.int32), np.empty(0, np.int32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("", "is no table of relations", id="empty"),
        pytest.param("subject\trelation\n", "is no table of relations", id="no_header"),
        pytest.param("{header}\nCL:1\thates\tCL:2\tlabel\n", "line 3: expected subject", id="unknown_relation"),
        pytest.param("{header}\nCL:1\tdevelops_from\n", "line 3: expected subject", id="short_row"),
    ],
)
def test_damaged_tables_are_refused(text: str, match: str, toy: CellOntology, tmp_path: Path) -> None:
    path = tmp_path / "relations.tsv"
    write_statements(path, told())
    header = path.read_text().strip()
    path.write_text(text.replace("{header}", header))
    with pytest.raises(UnreadableFileError, match=match):
        load_relations(toy, path)
    with pytest.raises(UnreadableFileError, match="cannot read the relations"):
        load_relations(toy, tmp_path / "nowhere.tsv")


def test_files_that_are_no_release_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pronto")
    other = tmp_path / "other.obo"
    other.write_text("format-version: 1.2\nontology: x\n\n[Term]\nid: GO:0000001\nname: x\n")
    with pytest.raises(UnreadableFileError, match="holds no Cell Ontology term"):
        read_relations(other)
    with pytest.raises(UnreadableFileError, match="as an ontology"):
        read_relations(tmp_path / "nowhere.obo")


# CL 2026-03-26 ----------------------------------------------------------------------------------------------------


def test_shipped_table_is_what_the_command_makes_of_the_release(shared_data: Path, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("pronto")
    made = tmp_path / "relations.tsv"
    done = CliRunner().invoke(app, ["ontology", "relations", str(shared_data / "cl.obo"), "--out", str(made)])
    assert done.exit_code == 0, done.output
    assert made.read_bytes() == (root / "data" / "relations.tsv").read_bytes()


def test_shipped_relations_of_the_release(cl: CellOntology, shipped: Relations) -> None:
    assert shipped.source.release == cl.source.release == "2026-03-26"
    assert shipped.source.sha256.startswith("3fc2e43397e2")
    assert shipped.lacking == ("marker clauses", "location")
    assert shipped.n_dropped == 0
    # 394 develops from, 11 directly so, 2 derives from, 9 develops into and 1 may develop into, stated only that way.
    sources = Counter((row.relation, row.source) for row in read_statements().statements)
    assert sources["develops_from", "RO:0002202"] == 394
    assert len(shipped.develops_from) == 417
    assert len(shipped.disjoint_from) == 35
    assert len(shipped.markers) == 314
    assert sum(bool(shipped.markers_of(i)) for i in range(len(cl))) == 393


def test_older_release_loads_what_it_has() -> None:
    older = load_ontology(release="2025-02-13", cache=False)
    relations = load_relations(older)
    assert 0 < relations.n_dropped < 500
    assert len(relations.develops_from) > 300
    assert self_check(relations)[-1].kind == "marker"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("CL:0001054", "CL:0000235", ("CL:0000235", "CL:0000576"), id="cd14_monocyte_macrophage"),
        pytest.param("CL:0000232", "CL:0000558", ("CL:0000232", "CL:0000558"), id="reticulocyte_erythrocyte"),
        pytest.param("CL:0000128", "CL:0002453", ("CL:0000128", "CL:0002453"), id="precursor_oligodendrocyte"),
        pytest.param("CL:0000786", "CL:0000236", ("CL:0000786", "CL:0000980"), id="b_cell_plasma_cell"),
        pytest.param("CL:0000624", "CL:0000625", None, id="cd4_cd8"),
        pytest.param("CL:0000623", "CL:0000084", None, id="nk_t"),
        pytest.param("CL:0000169", "CL:0000171", None, id="beta_alpha"),
    ],
)
def test_transitions_of_the_release(
    cl: CellOntology, shipped: Relations, a: str, b: str, expected: tuple[str, str] | None
) -> None:
    assert ids(cl, shipped.transition(cl.index(a), cl.index(b))) == expected


def test_exclusions_and_candidates_of_the_release(cl: CellOntology, shipped: Relations) -> None:
    cd4, cd8, memory, b = cl.indices(["CL:0000624", "CL:0000625", "CL:0000813", "CL:0000236"]).tolist()
    assert shipped.disjoint(cd4, cd8) == (cd4, cd8)
    assert ids(cl, shipped.disjoint(b, cd4)) == ("CL:0000945", "CL:0000084")
    assert shipped.disjoint(cd4, memory) is None
    assert [cl.labels[i] for i in common_descendants(cl, memory, cd4)] == ["CD4-positive, alpha-beta memory T cell"]
    assert common_descendants(cl, cd4, cd8).size == 0


def test_release_puts_no_term_under_two_disjoint_ones_and_has_one_wrong_synonym(shipped: Relations) -> None:
    # "CD4-positive, gamma-delta intraepithelial T cell" is an exact synonym of the CD4-negative term.
    assert self_check(shipped) == (
        Contradiction("marker", "CL:0000803", ("synonym of CL:0000803", "label of CL:0000803"), "CD4"),
    )


def test_disjoint_camps_share_no_descendant(cl: CellOntology, shipped: Relations) -> None:
    for p, q in shipped.disjoint_from.tolist():
        assert not np.intersect1d(cl.descendants(p), cl.descendants(q)).size


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        pytest.param("CL:0000624", {"CD4": "has"}, id="cd4_t"),
        pytest.param("CL:0001054", {"CD14": "has"}, id="cd14_monocyte"),
        pytest.param("CL:0000623", {}, id="nk_states_none"),
        pytest.param("CL:0002057", {"CD14": "has", "FCGR3A": "lacks"}, id="classical_monocyte"),
        pytest.param("CL:0002396", {"FCGR3A": "has"}, id="cd14_low_inherits_no_cd14"),
        pytest.param(
            "CL:0000904", {"CCR7": "has", "CD4": "has", "IL2RA": "lacks", "IL7R": "has", "PTPRC": "has"}, id="tcm"
        ),
    ],
)
def test_markers_of_the_release(cl: CellOntology, shipped: Relations, term: str, expected: dict[str, str]) -> None:
    assert {m.gene: m.state for m in shipped.markers_of(cl.index(term))} == expected


def test_taxa_of_the_release(cl: CellOntology, shipped: Relations) -> None:
    mouse_nk, t_cell = cl.index("CL:0002441"), cl.index("CL:0000084")
    assert shipped.excluded_by_taxon(mouse_nk, "human") == Statement(
        "CL:0002441", "only_in_taxon", "NCBITaxon:10090", "label"
    )
    assert shipped.excluded_by_taxon(mouse_nk, "mouse") is None
    assert shipped.excluded_by_taxon(t_cell, "human") is None
    assert shipped.excluded_by_location(t_cell, "UBERON:0002048") is None


def test_distinct_pairs_are_answered_once(cl: CellOntology, shipped: Relations) -> None:
    rng = np.random.default_rng(0)
    some = rng.integers(0, len(cl), (200, 2)).astype(np.int32)
    rows = some[rng.integers(0, 200, 300_000)]
    joined = shipped.pairs_joined(rows[:, 0], rows[:, 1])
    assert joined.shape == (300_000, 2)
    alone = shipped.pairs_joined(some[:, 0], some[:, 1])
    first = {tuple(pair): answer for pair, answer in zip(some.tolist(), alone.tolist(), strict=True)}
    assert all(
        first[tuple(pair)] == answer for pair, answer in zip(rows[:500].tolist(), joined[:500].tolist(), strict=True)
    )


# Words ------------------------------------------------------------------------------------------------------------


def test_card_shows_what_is_beyond_is_a(cl: CellOntology, shipped: Relations) -> None:
    lines = show_term(cl, "CL:0000235", relations=shipped).lines()
    at = lines.index("  develops from: 1")
    assert lines[at + 1] == "    CL:0000576 monocyte"
    assert lines[-2] == "  beyond is_a: cl.obo, CL 2026-03-26; without marker clauses, location"
    card = show_term(cl, "CL:0002396", relations=shipped)
    assert "    has FCGR3A: label of CL:0002396" in card.lines()
    assert json.loads(json.dumps(card.as_dict()))["beyond"]["markers"] == [["FCGR3A", "has", "label of CL:0002396"]]
    assert show_term(cl, "CL:0000235").beyond is None


def test_command_line_shows_relations() -> None:
    done = CliRunner().invoke(app, ["ontology", "show", "CL:0000624", "--release", "2026-03-26"])
    assert done.exit_code == 0, done.output
    assert "    has CD4: label of CL:0000624" in done.output
    assert "    CL:0000625 CD8-positive, alpha-beta T cell" in done.output


def test_command_line_reads_relations_from_the_file_that_is_named(full: Path) -> None:
    done = CliRunner().invoke(app, ["ontology", "show", "helper", "--source", str(full)])
    assert done.exit_code == 0, done.output
    assert "  part of: UBERON:0002048" in done.output
    assert "  beyond is_a: full.obo, CL 2030-01-02" in done.output


def test_page_shows_what_the_commands_say(root: Path, shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pronto")
    section = (root / "docs" / "ontology.md").read_text(encoding="utf-8").split("## Beyond is_a")[1]
    shown, made = (block.split("```")[0].strip("\n") for block in section.split("```text\n")[1:])
    term = "CD14-positive, CD16-negative classical monocyte"
    card = CliRunner().invoke(app, ["ontology", "show", term, "--release", "2026-03-26"]).output
    assert shown in card
    out = tmp_path / "relations.tsv"
    done = CliRunner().invoke(app, ["ontology", "relations", str(shared_data / "cl.obo"), "--out", str(out)])
    assert made.split("\n\n")[1] == done.output.strip().replace(str(out), out.name)


def test_command_writes_a_table_and_replaces_none_unasked(full: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.tsv"
    done = CliRunner().invoke(app, ["ontology", "relations", str(full), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[1:3] == ["  develops_from: 2", "  disjoint_from: 1"]
    assert done.output.splitlines()[-1] == "  not in this release: nothing"
    again = CliRunner().invoke(app, ["ontology", "relations", str(full), "--out", str(out), "--json"])
    assert again.exit_code == 1
    with pytest.raises(OutputError, match="it exists; --overwrite replaces it"):
        write_statements(out, told())
    done = CliRunner().invoke(app, ["ontology", "relations", str(full), "--out", str(out), "--overwrite", "--json"])
    assert json.loads(done.output)["counts"]["has_marker"] == 4


def test_help_of_the_command_has_an_example() -> None:
    done = CliRunner().invoke(app, ["ontology", "relations", "--help"])
    assert "Example: celljury ontology relations cl.obo --out relations.tsv" in done.output
