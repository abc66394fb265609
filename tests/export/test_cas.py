"""The Cell Annotation Schema document: valid, every cell in one annotation, and words that the numbers bear out."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.errors import InputError
from celljury.export.cas import Publication, _version
from celljury.export.cas_words import LONGEST, GroupCounts, cut, rationale
from celljury.export.make import export_run, exported_lines
from celljury.export.validator import run_validator
from celljury.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Validators

ABOUT = Publication("Ada Lovelace", "Blood cells", "https://example.org/annotation")


def written(run: Run, out: Path, **options: Any) -> dict[str, Any]:
    export_run(run, to="cas", out=out, overwrite=True, **options)
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize("calls", ["calls", "final"])
@pytest.mark.parametrize(
    ("about", "schemas"),
    [
        pytest.param(Publication(), ("general", "BICAN"), id="nothing_given"),
        pytest.param(ABOUT, ("general", "BICAN", "CAP"), id="all_given"),
    ],
)
def test_the_packages_schemas_take_it(
    reviewed: Run, validators: Validators, tmp_path: Path, calls: Any, about: Publication, schemas: tuple[str, ...]
) -> None:
    made = export_run(
        reviewed, to="cas", out=tmp_path / "out.json", calls=calls, about=about, validator=validators.folder
    )
    assert made.verdict is not None
    assert made.verdict.valid, "\n".join(made.verdict.lines)
    assert [line for line in made.verdict.lines if not line.endswith("JSON schema")] == [
        f"{name}: valid" for name in schemas
    ]


def test_the_packages_schemas_refuse_what_is_not_valid(run: Run, validators: Validators, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    document = written(run, out, check=False)
    document["annotations"][0].pop("cell_label")
    del document["author_name"]
    out.write_text(json.dumps(document))
    verdict = run_validator("cas", validators.python, out, schemas=("general", "CAP"))
    assert not verdict.valid
    assert any("'cell_label' is a required property" in line for line in verdict.lines)
    # CAP's asks for an address, and none is made up.
    assert any(line.startswith("ERROR: CAP: ") and "'cellannotation_url'" in line for line in verdict.lines)


def test_every_cell_is_in_one_annotation_of_its_call(run: Run, tmp_path: Path) -> None:
    document = written(run, tmp_path / "out.json")
    cells = [cell for one in document["annotations"] for cell in one["cell_ids"]]
    assert sorted(cells) == sorted(run.calls.index)
    assert len(set(cells)) == len(cells)
    for one in document["annotations"]:
        calls = run.calls.loc[one["cell_ids"]]
        status = set(calls["status"])
        if one["cell_label"] == "unknown":
            assert calls["term"].isna().all()
            assert "cell_ontology_term_id" not in one
            assert one["cell_fullname"] == "unknown"
            continue
        assert set(calls["term"]) == {one["cell_ontology_term_id"]}
        assert set(calls["label"]) == {one["cell_ontology_term"]}
        if one["cell_label"].startswith("unseen, new under "):
            assert status == {"unseen"}
        else:
            assert status <= {"resolved", "backed_off"}
            assert one["cell_label"] == one["cell_ontology_term"]
    labels = [one["cell_label"] for one in document["annotations"]]
    assert len(set(labels)) == len(labels)
    assert any(label.startswith("unseen, new under ") for label in labels)
    assert labels[-1] == "unknown"


def test_the_words_say_what_the_numbers_are(run: Run, tmp_path: Path) -> None:
    document = written(run, tmp_path / "out.json")
    first = document["annotations"][0]
    calls = run.calls.loc[first["cell_ids"]]
    assert first["author_annotation_fields"] == {
        "n_cells": len(calls), "n_backed_off": int((calls["status"] == "backed_off").sum()), "n_unseen": 0,
        "n_unresolved": 0, "n_review": int(calls["needs_review"].sum()), "n_curated": 0,
        "mean_agreement": round(float(calls["agreement"].mean()), 4),
        "mean_support": round(float(calls["support"].mean()), 4),
    }  # fmt: skip
    assert first["rationale"].startswith(
        f"{len(calls)} cells: consensus of a jury of classifiers on the Cell Ontology."
    )
    assert f"mean {calls['agreement'].mean():.2f}" in first["rationale"]
    assert first["rationale"].endswith(run.record["promise"])
    assert "Tier: cell, alpha 0.05." in first["rationale"]


def test_the_head_says_how_it_was_made_and_invents_nothing(run: Run, tmp_path: Path) -> None:
    document = written(run, tmp_path / "out.json")
    (labelset,) = document["labelsets"]
    assert labelset["annotation_method"] == "algorithmic"
    assert labelset["automated_annotation"]["algorithm_name"] == "celljury"
    assert labelset["automated_annotation"]["algorithm_version"] == run.record["versions"]["celljury"]
    assert "reference_location" not in labelset["automated_annotation"]
    assert {one["labelset"] for one in document["annotations"]} == {labelset["name"]}
    assert "Cell Ontology 2026-03-26" in labelset["description"]
    assert document["cellannotation_timestamp"] == run.record["ended"]
    assert document["author_name"] == "not given"
    assert not {"cellannotation_url", "matrix_file_id", "orcid", "author_contact"} & document.keys()
    made = export_run(run, to="cas", out=tmp_path / "out.json", overwrite=True)
    assert "  author_name is not known: give it with --author" in exported_lines(made)
    assert made.taken
    given_all = written(run, tmp_path / "out.json", about=ABOUT)
    assert (given_all["author_name"], given_all["title"], given_all["cellannotation_url"]) == (
        "Ada Lovelace", "Blood cells", "https://example.org/annotation",
    )  # fmt: skip


def test_curators_decisions_are_counted_and_no_review_is_written(reviewed: Run, tmp_path: Path) -> None:
    document = written(reviewed, tmp_path / "out.json")
    assert document["labelsets"][0]["annotation_method"] == "both"
    final = pd.read_parquet(reviewed.folder / "final.parquet").set_index("cell_id")
    decided = final.index[(final["source"] == "curator") & (final["term"] == "CL:0000576")]
    (one,) = [a for a in document["annotations"] if a.get("cell_label") == "monocyte"]
    assert set(decided) <= set(one["cell_ids"])
    assert one["author_annotation_fields"]["n_curated"] == len(decided)
    assert f"Decided by curators: {len(decided)}." in one["rationale"]
    assert "Of the calls before review: " in document["labelsets"][0]["description"]
    assert not any("reviews" in a for a in document["annotations"])
    if len(decided) == len(one["cell_ids"]):  # the members' agreement was on another term
        assert "mean_agreement" not in one["author_annotation_fields"]
        assert "Agreement" not in one["rationale"]
    calls = written(reviewed, tmp_path / "out.json", calls="calls")
    assert calls["labelsets"][0]["annotation_method"] == "algorithmic"


def test_decisions_on_other_calls_are_refused(reviewed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reviewed.folder, folder)
    table = pd.read_parquet(folder / "calls.parquet")
    table["status"] = table["status"].astype(str)
    table.loc[table.index[table["status"] == "resolved"][:3], ["term", "status"]] = [None, "unresolved"]
    table.to_parquet(folder / "calls.parquet", index=False)
    with pytest.raises(InputError, match=r"3 cells are called otherwise now.*celljury apply"):
        export_run(Run.open(folder), to="cas", out=tmp_path / "out.json")


def test_names_in_any_script_and_with_quotes_come_back_as_they_are(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    table = pd.read_parquet(folder / "calls.parquet")
    table["cell_id"] = [f'cell "{i}" \\ Zürich 細胞\n' for i in range(len(table))]
    table.to_parquet(folder / "calls.parquet", index=False)
    document = written(Run.open(folder), tmp_path / "out.json")
    assert sorted(cell for one in document["annotations"] for cell in one["cell_ids"]) == sorted(table["cell_id"])


def test_a_run_over_a_table_needs_no_query(tmp_path: Path) -> None:
    from celljury.api import vote

    labels = pd.DataFrame(
        {"cell_id": ["a", "b", "c"], "one": ["CL:0000236", "CL:0000084", ""], "two": ["CL:0000236", "CL:0000236", ""]}
    )
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    run = vote(tmp_path / "labels.tsv", ["one", "two"], out=tmp_path / "run")
    document = written(run, tmp_path / "out.json")
    assert {one["cell_label"]: one["cell_ids"] for one in document["annotations"]} == {
        "B cell": ["a"], "lymphocyte": ["b"], "unknown": ["c"],
    }  # fmt: skip
    assert "share of the votes or mass" in document["annotations"][0]["rationale"]
    with pytest.raises(InputError, match=r"labels\.tsv, which is no h5ad.*--query.*--to cas"):
        export_run(run, to="h5ad", out=tmp_path / "out.h5ad")


COUNTS = GroupCounts(12, 2, 0, 0, 3, 0, 0.875, 0.5)
RECORD = {"tier": "none", "promise": "No error rate is promised.", "rule": "calibrated"}


@pytest.mark.parametrize(
    ("counts", "kind", "expected"),
    [
        pytest.param(
            COUNTS, "called",
            "12 cells: consensus of a jury of classifiers on the Cell Ontology. Agreement (share of the cast votes at or below"
            " the term): mean 0.88. Support (calibrated probability at or below the term): mean 0.50. Backed off to it from a"
            " more specific term: 2. Flagged for a curator: 3. Tier: none. No error rate is promised.",
            id="called",
        ),
        pytest.param(
            GroupCounts(1, 0, 1, 0, 1, 0, 1.0, 1.0), "unseen",
            "1 cell unlike every type of the reference, placed under B cell: the most specific term that still fits. Nothing is"
            " promised about that place. Flagged for a curator: 1. Tier: none. No error rate is promised.",
            id="unseen",
        ),
        pytest.param(
            GroupCounts(5, 0, 2, 3, 0, 5, None, None), "unknown",
            "5 cells: decided by curators to be without a term. Decided by curators: 5.",
            id="no_promise_of_what_curators_decided",
        ),
        pytest.param(
            GroupCounts(5, 0, 2, 3, 0, 0, None, None), "unknown",
            "5 cells without a term: 3 on which too few members agree, 2 unlike every type of the reference. Tier: none. No"
            " error rate is promised.",
            id="unknown",
        ),
        pytest.param(
            GroupCounts(5, 0, 0, 0, 2, 2, 0.5, 0.5), "called",
            "5 cells: consensus of a jury of classifiers on the Cell Ontology, and of these 2 by curators. Agreement (share of"
            " the cast votes at or below the term): mean 0.50. Support (calibrated probability at or below the term): mean"
            " 0.50. Flagged for a curator: 2. Decided by curators: 2. What follows speaks of the calls before review. Tier:"
            " none. No error rate is promised.",
            id="promise_is_of_the_calls_before_review",
        ),
    ],
)  # fmt: skip
def test_rationale(counts: GroupCounts, kind: str, expected: str) -> None:
    assert rationale(counts, RECORD, kind=kind, label="B cell") == expected


@given(st.text(st.sampled_from("ab. ;"), max_size=60), st.integers(4, 40))
def test_cut_texts_are_short_and_begin_as_the_text(text: str, longest: int) -> None:
    short = cut(text, longest)
    assert len(short) <= longest
    assert text.startswith(short.removesuffix("..."))
    assert short == text or len(text) > longest


def test_a_promise_that_is_too_long_loses_its_last_sentences() -> None:
    said = rationale(COUNTS, RECORD | {"promise": "A sentence of some length. " * 100}, kind="called", label="B cell")
    assert LONGEST - 30 < len(said) <= LONGEST
    assert said.endswith("A sentence of some length.")


def test_the_version_is_the_day_in_three_numbers() -> None:
    assert _version("2026-03-05T07:10:49+00:00") == "2026.3.5"


def test_means_do_not_depend_on_the_order_of_cells(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    table = pd.read_parquet(folder / "calls.parquet")
    table.iloc[np.random.default_rng(0).permutation(len(table))].to_parquet(folder / "calls.parquet", index=False)
    one, other = (written(found, tmp_path / "out.json") for found in (run, Run.open(folder)))
    for a, b in zip(one["annotations"], other["annotations"], strict=True):
        assert sorted(a.pop("cell_ids")) == sorted(b.pop("cell_ids"))
        assert a == b
