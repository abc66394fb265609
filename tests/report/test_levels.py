"""Levels: each term has one place, and where it could have several they are told; names that readers and files can bear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.errors import ConfigError, OntologyError, UnknownTermError, UnreadableFileError
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology
from celljury.ontology.slims import CURATED, make_slim, other_places
from celljury.report.levels import DEFAULT_LEVELS, level_file_stem, load_levels

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology
    from celljury.report.levels import Level

# CD4-positive memory T is a CD4-positive alpha-beta T and a memory T; neither is above the other.
CD4, MEMORY, CD4_MEMORY, T, NEURON = "CL:0000624", "CL:0000813", "CL:0000897", "CL:0000084", "CL:0000540"


@pytest.fixture(scope="module")
def cl_obo(shared_data: Path) -> CellOntology:
    """CL with its subset tags."""
    return load_ontology(shared_data / "cl.obo", cache=False)


def ancestors(ontology: CellOntology) -> list[set[int]]:
    """Ancestors with the term itself, walked from parent to parent."""
    above: list[set[int]] = [set() for _ in ontology.ids]
    for i in reversed(range(len(ontology))):  # parents stand behind their children
        above[i] = {i}.union(*(above[p] for p in ontology.parents(i).tolist()))
    return above


def lowest(level: Level, above: list[set[int]], i: int) -> set[int]:
    """Terms of a level at or above a term with no other one between."""
    assert level.slim is not None
    own = above[i] & set(level.slim.terms.tolist())
    return {a for a in own if not any(a in above[b] for b in own if b != a)}


def expected_place(level: Level, ontology: CellOntology, above: list[set[int]], i: int) -> int:
    """The rule in words: itself; else not too general, most bits, longest path, smallest id."""
    assert level.slim is not None
    own = above[i] & set(level.slim.terms.tolist())
    if i in own or not own:
        return i if own else -1
    late = too_general(ontology) if level.name in CURATED else np.zeros(len(ontology), bool)
    return min(own, key=lambda a: (late[a], -ontology.ic[a], -ontology.depth[a], ontology.ids[a]))


def all_names(ontology: CellOntology) -> list[str]:
    return [*CURATED, *(f"depth:{n}" for n in range(13)), *(f"subset:{tag}" for tag in ontology.subsets)]


def test_every_term_of_every_level_has_one_place_and_its_others_are_told(cl_obo: CellOntology) -> None:
    above, names = ancestors(cl_obo), all_names(cl_obo)
    assert len(names) > 20, "the obo file carries subset tags"
    for level in load_levels(cl_obo, names):
        assert level.slim is not None
        place = level.slim.rollup.tolist()
        told = {one.term: one for one in level.shared}
        assert [one.term for one in level.shared] == sorted(told)
        for i in range(len(cl_obo)):
            assert place[i] == expected_place(level, cl_obo, above, i), (level.name, cl_obo.ids[i])
            others = sorted(lowest(level, above, i) - {place[i]})
            assert (list(told[i].others) if i in told else []) == others, (level.name, cl_obo.ids[i])
            assert i not in told or told[i].place == place[i]


@given(chosen=st.sets(st.integers(0, 3000), min_size=1, max_size=25))
@settings(deadline=None, max_examples=40)
def test_lists_of_a_user_follow_the_same_rule(cl: CellOntology, chosen: set[int]) -> None:
    slim = make_slim(cl, [cl.ids[i] for i in chosen], name="mine")
    term, other = other_places(cl, slim)
    closure = [set(cl.ancestors(i).tolist()) for i in range(len(cl))]
    pairs = set()
    for i in range(len(cl)):
        own = closure[i] & chosen
        least = {a for a in own if not any(a in closure[b] for b in own if b != a)}
        pairs |= {(i, a) for a in least if a != slim.rollup[i]}
    assert list(zip(term.tolist(), other.tolist(), strict=True)) == sorted(pairs)


def test_a_hand_worked_term_with_two_places(cl: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(f"{CD4}\n{MEMORY}\n{NEURON}\n")
    (level,) = load_levels(cl, [str(tmp_path / "two.txt")])
    assert level.slim is not None
    i, cd4, memory = (cl.index(x) for x in (CD4_MEMORY, CD4, MEMORY))
    first, second = sorted((cd4, memory), key=lambda t: (-cl.ic[t], -cl.depth[t], cl.ids[t]))
    (told,) = (one for one in level.shared if one.term == i)
    assert (told.place, told.others) == (first, (second,))
    assert level.slim.rollup[cl.index(T)] == -1
    assert cl.index(NEURON) not in {one.term for one in level.shared}


def test_the_level_of_called_terms_shares_nothing(cl: CellOntology) -> None:
    (level,) = load_levels(cl, ["term"])
    assert (level.name, level.slim, level.shared) == ("term", None, ())
    assert level.rollup(cl).tolist() == list(range(len(cl)))


@pytest.mark.parametrize(
    ("name", "title", "stem"),
    [
        pytest.param("cell_class", "CELLxGENE class", "cell_class", id="class"),
        pytest.param("cell_subclass", "CELLxGENE subclass", "cell_subclass", id="subclass"),
        pytest.param("term", "called terms", "term", id="called_terms"),
        pytest.param("depth:4", "depth at most 4", "depth_4", id="depth"),
        pytest.param("depth:04", "depth at most 4", "depth_4", id="a_depth_has_one_name"),
    ],
)
def test_names(cl: CellOntology, name: str, title: str, stem: str) -> None:
    (level,) = load_levels(cl, [name])
    assert (level.title, level_file_stem(level)) == (title, stem)


def test_a_subset_and_a_file_are_named_after_themselves(cl_obo: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "Meine Zellen (é).tsv").write_text(f"id\n{T}\n")
    levels = load_levels(cl_obo, ["subset:human_reference_atlas", tmp_path / "Meine Zellen (é).tsv"])
    assert [level.title for level in levels] == ["subset human_reference_atlas", "terms of Meine Zellen (é).tsv"]
    assert [level_file_stem(level) for level in levels] == ["subset_human_reference_atlas", "Meine_Zellen"]


def test_a_file_called_like_a_level_is_that_file(cl: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "cell_class").write_text(f"{T}\n")
    (level,) = load_levels(cl, [str(tmp_path / "cell_class")])
    assert level.title == "terms of cell_class"
    with pytest.raises(ConfigError, match=r"'cell_class' and .* are different lists of terms"):
        load_levels(cl, ["cell_class", str(tmp_path / "cell_class")])


def test_what_is_named_twice_is_one_level(cl: CellOntology) -> None:
    levels = load_levels(cl, ["term", "depth:3", "cell_class", "depth:03", "term"])
    assert [level.name for level in levels] == ["term", "depth:3", "cell_class"]
    assert [level.name for level in load_levels(cl)] == list(DEFAULT_LEVELS)


def test_two_files_of_one_name_are_refused(cl: CellOntology, tmp_path: Path) -> None:
    for folder, term in (("a", T), ("b", NEURON)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_text(f"{term}\n")
    with pytest.raises(ConfigError, match="Rename one of the files"):
        load_levels(cl, [tmp_path / "a" / "mine.txt", tmp_path / "b" / "mine.txt"])


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        pytest.param([], ConfigError, "expected a list of levels", id="none"),
        pytest.param("term", ConfigError, "expected a list of levels", id="a_text_is_no_list"),
        pytest.param(["terms"], UnreadableFileError, "no level 'terms': expected term, cell_class", id="unknown"),
        pytest.param(["depth:x"], OntologyError, "a whole number", id="depth_without_number"),
        pytest.param(["subset:nothing"], OntologyError, "subset tag 'nothing'", id="no_such_subset"),
    ],
)
def test_clear_errors(cl: CellOntology, names: list[str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load_levels(cl, names)


def test_an_unknown_id_in_a_file_is_named(cl: CellOntology, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("CL:9999999\n")
    with pytest.raises(UnknownTermError, match="CL:9999999"):
        load_levels(cl, [tmp_path / "ids.txt"])
