"""The methods text: true of one run, read as prose (``CELLJURY_WRITE_GOLDEN=1`` writes the golden texts anew)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import made_records as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.api import vote
from celljury.report.methods import methods_text, review_facts
from celljury.run import Run

GOLDEN = Path(__file__).parents[1] / "golden"


def text_of(record: Any, **more: Any) -> str:
    return "\n\n".join(methods_text(record, **{"evaluation": None, "review": None, **more}))


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("CELLJURY_WRITE_GOLDEN"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def test_text_of_a_calibrated_run_with_review_and_evaluation() -> None:
    found = text_of(made.annotated(), evaluation=made.EVALUATION, review=made.REVIEW, embedding="umap")
    check_golden("methods_annotate.md", found)


def test_text_of_labels_alone() -> None:
    check_golden("methods_vote.md", text_of(made.voted()))


def test_labels_alone_claim_no_calibration_member_or_gene() -> None:
    found = text_of(made.voted())
    for word in (
        "held out",
        "held-out",
        "temperature",
        "genes",
        "threshold",
        "doublet",
        "unseen",
        "seeded",
        "classifier",
    ):
        assert word not in found
    assert "were not calibrated" in found
    assert "no error rate is claimed" in found


TIERS = {
    "exact-donor": "the expected share of wrong calls in a new donor like the 12 held out is at most 5 %"
    " (conformal risk control; Angelopoulos et al. 2024)",
    "cluster-t": "the upper limit of a one-sided 90 % t interval for the mean share of wrong calls over 12 held-out donors is"
    " at most 5 %; this is approximate",
    "cell": "the expected share of wrong calls among held-out cells is at most 5 % (conformal risk control;"
    " Angelopoulos et al. 2024). This holds for cells like those held out and says nothing of a new donor",
    "none": "No error rate is claimed for the calls",
}


@pytest.mark.parametrize("tier", list(TIERS))
def test_each_tier_claims_its_own_and_nothing_of_the_others(tier: str) -> None:
    found = text_of(made.annotated(tier=tier))
    assert [name for name, said in TIERS.items() if said in found] == [tier]
    assert ("counts as wrong" in found) is (tier != "none")


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        pytest.param(
            {"calibration__unit": None, "calibration__donors": ["all"], "calibration__n_cells": 341, "tier": "cell"},
            "341 cells of the reference were held out in random folds and called by members trained without them.",
            "12 donors",
            id="random_cells",
        ),
        pytest.param(
            {"calibration__unit": "batch", "calibration__donors": ["a"]},
            "4,000 cells of the reference, from 1 batch (standing in for donors), were called by members trained without the"
            " batch that each cell comes from.",
            "12 donors",
            id="batches_stand_in",
        ),
        pytest.param(
            {"calibration__matching": {"matched": True}},
            "predicted again with the query's genes only and thinned to its depth",
            "were not",
            id="matched_to_the_query",
        ),
        pytest.param(
            {"calibration__settings__pool": "equal"},
            "averaged with equal weights and were not calibrated one by one",
            "a temperature",
            id="equal_pool_calibrates_no_member",
        ),
        pytest.param(
            {"calibration__settings__pool": "dawid-skene"},
            "pooled by the model of Dawid and Skene (Dawid and Skene 1979)",
            "log-odds",
            id="dawid_skene_pool",
        ),
        pytest.param(
            {"calibration__evidence": {"members": [{"method": "temperature"}, {"method": "confusion"}]}},
            "by a temperature (Guo et al. 2017) or the smoothed confusion of its votes with the true types",
            "log-loss",
            id="two_ways_to_calibrate",
        ),
        pytest.param(
            {"calibration__settings__loss": "lenient"},
            "and is not merely coarser than the call.",
            "log-loss",
            id="lenient_loss",
        ),
        pytest.param(
            {"calibration__thresholds": [{"value": 0.7, "n_donors": 12}, {"value": 0.91, "n_donors": 9}]},
            "enough of the pooled probability (thresholds by branch of cell types: 0.7 to 0.91). These thresholds are the",
            "This threshold",
            id="thresholds_by_branch",
        ),
        pytest.param(
            {"calibration__exchangeable": {"unlike": ["s1"]}},
            "For 1 of the query's batches, unlike the held-out ones, no error rate is claimed.",
            "like those held out",
            id="unlike_batches",
        ),
        pytest.param(
            {"calibration__settings__unseen": False},
            "Whether a cell's type is in the reference at all was not tested.",
            "conformal p-value",
            id="unseen_not_tested",
        ),
        pytest.param(
            {
                "calibration__notes": [
                    "Doublets were not looked for: 60,000 cells are more than review.doublets (50,000)."
                ]
            },
            "seeded with 0",
            "doublets",
            id="doublets_not_looked_for",
        ),
        pytest.param(
            {"calibration__notes": ["No doublet score for 1 batch (s1) with fewer than 100 cells with counts."]},
            "(Wolf et al. 2018), in batches that allow it; nothing was filtered.",
            "x",
            id="doublets_in_some_batches",
        ),
        pytest.param(
            {"rule": "quorum", "tier": "none", "config__reduce__quorum": 0.6},
            "the most specific term that at least 60 % of the votes cast for it lie at or below;",
            "a temperature",
            id="quorum_of_a_calibrated_jury_claims_no_calibration",
        ),
        pytest.param(
            {"rule": "lca", "tier": "none", "config__reduce__on": "mass"},
            "that at least 95 % of the members' pooled probability lies at or below;",
            "lowest common ancestor",
            id="lca_on_mass_leaves_a_tail",
        ),
        pytest.param(
            {"calibration": None, "rule": "lca", "tier": "none", "alpha": None},
            "Whether a cell's type is in the reference at all was not tested.",
            "doublets",
            id="jury_without_a_calibration",
        ),
        pytest.param(
            {"genes": {"n_reference": 2000, "n_shared": 400, "share": 0.4}},
            "they hold 40 % of the reference's counts",
            "surgery",
            id="no_surgery_with_too_few_genes",
        ),
    ],
)
def test_what_is_said_follows_the_record(changes: dict[str, Any], said: str, unsaid: str) -> None:
    found = text_of(made.annotated(**changes))
    assert said in found
    assert unsaid == "x" or unsaid not in found


def test_absent_members_are_named_and_not_described() -> None:
    record = made.annotated()
    record["members"][3]["absent"] = record["members"][5]["absent"] = "/some/path: not installed"
    found = text_of(record)
    assert "Four members voted: " in found
    assert "singler and scanvi of the same jury did not take part." in found
    assert "SingleR" not in found
    assert "/some/path" not in found


def test_a_member_of_another_package_is_named_as_it_names_itself() -> None:
    record = made.annotated(members=[{"name": "mine", "version": "my-lib 2", "settings": {}, "absent": None}])
    assert "One member voted: mine (my-lib 2)." in text_of(record)


def test_a_model_from_elsewhere_is_not_said_to_be_trained_on_the_reference() -> None:
    record = made.annotated()
    record["members"][1]["settings"]["model"] = "Immune_All_Low.pkl"
    assert "CellTypist (celltypist 1.7.1; Domínguez Conde et al. 2022) with a model trained elsewhere" in text_of(
        record
    )


def test_nobody_reviewed_and_nothing_evaluated_is_not_mentioned() -> None:
    found = text_of(made.annotated(), review=made.REVIEW | {"n_reviewed": 0})
    assert "curator" not in found
    assert "Accuracy" not in found


@given(name=st.text(min_size=1))
def test_a_name_from_a_file_is_never_a_citation(name: str) -> None:
    record = made.voted(members=[{"name": name, "absent": None}, {"name": "x [@wolf2018] @diehl2016", "absent": None}])
    assert "x (@wolf2018) @diehl2016" in text_of(record)


def test_every_mark_becomes_a_citation() -> None:
    found = text_of(made.annotated(), evaluation=made.EVALUATION, review=made.REVIEW, embedding="umap")
    assert "@" not in found
    assert "[" not in found


def test_text_of_a_run_that_vote_made(tmp_path: Path) -> None:
    (tmp_path / "v.tsv").write_text("cell_id\ta\tb\nc1\tT cell\tB cell\nc2\tB cell\t\n", encoding="utf-8")
    run = vote(tmp_path / "v.tsv", columns=["a", "b"], out=tmp_path / "run")
    found = text_of(run.record)
    assert found.startswith(
        "Two sets of labels (a and b) of 2 cells were mapped to terms of the Cell Ontology (release "
    )
    assert "all votes cast for it lie at or below (their lowest common ancestor)" in found


# Review -----------------------------------------------------------------------------------------------------------------


def write_final(folder: Path, rows: list[tuple[Any, ...]]) -> Run:
    names = ("reviewed", "conflict", "item_id", "reviewers", "term", "status", "call_term", "call_status")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    pq.write_table(pa.table(columns), folder / "final.parquet")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    return Run.open(folder)


def test_facts_of_a_review_are_counted_by_cell(tmp_path: Path) -> None:
    run = write_final(
        tmp_path,
        [
            (True, False, "i1", "ann;bob", "CL:1", "resolved", "CL:2", "backed_off"),
            (True, False, "i1", "ann;bob", "CL:1", "resolved", "CL:1", "resolved"),
            (True, False, "i1", "ann;bob", "CL:1", "resolved", "CL:1", "backed_off"),  # confirmed
            (True, False, "i2", "bob", None, "unresolved", None, "unseen"),
            (False, True, "i3", "ann;eve", "CL:2", "resolved", "CL:2", "resolved"),
            (False, False, "", "", "CL:2", "resolved", "CL:2", "resolved"),
        ],
    )
    assert review_facts(run) == {
        "n_cells": 6, "n_reviewed": 4, "n_changed": 2, "n_conflict": 1, "n_items": 2, "n_reviewers": 2,
    }  # fmt: skip


def test_a_run_that_nobody_decided_on_has_no_facts(tmp_path: Path) -> None:
    run = write_final(tmp_path, [(False, False, "", "", "CL:2", "resolved", "CL:2", "resolved")])
    assert review_facts(run) is None
    (tmp_path / "final.parquet").unlink()
    assert review_facts(run) is None
