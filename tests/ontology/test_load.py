"""Both sources of the real ontology, files that are none, and the cache."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from celljury.errors import MemberUnavailableError, OntologyError, OutputError, UnreadableFileError
from celljury.ontology import cache as cache_module
from celljury.ontology import guide as guide_module
from celljury.ontology import load as load_module
from celljury.ontology import pronto_file as pronto_module
from celljury.ontology.cache import cache_folder as folder_of_cache
from celljury.ontology.cache import cached_path, read_index, write_cached, write_index
from celljury.ontology.extra import ExtraTerm, read_extra_terms
from celljury.ontology.graph import ROOT
from celljury.ontology.guide import guide_file, guide_releases, read_guide
from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.ontology.obo import read_obo

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

MINI_OBO = """format-version: 1.2
data-version: cl/releases/2031-01-02/cl-mini.owl
ontology: cl-mini

[Term]
id: CL:0000000
name: cell
subset: top
is_a: UBERON:0000061

[Term]
id: CL:0000084
name: T cell
alt_id: CL:0000111
synonym: "T lymphocyte" EXACT []
synonym: "T-ish" RELATED []
is_a: CL:0000000 ! cell

[Term]
id: CL:0000213
name: obsolete lining cell
is_obsolete: true

[Term]
id: CL:0000003
name: obsolete native cell
is_obsolete: true
replaced_by: CL:0000000

[Term]
id: CL:0000283
name: obsolete gland cell
is_obsolete: true
replaced_by: DDANAT:0000412

[Term]
id: UBERON:0000061
name: anatomical structure
"""


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    pytest.importorskip("pronto")
    path = tmp_path / "mini.obo"
    path.write_text(MINI_OBO, encoding="utf-8")
    return path


def same_index(a: CellOntology, b: CellOntology, *, leave_out: frozenset[str] = frozenset()) -> bool:
    for name in a.__dataclass_fields__:
        one, other = getattr(a, name), getattr(b, name)
        equal = np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
        if name not in leave_out and not equal:
            return False
    return True


# The real release ---------------------------------------


def test_counts_of_the_release(cl: CellOntology) -> None:
    assert len(cl) == 3324
    assert len(cl.obsolete) == 196
    assert len(cl.parents_indices) == 4630
    assert int((np.diff(cl.parents_indptr) > 1).sum()) == 1130
    assert int(cl.depth.max()) == 15
    below_cell = cl.descendants(cl.index(ROOT))
    assert len(below_cell) == 3314
    # Ten terms are no cells (nuclei, cytoplasms): roots of their own with one closure pair each.
    assert len(cl.roots) == 11
    assert len(cl.closure_indices) - 10 == int(np.diff(cl.closure_indptr)[below_cell].sum()) == 37703
    assert cl.ids[int(cl.roots[0])] == ROOT
    assert cl.term(cl.index(ROOT)).ic == 0
    assert (cl.source.release, cl.source.licence) == ("2026-03-26", "CC BY 4.0")
    assert cl.source.origin.startswith("cellxgene-ontology-guide 1.")
    assert len(cl.source.sha256) == 64


def test_guide_and_obo_give_the_same_index(cl: CellOntology, cl_obo: CellOntology, shared_data: Path) -> None:
    assert same_index(cl, cl_obo, leave_out=frozenset({"subsets", "source"}))
    assert (cl.subsets, len(cl_obo.subsets["blood_and_immune_upper_slim"])) == ({}, 36)
    assert cl_obo.source.release == cl.source.release
    assert cl_obo.source.origin == "cl.obo"
    assert cl_obo.source.sha256 == hashlib.sha256((shared_data / "cl.obo").read_bytes()).hexdigest()


def test_alternative_and_obsolete_ids_are_followed(shared_data: Path, cl: CellOntology) -> None:
    pytest.importorskip("pronto")
    said = read_obo(shared_data / "cl.obo")
    alternative = said.replaced.keys() - said.obsolete.keys()
    assert len(alternative) == 76
    of_live = [old for old in alternative if said.replaced[old] in said.labels]
    assert all(cl.resolve(old) == (cl.index(said.replaced[old]), True) for old in of_live)
    # The others are alternative ids of terms that are themselves obsolete.
    assert {said.replaced[old] for old in alternative - set(of_live)} <= said.obsolete.keys()
    # Others were replaced by terms of other ontologies, or by none.
    assert len(cl.replaced) == 127
    assert {new for old, new in cl.replaced.items()} <= set(cl.ids)


def test_part_of_edges_of_the_guide_are_dropped(cl: CellOntology) -> None:
    release, path = guide_file("2026-03-26")
    dropped = guide_module.PART_OF[release]
    assert len(dropped) == 3
    for child, whole in dropped:
        assert not cl.is_ancestor(cl.index(whole), cl.index(child))
    before = sum(len(row) for row in read_guide(release, path).parents.values())
    assert before == 4630


@pytest.mark.parametrize("release", sorted(guide_module.PART_OF))
def test_every_release_of_the_guide_loads(release: str) -> None:
    ontology = load_ontology(release=release, cache=False)
    assert ontology.source.release == release
    assert ontology.depth.max() >= 12
    assert "myotendinous junction nucleus" in {ontology.labels[i] for i in ontology.roots}


def test_newest_release_is_the_default() -> None:
    newest = list(guide_releases())[-1]
    assert newest >= "2026-03-26"
    assert load_ontology().source.release == newest
    assert load_ontology(release=f"v{newest}").source.release == newest


def test_a_release_that_the_guide_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(OntologyError, match=r"no CL release '1999-01-01'. It has: 2025-02-13, .*Or give a file"):
        load_ontology(release="1999-01-01")


def test_a_guide_newer_than_the_part_of_list_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    _, path = guide_file("2026-03-26")
    with caplog.at_level(logging.WARNING):
        said = read_guide("2099-01-01", path)
    assert "newer than the list of its part_of edges" in caplog.text
    assert sum(len(row) for row in said.parents.values()) == 4630


# Files ---------------------------------------


def test_obo_file_keeps_cl_terms_exact_synonyms_and_tags(mini: Path) -> None:
    ontology = load_ontology(mini)
    assert ontology.ids == ("CL:0000084", "CL:0000000")
    assert ontology.synonyms == (("T lymphocyte",), ())
    assert ontology.replaced == {"CL:0000111": "CL:0000084", "CL:0000003": "CL:0000000"}
    assert set(ontology.obsolete) == {"CL:0000213", "CL:0000003", "CL:0000283"}
    assert ontology.subsets == {"top": ("CL:0000000",)}
    assert ontology.source.release == "2031-01-02"


def test_packed_file_gives_the_same_index(mini: Path) -> None:
    packed = mini.with_name("mini.obo.gz")
    packed.write_bytes(gzip.compress(MINI_OBO.encode()))
    assert same_index(load_ontology(packed), load_ontology(mini), leave_out=frozenset({"source"}))


IRI = "http://purl.obolibrary.org/obo"
MINI_GRAPH = {
    "graphs": [
        {
            "id": f"{IRI}/cl.json",
            "meta": {"version": f"{IRI}/cl/releases/2031-01-02/cl.json"},
            "nodes": [
                {"id": f"{IRI}/CL_0000000", "lbl": "cell", "type": "CLASS"},
                {
                    "id": f"{IRI}/CL_0000084",
                    "lbl": "T cell",
                    "type": "CLASS",
                    "meta": {"synonyms": [{"pred": "hasExactSynonym", "val": "T lymphocyte"}]},
                },
                {
                    "id": f"{IRI}/CL_0000213",
                    "lbl": "obsolete lining cell",
                    "type": "CLASS",
                    "meta": {"deprecated": True},
                },
            ],
            "edges": [{"sub": f"{IRI}/CL_0000084", "pred": "is_a", "obj": f"{IRI}/CL_0000000"}],
        }
    ]
}
MINI_OWL = f"""<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:owl="http://www.w3.org/2002/07/owl#"
     xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#" xmlns:oboInOwl="http://www.geneontology.org/formats/oboInOwl#">
  <owl:Ontology rdf:about="{IRI}/cl.owl">
    <owl:versionIRI rdf:resource="{IRI}/cl/releases/2031-01-02/cl.owl"/></owl:Ontology>
  <owl:Class rdf:about="{IRI}/CL_0000000"><rdfs:label>cell</rdfs:label></owl:Class>
  <owl:Class rdf:about="{IRI}/CL_0000084"><rdfs:label>T cell</rdfs:label>
    <oboInOwl:hasExactSynonym>T lymphocyte</oboInOwl:hasExactSynonym>
    <rdfs:subClassOf rdf:resource="{IRI}/CL_0000000"/></owl:Class>
  <owl:Class rdf:about="{IRI}/CL_0000213"><rdfs:label>obsolete lining cell</rdfs:label>
    <owl:deprecated rdf:datatype="http://www.w3.org/2001/XMLSchema#boolean">true</owl:deprecated></owl:Class>
</rdf:RDF>
"""


@pytest.mark.parametrize(("name", "content"), [("cl.json", json.dumps(MINI_GRAPH)), ("cl.owl", MINI_OWL)])
def test_obo_graph_and_owl_files_are_read_too(tmp_path: Path, name: str, content: str) -> None:
    pytest.importorskip("pronto")
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    ontology = load_ontology(path)
    assert (ontology.ids, ontology.labels) == (("CL:0000084", "CL:0000000"), ("T cell", "cell"))
    assert ontology.synonyms == (("T lymphocyte",), ())
    assert ontology.obsolete == {"CL:0000213": "obsolete lining cell"}
    assert ontology.source.release == "2031-01-02"


def test_release_of_a_file_must_be_the_one_asked_for(mini: Path) -> None:
    assert load_ontology(str(mini), release="2031-01-02").source.release == "2031-01-02"
    with pytest.raises(OntologyError, match="holds CL 2031-01-02, expected release 2026-03-26"):
        load_ontology(mini, release="2026-03-26")


def test_file_without_a_date_has_an_unknown_release(mini: Path) -> None:
    mini.write_text(MINI_OBO.replace("data-version: cl/releases/2031-01-02/cl-mini.owl\n", ""), encoding="utf-8")
    assert load_ontology(mini).source.release == "unknown"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "as an ontology", id="empty"),
        pytest.param(b"gene\tcell\nA\tB\n", "as an ontology", id="another_table"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00", "as an ontology", id="binary"),
        pytest.param(b'{"graphs": [', "as an ontology", id="truncated_json"),
        pytest.param(b'<?xml version="1.0"?><rdf:RDF', "as an ontology", id="truncated_xml"),
        pytest.param(MINI_OBO.encode()[:260], "as an ontology", id="truncated_obo"),
        pytest.param(gzip.compress(MINI_OBO.encode())[:80], "as an ontology", id="truncated_gzip"),
        pytest.param(
            b"format-version: 1.2\n\n[Term]\nid: GO:1\nname: x\n", "no Cell Ontology term", id="other_ontology"
        ),
    ],
)
def test_files_that_are_no_ontology_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    pytest.importorskip("pronto")
    path = tmp_path / "cl.obo"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as caught:
        load_ontology(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_real_file_cut_between_two_terms_is_refused(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("pronto")
    text = (shared_data / "cl.obo").read_text(encoding="utf-8")
    path = tmp_path / "cut.obo"
    path.write_text(text[: text.index("[Term]\nid: CL:0002000")], encoding="utf-8")
    with pytest.raises((UnreadableFileError, OntologyError)) as caught:
        load_ontology(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.obo", "."])
def test_missing_files_and_directories_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFileError, match=r"cannot read the ontology file .*Expected an OBO"):
        load_ontology(tmp_path / name)


def test_a_file_without_pronto_says_what_to_install(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pronto_module, "find_spec", lambda name: None)
    with pytest.raises(MemberUnavailableError, match=r"pip install 'celljury\[ontology\]'"):
        load_ontology(mini)


def test_without_the_guide_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide_module, "find_spec", lambda name: None)
    with pytest.raises(UnreadableFileError, match="pip install cellxgene-ontology-guide"):
        load_ontology()


def test_a_guide_without_releases_or_with_a_damaged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guide_module, "guide_folder", lambda: tmp_path)
    with pytest.raises(UnreadableFileError, match=r"holds no CL-ontology"):
        load_ontology()
    (tmp_path / "CL-ontology-v2030-01-01.json.zst").write_bytes(b"no zstd")
    with pytest.raises(UnreadableFileError, match="cannot read the Cell Ontology in"):
        load_ontology()


def test_a_cycle_in_a_file_is_named_with_the_file(mini: Path) -> None:
    mini.write_text(MINI_OBO.replace("name: cell\n", "name: cell\nis_a: CL:0000084\n"), encoding="utf-8")
    with pytest.raises(OntologyError, match=r"cycle: CL:\d+ is_a CL:\d+ is_a") as caught:
        load_ontology(mini)
    assert str(mini) in str(caught.value)


# Plain edges ---------------------------------------


@pytest.mark.parametrize(
    ("terms", "parents", "said"),
    [
        pytest.param({}, {}, "at least one term", id="no_terms"),
        pytest.param(
            {"A:1": "a"}, {"A:1": ["A:2"]}, "1 parent.* not in the ontology: A:1 is_a A:2", id="missing_parent"
        ),
        pytest.param({"A:1": "a"}, {"A:2": ["A:1"]}, "parents are given for A:2, which is no term", id="missing_child"),
        pytest.param({"A:1": "a", "A:2": "A"}, {}, "A:1 and A:2 share the label 'A'", id="label_twice"),
        pytest.param(
            {"A:1": "a", "A:2": "b", "A:3": "c"},
            {"A:1": ["A:2"], "A:2": ["A:3"], "A:3": ["A:1"]},
            "form a cycle: A:",
            id="cycle",
        ),
        pytest.param(
            {"A:1": "a"}, {"A:1": [f"B:{i}" for i in range(9)]}, "9 parent.* and 4 more", id="many_missing_parents"
        ),
    ],
)
def test_inconsistent_edges_are_refused(terms: dict[str, str], parents: dict[str, list[str]], said: str) -> None:
    with pytest.raises(OntologyError, match=said):
        ontology_from_edges(terms, parents)


# Extra terms ---------------------------------------


def test_extra_terms_come_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "extra.tsv"
    table.write_text(
        "# my terms\nid\tlabel\tparents\tsynonyms\n\n"
        "LAB:1\tvery naive CD4 T cell\tCL:0000624 | CL:0000898\tvn4|vn4 T\nLAB:2\todd cell\tLAB:1\n",
        encoding="utf-8",
    )
    assert read_extra_terms(table)[1] == ExtraTerm("LAB:2", "odd cell", ("LAB:1",), ())
    ontology = load_ontology(release="2026-03-26", extra=table)
    new = ontology.index("LAB:1")
    assert ontology.synonyms[new] == ("vn4", "vn4 T")
    assert {ontology.ids[i] for i in ontology.parents(new)} == {"CL:0000624", "CL:0000898"}
    assert ontology.source.extra_terms == 2
    # The cache holds the release alone.
    assert load_ontology(release="2026-03-26").source.extra_terms == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "no column id, label, parents.*got: an empty file", id="empty"),
        pytest.param("id\tname\nA:1\ta\n", "no column label, parents.*got: id name", id="columns"),
        pytest.param(
            "id\tlabel\tparents\nA:1\ta\tCL:0000000\nb\tb\tCL:0000000\n", "line 3: expected an id", id="bad_id"
        ),
        pytest.param("id\tlabel\tparents\nA:1\ta\n", "line 2: A:1 'a' has no parent", id="short_row"),
    ],
)
def test_extra_tables_that_cannot_be_read_name_the_line(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "extra.tsv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(OntologyError, match=said):
        read_extra_terms(table)


def test_missing_extra_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"cannot read the extra terms in .*extra\.tsv"):
        load_ontology(extra=tmp_path / "extra.tsv")


# Cache ---------------------------------------


def refuse_to_read(*args: Any) -> None:
    pytest.fail("the release was read although its index is cached")


def test_second_load_comes_from_the_cache_and_is_the_same(cl: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    load_ontology(release="2026-03-26")
    monkeypatch.setattr(load_module, "read_guide", refuse_to_read)
    again = load_ontology(release="2026-03-26")
    assert same_index(again, cl)


def test_a_renamed_file_uses_the_same_index_under_its_own_name(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_ontology(mini)
    monkeypatch.setattr(load_module, "read_obo", refuse_to_read)
    assert load_ontology(mini.rename(mini.with_name("other.obo"))).source.origin == "other.obo"


def test_a_changed_file_is_read_anew(mini: Path) -> None:
    load_ontology(mini)
    mini.write_text(MINI_OBO.replace("name: T cell", "name: thymus cell"), encoding="utf-8")
    assert "thymus cell" in load_ontology(mini).labels


def damage_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damage_by_flipping(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def damage_by_another_format(path: Path) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    text = json.loads(arrays["text"].tobytes()) | {"format": 0}
    arrays["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
    np.savez(path, **arrays)


def damage_by_dropping_terms(path: Path) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | {"depth": np.zeros(1, np.int32)}
    np.savez(path, **arrays)


def damage_by_pickle(path: Path) -> None:
    np.savez(path, text=np.array([object()], dtype=object))


@pytest.mark.parametrize(
    "damage",
    [damage_by_cutting, damage_by_flipping, damage_by_another_format, damage_by_dropping_terms, damage_by_pickle],
)
def test_a_damaged_cache_is_built_anew(damage: Any, cl: CellOntology) -> None:
    load_ontology(release="2026-03-26")
    path = cached_path(cl.source.sha256)
    assert path is not None
    damage(path)
    with pytest.raises(UnreadableFileError, match="cannot read the ontology index"):
        read_index(path)
    assert same_index(load_ontology(release="2026-03-26"), cl)
    assert same_index(read_index(path), cl)


def test_a_cache_of_another_file_is_not_used(toy: CellOntology, cl: CellOntology) -> None:
    path = cached_path(cl.source.sha256)
    assert path is not None
    path.parent.mkdir(parents=True)
    write_index(toy, path)
    assert len(load_ontology(release="2026-03-26")) == len(cl)


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    monkeypatch.setenv("CELLJURY_CACHE", str(blocked))
    with caplog.at_level(logging.INFO):
        assert len(load_ontology(release="2026-03-26")) == 3324
    assert "the index is not kept in" in caplog.text


def test_a_full_disk_leaves_no_half_file(toy: CellOntology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_index(toy, tmp_path / "index.npz")
    assert list(tmp_path.iterdir()) == []
    assert not write_cached(toy)


def test_cache_off_writes_nothing(cache_folder: Path) -> None:
    load_ontology(cache=False)
    assert not cache_folder.exists()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/celljury"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/celljury"),
        ("darwin", {"HOME": "/home/me"}, "/home/me/Library/Caches/celljury"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/celljury"),
        ("win32", {}, None),
    ],
)
def test_cache_folder_follows_the_platform(
    platform: str, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CELLJURY_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    folder = folder_of_cache()
    assert (folder.as_posix() if folder else None) == expected
    assert (cached_path("0" * 64) is None) == (expected is None)


def test_without_a_home_there_is_no_cache(toy: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Any) -> None:
        message = "Could not determine home directory."
        raise RuntimeError(message)

    monkeypatch.delenv("CELLJURY_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache_module.Path, "expanduser", homeless)
    assert folder_of_cache() is None
    assert not write_cached(toy)
    assert load_ontology().source.release


def test_index_with_extra_terms_is_kept_whole(toy: CellOntology, tmp_path: Path) -> None:
    more = toy.with_terms([ExtraTerm("LAB:1", "mine", ("T:2",))])
    write_index(more, tmp_path / "index.npz")
    assert same_index(read_index(tmp_path / "index.npz"), more)


def test_loading_imports_pronto_only_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def watch(name: str, *args: Any, **kwargs: Any) -> Any:
        assert name.split(".")[0] not in {"pronto", "networkx", "rapidfuzz", "scanpy"}
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", watch)
    assert len(load_ontology(release="2026-03-26", cache=False)) == 3324
    assert os.environ["CELLJURY_CACHE"]
