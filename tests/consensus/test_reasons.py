"""Every reason: a cell that has it, a neighbour that has not, and what its sentence says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from celljury.ontology.load import ontology_from_edges
from celljury.reasons import MEANING, Background, Reason, find_reasons, reason_codes, reasons_in, sentences
from celljury.reduce import reduce_votes

ONTOLOGY = ontology_from_edges(
    {
        "T:1": "cell",
        "T:2": "T cell",
        "T:3": "CD4 T cell",
        "T:4": "memory T cell",
        "T:5": "CD4 memory T cell",
        "T:6": "B cell",
        "X:1": "stone",
    },
    {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:3", "T:4"], "T:6": ["T:1"]},
)
CELL, T, CD4, MEMORY, CD4_MEMORY, B, STONE = ONTOLOGY.indices(
    ["T:1", "T:2", "T:3", "T:4", "T:5", "T:6", "X:1"]
).tolist()


@dataclass(frozen=True)
class Case:
    """One cell: its votes, the rule, and what stands behind it."""

    votes: list[int]
    quorum: float = 1.0
    general: tuple[int, ...] = (CELL,)
    background: dict[str, Any] = field(default_factory=dict)
    broad: bool = False
    obsolete: bool = False

    def found(self) -> tuple[set[str], str]:
        """Return the codes, and all sentences joined."""
        votes = np.array([self.votes], np.int32)
        mask = np.zeros(len(ONTOLOGY), bool)
        mask[list(self.general)] = True
        reduced = reduce_votes(votes, ONTOLOGY, threshold=self.quorum, too_general=mask)
        members = tuple("abcdefgh"[: votes.shape[1]])
        background = Background(**({"members": members, "absent": {}} | self.background))
        bits = find_reasons(
            reduced, background, broad=np.array([self.broad]), obsolete=np.array([self.obsolete])
        )  # fmt: skip
        meet = ONTOLOGY.lca([int(reduced.camp_a[0]), int(reduced.camp_b[0])])
        said = sentences(
            int(bits[0]), reduced, 0, meet=meet if reduced.camp_b[0] >= 0 else -1, votes=votes[0],
            background=background, ontology=ONTOLOGY,
        )  # fmt: skip
        codes = reason_codes(int(bits[0]))
        return set(codes.split(";")) - {""}, " ".join(said)


def counts(n_cells: dict[int, int]) -> dict[str, Any]:
    """Return a background whose reference has this many cells of each type, ten being enough."""
    n_reference = np.zeros(len(ONTOLOGY), np.int64)
    for term, n in n_cells.items():
        n_reference[term] = n
    return {"n_reference": n_reference, "rare_cells": 10}


def genes(n_shared: int) -> dict[str, Any]:
    return {"n_shared": n_shared, "n_genes": 2000, "low_share": 0.5}


@pytest.mark.parametrize(
    ("code", "case", "present"),
    [
        pytest.param("sibling_conflict", Case([CD4, B], general=()), True, id="branches_conflict"),
        pytest.param("sibling_conflict", Case([CD4, CD4, B], 0.6), True, id="outvoted_branch_conflicts_too"),
        pytest.param("sibling_conflict", Case([B, STONE]), True, id="roots_conflict"),
        pytest.param("sibling_conflict", Case([CD4, CD4, MEMORY, MEMORY, B]), True, id="rival_beside_two_axes_conflicts"),
        pytest.param("sibling_conflict", Case([CD4, MEMORY]), False, id="axes_do_not_conflict"),
        pytest.param("sibling_conflict", Case([CD4, T]), False, id="a_line_does_not_conflict"),
        pytest.param("granularity", Case([CD4, T]), True, id="coarser_vote_is_granularity"),
        pytest.param("granularity", Case([CD4, MEMORY]), True, id="other_axis_is_granularity"),
        pytest.param("granularity", Case([CD4, CD4]), False, id="unanimity_is_not_granularity"),
        pytest.param("granularity", Case([CD4, T, B]), False, id="conflict_outranks_granularity"),
        pytest.param("backed_off", Case([CD4, CD4, MEMORY]), True, id="call_above_the_top_term"),
        pytest.param("backed_off", Case([B, B, CD4, MEMORY, CD4_MEMORY], 0.6), True, id="call_beside_the_top_term"),
        pytest.param("backed_off", Case([CD4, T, T]), False, id="call_on_the_top_term"),
        pytest.param("backed_off", Case([CD4, B]), False, id="unresolved_cell_is_not_backed_off"),
        pytest.param("too_general", Case([CD4, B]), True, id="meeting_too_high"),
        pytest.param("too_general", Case([CELL, CELL]), True, id="voting_too_high"),
        pytest.param("too_general", Case([CD4, B], general=()), False, id="list_is_empty"),
        pytest.param("too_general", Case([B, STONE]), False, id="no_meeting_at_all_is_not_too_general"),
        pytest.param("too_general", Case([-1]), False, id="no_vote_is_not_too_general"),
        pytest.param("member_absent", Case([B, -1], background={"absent": {"b": "why"}}), True, id="absent"),
        pytest.param("member_absent", Case([B, -1]), False, id="abstaining_is_not_absent"),
        pytest.param("member_abstained", Case([B, -1]), True, id="abstained"),
        pytest.param("member_abstained", Case([B, -1], background={"absent": {"b": "why"}}), False,
                     id="absent_is_not_abstaining"),
        pytest.param("member_abstained", Case([B, B]), False, id="all_voted"),
        pytest.param("low_genes", Case([B], background=genes(999)), True, id="below_the_share_of_genes"),
        pytest.param("low_genes", Case([B], background=genes(1000)), False, id="at_the_share_of_genes"),
        pytest.param("low_genes", Case([B]), False, id="no_reference_no_genes"),
        pytest.param("broad_label_map", Case([B], broad=True), True, id="broad_match"),
        pytest.param("broad_label_map", Case([B], obsolete=True), False, id="exact_match"),
        pytest.param("obsolete_label", Case([B], obsolete=True), True, id="replaced_id"),
        pytest.param("obsolete_label", Case([B], broad=True), False, id="live_id"),
        pytest.param("rare_in_reference", Case([B], background=counts({B: 9})), True, id="too_few_reference_cells"),
        pytest.param("rare_in_reference", Case([B], background=counts({B: 10})), False, id="just_enough_reference_cells"),
        pytest.param("rare_in_reference", Case([B]), False, id="no_reference"),
        pytest.param("rare_in_reference", Case([CD4, B, B], background=counts({B: 9})), True,
                     id="unresolved_cell_is_judged_by_its_top_term"),
        pytest.param("rare_in_reference", Case([-1], background=counts({})), False, id="cell_without_votes_has_no_term"),
    ],
)  # fmt: skip
def test_code(code: str, case: Case, *, present: bool) -> None:
    codes, _ = case.found()
    assert (code in codes) == present, codes


def test_every_code_is_tried_above() -> None:
    rows = test_code.pytestmark[0].args[1]  # type: ignore[attr-defined]
    tried = {(row.values[0], row.values[2]) for row in rows}
    assert tried == {(reason.code, present) for reason in Reason for present in (True, False)}


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        pytest.param(Case([CD4, CD4, B], 0.6), ["2 of 3 votes for CD4 T cell (T:3), 1 for B cell (T:6);", "meet at cell (T:1)"],
                     id="camps_and_meeting_point"),
        pytest.param(Case([B, STONE]), ["have no common ancestor"], id="no_meeting_point"),
        pytest.param(Case([CD4, CD4, MEMORY, MEMORY, B]), ["2 of 5 votes", "1 for B cell (T:6), and 2 for neither"],
                     id="votes_for_neither_camp"),
        pytest.param(Case([CD4, T, T]), ["1 says CD4 T cell; 2 say T cell"], id="who_says_how_much"),
        pytest.param(Case([CD4, MEMORY]), ["both CD4 T cell (T:3) and memory T cell (T:4)"], id="axes"),
        pytest.param(Case([CD4, CD4, MEMORY]), ["from CD4 T cell (T:3) by 1 level to T cell (T:2)", "giving up 1.0 bits."],
                     id="one_level"),
        pytest.param(Case([CD4_MEMORY, CD4_MEMORY, T]), ["by 2 levels to T cell (T:2), giving up 2.0 bits"], id="two_levels"),
        pytest.param(Case([B, B, CD4, MEMORY, CD4_MEMORY], 0.6),
                     ["at or below T cell (T:2) than on B cell (T:6), the term with most votes"], id="beside_not_above"),
        pytest.param(Case([CD4, B]), ["nothing finer than cell (T:1)"], id="too_general"),
        pytest.param(Case([B, -1, -1], background={"absent": {"b": "not installed.", "c": "out of time"}}),
                     ["no part in this run: b (not installed); c (out of time)."], id="who_is_absent_and_why"),
        pytest.param(Case([B, -1, -1], background={"absent": {"b": "why"}}), ["Did not vote: c."], id="who_abstained"),
        pytest.param(Case([B], background=genes(999)), ["Only 999 of the jury's 2,000 genes"], id="genes"),
        pytest.param(Case([B], background=counts({B: 9})), ["Only 9 reference cells are B cell (T:6)."], id="nine_are_rare"),
        pytest.param(Case([B], background=counts({B: 1})), ["Only 1 reference cell is B cell (T:6)."], id="one_is_rare"),
        pytest.param(Case([B], background=counts({})), ["No reference cell is B cell (T:6)."], id="none_is_rare"),
    ],
)  # fmt: skip
def test_sentence_has_its_numbers(case: Case, parts: list[str]) -> None:
    _, said = case.found()
    assert all(part in said for part in parts), said


@pytest.mark.parametrize(
    "case",
    [
        Case([CD4, B]), Case([B, STONE]), Case([-1, -1]), Case([CELL]), Case([CD4, B, STONE], 0.6),
        Case([-1, -1], background={"absent": {"a": "x", "b": "y"}}), Case([CD4, MEMORY], general=(T,)),
    ],
)  # fmt: skip
def test_unresolved_cell_always_has_a_reason(case: Case) -> None:
    codes, said = case.found()
    assert codes
    assert said


def test_masks_list_codes_in_the_order_of_the_list() -> None:
    assert reason_codes(0) == ""
    assert reasons_in(0) == ()
    mask = int(Reason.RARE_IN_REFERENCE | Reason.SIBLING_CONFLICT | Reason.TOO_GENERAL)
    assert reason_codes(mask) == "sibling_conflict;too_general;rare_in_reference"


def test_list_is_closed() -> None:
    """Codes are part of the output's contract: a change here is a change for every reader of calls.parquet."""
    assert {reason.code: int(reason) for reason in Reason} == {
        "sibling_conflict": 1, "granularity": 2, "backed_off": 4, "too_general": 8, "member_absent": 16,
        "member_abstained": 32, "low_genes": 64, "broad_label_map": 128, "obsolete_label": 256, "rare_in_reference": 512,
    }  # fmt: skip
    assert set(MEANING) == set(Reason)
