"""What a run was made from, found again: where it was, beside the run, or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from celljury.errors import InputError
from celljury.ontology.load import load_ontology
from celljury.origin import jury_folder, ontology_of, query_file
from celljury.provenance import as_dict, sha256
from celljury.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology


def run_of(folder: Path, **record: Any) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return Run(folder)


def test_jury_and_query_are_found_where_they_were_and_beside_the_run(tmp_path: Path) -> None:
    for place in ("there", "here"):
        (tmp_path / place / "my.jury").mkdir(parents=True)
        (tmp_path / place / "my.jury" / "jury.json").write_text("{}", encoding="utf-8")
        (tmp_path / place / "query.h5ad").write_text("cells", encoding="utf-8")
    there, here = tmp_path / "there", tmp_path / "here"
    jury = {"folder": str(there / "my.jury"), "sha256": sha256(there / "my.jury" / "jury.json")}
    query = {"file": str(there / "query.h5ad"), "sha256": sha256(there / "query.h5ad")}
    run = run_of(here / "run", jury=jury, query=query)
    assert (jury_folder(run), query_file(run)) == (there / "my.jury", there / "query.h5ad")
    (there / "my.jury" / "jury.json").write_text('{"another": 1}', encoding="utf-8")
    (there / "query.h5ad").unlink()
    assert (jury_folder(run), query_file(run)) == (here / "my.jury", here / "query.h5ad")
    (here / "my.jury" / "jury.json").unlink()
    (here / "query.h5ad").write_text("other cells", encoding="utf-8")
    assert (jury_folder(run), query_file(run)) == (None, None)


def test_run_on_labels_has_no_jury_and_an_object_no_file(tmp_path: Path) -> None:
    run = run_of(tmp_path, query={"file": "DataFrame", "sha256": None})
    assert (jury_folder(run), query_file(run)) == (None, None)


def test_ontology_is_loaded_anew_where_there_is_no_jury(tmp_path: Path, cl: CellOntology) -> None:
    settings = {"ontology": {"source": None, "release": None, "extra_terms": None}}
    run = run_of(tmp_path, ontology=as_dict(cl.source), config=settings)
    assert ontology_of(run).ids == cl.ids


def test_extra_terms_that_are_gone_or_changed_are_no_longer_that_ontology(tmp_path: Path, cl: CellOntology) -> None:
    extra = tmp_path / "extra.tsv"
    extra.write_text("id\tlabel\tparents\tsynonyms\nX:1\tmy T cell\tCL:0000084\t\n", encoding="utf-8")
    own = load_ontology(release=cl.source.release, extra=extra, cache=False)
    settings = {"ontology": {"source": None, "release": None, "extra_terms": str(extra)}}
    run = run_of(tmp_path, ontology=as_dict(own.source), config=settings)
    assert "X:1" in ontology_of(run)
    extra.write_text("id\tlabel\tparents\tsynonyms\nX:1\tmy B cell\tCL:0000236\t\n", encoding="utf-8")
    with pytest.raises(InputError, match="another ontology"):
        ontology_of(run)
    extra.unlink()
    with pytest.raises(InputError, match=r"is not found: .*extra\.tsv"):
        ontology_of(run)
