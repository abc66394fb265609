"""The first page and the parts of a report, from numbers written by hand."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pandas as pd
import pytest

from celljury.report.levels import Level
from celljury.report.report_first import MOST_LABELS, first_page
from celljury.report.report_glance import Glance, first_lines
from celljury.report.report_parts import ORDER, PARTS, part_of
from celljury.report.review_counts import OUTCOMES, ReviewCounts

RECORD: dict[str, Any] = {
    "tier": "cell", "alpha": 0.05, "calibration": {"unit": "donor"},
    "promise": "Promised: few are wrong. Wrong means something. Not promised: a new donor. Why: because. More: words.",
}  # fmt: skip


def rows(*counts: int, unseen: tuple[int, ...] = ()) -> pd.DataFrame:
    """Rows of a tally: so many cells of each label, then unseen cells by node."""
    n = sum(counts) + sum(unseen)
    made = [(i, f"CL:{i:07d}", f"type {i}", k) for i, k in enumerate(counts)]
    made += [(-4 - i, f"unseen@CL:{i:07d}", f"unseen, under {i}", k) for i, k in enumerate(unseen)]
    frame = pd.DataFrame(made, columns=["place", "term", "label", "n_cells"])
    return frame.assign(
        fraction=frame["n_cells"] / n, mean_support=0.875, mean_agreement=0.5, n_review=frame["n_cells"] // 2
    )


def glance(*levels: tuple[str, pd.DataFrame], **changes: Any) -> Glance:
    n_cells = int(levels[0][1]["n_cells"].sum())
    nothing = dict.fromkeys(OUTCOMES, 0)
    return Glance(**{
        "levels": tuple((Level(name, name, None, ()), frame) for name, frame in levels), "n_cells": n_cells, "source": "calls",
        "n_by_status": {"resolved": n_cells, "backed_off": 0, "unresolved": 0, "unseen": 0},
        "review": ReviewCounts(n_cells, 7, 3, applied=False, cells=nothing | {"open": 7}, items=nothing | {"open": 3}),
        "sure": "mean_support",
        "steps": (("Look:", "celljury review run"),), **changes,
    })  # fmt: skip


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_levels_follow_each_other_until_the_page_is_full() -> None:
    small, large = rows(60, 40), rows(*range(50, 10, -1))
    text = words(first_page(glance(("wide", small), ("middle", large.head(3)), ("narrow", large)), RECORD))
    assert "wide type 0 CL:0000000 60 60.0 % 0.88 30" in text
    assert text.index("wide") < text.index("middle") < text.index("narrow")
    # Eight lines are left for the third level: seven labels and the others in one.
    assert "33 more labels" in text
    assert text.count("CL:00000") == 2 + 3 + (MOST_LABELS - 5 - 1)


def test_labels_that_are_left_out_are_counted_in_one_line() -> None:
    frame = rows(*([2] * 40))
    text = words(first_page(glance(("wide", frame)), RECORD))
    n_left = 40 - (MOST_LABELS - 1)
    assert f"{n_left} more labels {2 * n_left}" in text
    assert "all cells, at each level 80 100.0 %" in text


def test_level_that_does_not_fit_is_named_with_its_labels() -> None:
    text = words(first_page(glance(("wide", rows(*([2] * 40))), ("narrow", rows(*([1] * 80)))), RECORD))
    assert "The same cells at other levels: narrow (80 labels)." in text


def test_unseen_cells_are_one_line_without_a_claim_of_how_sure() -> None:
    text = words(first_page(glance(("called", rows(10, unseen=(4, 6)))), RECORD))
    assert "unseen 10 50.0 % - 5" in text
    assert "unseen@" not in text


@pytest.mark.parametrize(("sure", "said"), [("mean_support", "0.88"), ("mean_agreement", "0.50")])
def test_how_sure_is_the_one_number_that_is_named(sure: str, said: str) -> None:
    text = words(first_page(glance(("wide", rows(4, 2)), sure=sure), RECORD))
    assert f"type 0 CL:0000000 4 66.7 % {said} 2" in text
    assert f"{sure.removeprefix('mean_')}: mean" in text


def test_promise_and_what_is_not_promised_are_in_sight_and_the_rest_is_folded() -> None:
    page = first_page(glance(("wide", rows(4, 2))), RECORD)
    shown, folded = page.split("<details>")
    assert "<b>Promised:</b> few are wrong." in shown
    assert "<b>Not promised:</b> a new donor." in shown
    assert "More: words." in folded
    assert "Tier cell, alpha 5 % : of cells like the held-out ones" in words(page)


def test_status_says_that_decisions_count() -> None:
    cells = dict.fromkeys(OUTCOMES, 0) | {"confirmed": 7}
    review = ReviewCounts(6, 7, 3, applied=True, cells=cells, items=cells)
    text = words(first_page(glance(("wide", rows(4, 2)), source="final", review=review), RECORD))
    assert "resolved: called the term with most votes, or decided" in text
    assert "decided ones among them" in text


def test_first_level_that_tells_cells_apart_is_the_terminals() -> None:
    lines = first_lines(glance(("wide", rows(6)), ("narrow", rows(4, 2))), RECORD)
    assert lines[0] == "6 cells, narrow:"
    assert lines[1].split() == ["type", "0", "4", "66.7", "%", "support", "0.88"]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("cells_cell_class", "levels"), ("cells_cell_class_by_donor", "groups"), ("fractions_term_by_sample", "groups"),
        ("composition_term", "levels"), ("composition_term_by_sample", "groups"), ("donors_term_by_disease", "donors"),
        ("shared_terms_cell_class", "levels"), ("ontology_tree", "tree"), ("cells", "cells"), ("alluvial_term", "members"),
        ("member_agreement", "members"), ("reasons_by_term", "review"), ("first_items", "review"), ("unseen", "unseen"),
        ("unseen_roc", "evaluation"), ("confusion_term", "evaluation"), ("something_new", "more"),
    ],
)  # fmt: skip
def test_every_table_and_figure_has_its_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_every_part_is_shown_once() -> None:
    assert sorted(ORDER) == sorted(part.name for part in PARTS)
