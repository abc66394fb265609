"""References: only what the methods text cites, with DOIs of the right shape, as BibTeX that BibTeX reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import made_records as made
import pytest

from celljury.report.citations import Citation, bibtex, citations_of, published, reference_line
from celljury.report.methods import methods_text
from celljury.report.methods_members import member_text

if TYPE_CHECKING:
    from pathlib import Path

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "year"},
}


def parsed(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Read BibTeX strictly: balanced braces, one entry a key, one value a field, nothing between entries."""
    entries: dict[str, tuple[str, dict[str, str]]] = {}
    while text := text.strip():
        found = re.match(r"@(\w+)\{([a-z0-9]+),\n", text)
        assert found, text[:80]
        at, fields = found.end(), dict[str, str]()
        while not text[at:].startswith("}"):
            field = re.match(r"  (\w+) = \{", text[at:])
            assert field, text[at : at + 80]
            start = at = at + field.end()
            depth = 1
            while depth:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            assert field.group(1) not in fields
            fields[field.group(1)] = text[start : at - 1]
            at += len(re.match(r",?\n", text[at:]).group())  # type: ignore[union-attr]
        assert found.group(2) not in entries
        entries[found.group(2)] = (found.group(1), fields)
        text = text[at + 1 :]
    return entries


def everything() -> tuple[Citation, ...]:
    return (*published().values(), *citations_of(made.voted()))[: len(published()) + 1]


def test_each_reference_has_what_bibtex_requires() -> None:
    entries = parsed(bibtex(everything()))
    assert len(entries) == len(published()) + 1
    for key, (kind, fields) in entries.items():
        assert set(fields) >= REQUIRED[kind], key
        assert key == "celljury" or "doi" in fields or fields["url"].startswith("https://"), key
        if "doi" in fields:
            assert re.fullmatch(r"10\.\d{4,5}/[A-Za-z0-9.:/-]+", fields["doi"]), key
        assert all(text.isascii() for text in fields.values()), key


def test_keys_are_family_and_year() -> None:
    for key, citation in published().items():
        assert key == citation.key
        assert key.endswith(str(citation.year))
    assert len({citation.doi or citation.url for citation in published().values()}) == len(published())


def test_accents_are_commands_and_software_is_no_person() -> None:
    entries = parsed(bibtex(everything()))
    assert r"Dom{\'{\i}}nguez Conde, C." in entries["dominguezconde2022"][1]["author"]
    assert r"Cand{\`{e}}s, Emmanuel" in entries["bates2023"][1]["author"]
    assert r"Varoquaux, Ga{\"{e}}l" in entries["pedregosa2011"][1]["author"]
    assert entries["celljury"] == (
        "misc",
        {"author": "{the celljury authors}", "title": "{celljury: ensemble consensus cell types on the Cell Ontology}",
         "year": "2026", "version": "0.1.0", "note": "Software, BSD-3-Clause"},
    )  # fmt: skip


def test_lines_for_people() -> None:
    lines = {key: reference_line(citation) for key, citation in published().items()}
    assert lines["wolf2018"] == (
        "Wolf F. Alexander, Angerer Philipp, Theis Fabian J. (2018). SCANPY: large-scale single-cell gene expression data"
        " analysis. Genome Biology 19:15. https://doi.org/10.1186/s13059-017-1382-0"
    )
    assert lines["diehl2016"].startswith("Diehl Alexander D., Meehan Terrence F., Bradford Yvonne M., et al. (2016). ")
    assert "Genome" not in lines["guo2017"]
    assert lines["guo2017"].endswith(":1321-1330. https://proceedings.mlr.press/v70/guo17a.html")


@pytest.mark.parametrize(
    ("key", "short"),
    [("dawid1979", "Dawid and Skene 1979"), ("wolf2018", "Wolf et al. 2018"), ("diehl2016", "Diehl et al. 2016")],
)
def test_how_a_text_cites(key: str, short: str) -> None:
    assert published()[key].short == short


def keys(record: Any, **more: Any) -> list[str]:
    return [citation.key for citation in citations_of(record, **more)]


def test_labels_alone_cite_the_ontology_and_celljury() -> None:
    assert keys(made.voted()) == ["celljury", "diehl2016"]


def test_only_members_that_voted_are_cited() -> None:
    record = made.annotated()
    for member in record["members"][1:]:
        member["absent"] = "not installed"
    found = keys(record)
    assert "pedregosa2011" in found
    assert not {
        "dominguezconde2022",
        "kang2021",
        "aran2019",
        "lopez2018",
        "xu2021",
        "lotfollahi2022",
        "gayoso2022",
    } & set(found)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        pytest.param({"tier": "cluster-t"}, "angelopoulos2024", id="cluster_t_is_no_conformal_risk_control"),
        pytest.param({"calibration__settings__unseen": False}, "bates2023", id="untested_belonging"),
        pytest.param({"calibration__settings__pool": "calibrated"}, "dawid1979", id="equal_weights"),
        pytest.param({"calibration__notes": ["Doublets were not looked for (...)"]}, "wolock2019", id="no_doublets"),
        pytest.param({"rule": "lca", "tier": "none"}, "guo2017", id="rule_without_calibration"),
    ],
)
def test_a_method_that_was_not_used_is_not_cited(changes: dict[str, Any], key: str) -> None:
    assert key not in keys(made.annotated(**changes))


def test_umap_is_cited_where_it_is_drawn() -> None:
    assert "mcinnes2018" in keys(made.annotated(), embedding="umap")
    assert "mcinnes2018" not in keys(made.annotated(), embedding="pca")


def with_all_members(record: dict[str, Any]) -> dict[str, Any]:
    """A run on which every member of celljury votes, the foundation model in both architectures."""
    there = {member["name"] for member in record["members"]}
    further = [
        {**record["members"][0], "name": point.name, "settings": settings}
        for point in entry_points(group="celljury.members")
        if point.name not in there
        for settings in (
            [{"architecture": "geneformer"}, {"architecture": "scgpt"}] if point.name == "foundation" else [{}]
        )
    ]
    return {**record, "members": [*record["members"], *further]}


@pytest.mark.parametrize("name", sorted(point.name for point in entry_points(group="celljury.members")))
def test_every_member_is_said_in_a_phrase_of_its_own(name: str) -> None:
    member = {"name": name, "version": "", "settings": {}}
    assert member_text(member, genes_share=1.0) != name


def test_text_and_references_name_the_same() -> None:
    more: dict[str, Any] = {"evaluation": made.EVALUATION, "review": made.REVIEW, "embedding": "umap"}
    record = with_all_members(made.annotated(tier="cell"))
    text = " ".join(methods_text(record, **more))
    found = citations_of(record, **more)
    assert [citation.key for citation in found] == sorted({*published(), "celljury"}), "every reference has its use"
    assert all(citation.short in text for citation in found if citation.key != "celljury")
    assert len(set(re.findall(r"[A-Z]\S+(?: \S+)?(?: et al\.| and \S+)? \d{4}", text))) >= len(found) - 1


def test_bibtex_itself_reads_them(tmp_path: Path) -> None:
    program = shutil.which("bibtex")
    if program is None:
        pytest.skip("needs bibtex")
    (tmp_path / "r.bib").write_text(bibtex(everything()), encoding="utf-8")
    (tmp_path / "a.aux").write_text("\\relax\n\\citation{*}\n\\bibstyle{plain}\n\\bibdata{r}\n", encoding="utf-8")
    done = subprocess.run([program, "a"], cwd=tmp_path, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout
    assert "arning" not in done.stdout, done.stdout
    assert (tmp_path / "a.bbl").read_text(encoding="utf-8").count(r"\bibitem") == len(everything())
