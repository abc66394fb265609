"""Captions: release, members, rule, tier and alpha, what is counted, and the promise in a phrase that claims no more."""

from __future__ import annotations

from typing import Any

import made_records as made
import pytest

from celljury.report.caption import caption_lines


def test_caption_of_an_annotated_run() -> None:
    record = made.annotated()
    record["members"][5]["absent"] = "scvi-tools is not installed"
    assert caption_lines(record, "calls", 1353) == (
        "Counted: 1,353 cells, each once, by the run's calls.",
        "Cell types are terms of the Cell Ontology (CL), release 2026-03-26.",
        "Members: logistic (scikit-learn 1.9.1), celltypist (celltypist 1.7.1), symphony (symphonypy 0.2.4), singler"
        " (singler 0.5.0), scvi_knn (scvi-tools 1.4.2); absent: scanvi.",
        "Rule calibrated, tier cluster-t, alpha 0.05: aimed at: in a new donor at most 5 % of the cells get a wrong call, on"
        " average over new donors (approximate).",
        "celljury 0.1.0.",
    )


def test_caption_of_labels_alone_names_them_and_promises_nothing() -> None:
    assert caption_lines(made.voted(), "calls", 3) == (
        "Counted: 3 cells, each once, by the run's calls.",
        "Cell types are terms of the Cell Ontology (CL), release 2026-03-26 with 2 terms of the user.",
        "Labels voted on: azimuth, author_label.",
        "Rule lca, tier none: no error rate is promised.",
        "celljury 0.1.0.",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"tier": "exact-donor", "calibration__unit": "batch"},
            "tier exact-donor, alpha 0.05: in a new batch at most 5 % of the cells get a wrong call, on average over new"
            " batches (exact).",
            id="batches_stand_in_for_donors",
        ),
        pytest.param(
            {"tier": "cell", "alpha": 0.1, "calibration__unit": None},
            "tier cell, alpha 0.1: of cells like those that were held out at most 10 % get a wrong call, on average; nothing is"
            " promised about a new donor.",
            id="cells_promise_nothing_of_donors",
        ),
        pytest.param({"tier": "none"}, "tier none: no error rate is promised.", id="none_has_no_alpha"),
        pytest.param(
            {"calibration__exchangeable": {"unlike": ["s1", "s2"]}},
            "; nothing for the cells of 2 batches that are unlike the held-out ones.",
            id="unlike_batches_are_excepted",
        ),
    ],
)
def test_the_promise_in_short(changes: dict[str, Any], said: str) -> None:
    assert caption_lines(made.annotated(**changes), "calls", 10)[3].endswith(said)


def test_decisions_are_counted_and_not_promised() -> None:
    counted, *_, rule, _ = caption_lines(made.annotated(), "final", 1)
    assert counted == "Counted: 1 cell, by curators' decisions where there are any, else by the run's calls."
    assert rule.endswith("; this speaks of the calls before review.")


def test_a_record_without_versions_or_rule_has_a_caption() -> None:
    record: dict[str, Any] = {
        "members": [{"name": "a", "absent": None, "version": ""}], "ontology": {"release": "2026-03-26"}, "tier": "none",
    }  # fmt: skip
    assert caption_lines(record, "calls", 2)[2:] == (
        "Members: a.", "Rule not recorded, tier none: no error rate is promised.", "celljury.",
    )  # fmt: skip
