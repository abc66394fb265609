"""Every reason: a cell that has it, a neighbour that has not, and what its sentence says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.errors import ConfigError
from celljury.marker_ranges import MarkerStatement
from celljury.ontology.load import ontology_from_edges
from celljury.ontology.relations import relations_on
from celljury.ontology.statements import RelationsSource, Statement, Told
from celljury.reasons import MEANING, RUN_WIDE, Background, Reason, find_reasons, reason_codes, reasons_in
from celljury.reduce import Status, reduce_votes
from celljury.sentences import KIND_IN_WORDS, Between, sentences
from celljury.signs import Signs

ONTOLOGY = ontology_from_edges(
    {
        "T:1": "cell",
        "T:2": "T cell",
        "T:3": "CD4 T cell",
        "T:4": "memory T cell",
        "T:5": "CD4 memory T cell",
        "T:6": "B cell",
        "T:7": "plasma cell",
        "T:8": "mature B cell",
        "X:1": "stone",
    },
    {
        "T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:3", "T:4"], "T:6": ["T:1"], "T:7": ["T:1"],
        "T:8": ["T:6"],
    },
)  # fmt: skip
CELL, T, CD4, MEMORY, CD4_MEMORY, B, PLASMA, MATURE_B, STONE = ONTOLOGY.indices(
    ["T:1", "T:2", "T:3", "T:4", "T:5", "T:6", "T:7", "T:8", "X:1"]
).tolist()
RELATIONS = relations_on(
    ONTOLOGY,
    Told(
        (
            Statement("T:7", "develops_from", "T:6", "RO:0002202"),
            Statement("T:2", "disjoint_from", "T:6", "owl"),
            Statement("T:6", "only_in_taxon", "NCBITaxon:9606", "RO:0002160"),
            Statement("T:7", "part_of", "UBERON:1", "BFO:0000050"),
            Statement("UBERON:1", "within", "UBERON:10", "is_a"),
            Statement("UBERON:2", "within", "UBERON:20", "is_a"),
        ),
        RelationsSource("toy", "toy.obo", ""),
    ),
)
HAS = MarkerStatement(B, "CD19", "has", "label of T:6", 400, 0.97, 0.9, 2.05, 3.1, 3.6)
LACKS = MarkerStatement(T, "CD14", "lacks", "definition of T:2", 1234, 0.031, 0.0, 0.0, 0.0, 0.8)


@dataclass(frozen=True)
class Case:
    """One cell: its votes, the rule, and what stands behind it."""

    votes: list[int]
    quorum: float = 1.0
    general: tuple[int, ...] = (CELL,)
    background: dict[str, Any] = field(default_factory=dict)
    broad: bool = False
    obsolete: bool = False
    signs: dict[str, Any] = field(default_factory=dict)
    unseen: int | None = None  # the node that an unseen cell still fits, -1 = none

    def found(self) -> tuple[set[str], str]:
        """Return the codes, and all sentences joined."""
        votes = np.array([self.votes], np.int32)
        mask = np.zeros(len(ONTOLOGY), bool)
        mask[list(self.general)] = True
        reduced = reduce_votes(votes, ONTOLOGY, threshold=self.quorum, too_general=mask)
        if self.unseen is not None:
            node, status = np.array([self.unseen], np.int32), np.array([Status.UNSEEN], np.int8)
            reduced = replace(reduced, term=node, status=status)
        members = tuple("abcdefgh"[: votes.shape[1]])
        background = Background(**({"members": members, "absent": {}} | self.background))
        signs = signs_of(**self.signs)
        bits = find_reasons(
            reduced, background, broad=np.array([self.broad]), obsolete=np.array([self.obsolete]), signs=signs
        )
        said = sentences(
            int(bits[0]), reduced, 0, between=Between.of(reduced, ONTOLOGY, background), votes=votes[0],
            background=background, ontology=ONTOLOGY, signs=signs,
        )  # fmt: skip
        codes = reason_codes(int(bits[0]))
        return set(codes.split(";")) - {""}, " ".join(said)


def signs_of(**known: Any) -> Signs:
    """Return the signs of one cell of which only this is known."""
    columns = {f"_sign_{name}": np.array([value]) for name, value in known.items()}
    found = Signs.from_columns(columns, n_cells=1)
    assert all(
        getattr(found, name)[0] == np.asarray(value, getattr(found, name).dtype) for name, value in known.items()
    )
    return found


LAST = f"{ONTOLOGY.labels[-1]} ({ONTOLOGY.ids[-1]})"
EPS = {"eps": 0.05}
BEYOND = {"relations": RELATIONS}
MARKERS = {"marker_table": (HAS, LACKS)}


def counts(n_cells: dict[int, int]) -> dict[str, Any]:
    """Return a background whose reference has this many cells of each type, ten being enough."""
    n_reference = np.zeros(len(ONTOLOGY), np.int64)
    for term, n in n_cells.items():
        n_reference[term] = n
    return {"n_reference": n_reference, "rare_cells": 10}


def donors(n_donors: int) -> dict[str, Any]:
    """Return a background with plenty of cells of so many donors, two being enough."""
    n_reference = np.full(len(ONTOLOGY), 812, np.int64)
    of_donors = np.full(len(ONTOLOGY), n_donors, np.int64)
    return {"n_reference": n_reference, "rare_cells": 10, "n_reference_donors": of_donors, "rare_donors": 2}


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
        pytest.param("rare_in_reference", Case([B], background=donors(1)), True, id="one_donor_is_too_few"),
        pytest.param("rare_in_reference", Case([B], background=donors(2)), False, id="two_donors_are_enough"),
        pytest.param("sibling_conflict", Case([PLASMA, MATURE_B], background=BEYOND), False, id="transition_is_no_conflict"),
        pytest.param("sibling_conflict", Case([CD4, B], background=BEYOND), True, id="exclusion_is_a_conflict"),
        pytest.param("lineage_transition", Case([PLASMA, MATURE_B], background=BEYOND), True, id="develops_from"),
        pytest.param("lineage_transition", Case([MATURE_B, MATURE_B, PLASMA], 0.6, background=BEYOND), True,
                     id="outvoted_stage_is_a_transition_too"),
        pytest.param("lineage_transition", Case([PLASMA, MATURE_B]), False, id="relations_are_not_loaded"),
        pytest.param("lineage_transition", Case([CD4, B], background=BEYOND), False, id="branches_do_not_develop"),
        pytest.param("lineage_transition", Case([PLASMA, PLASMA], background=BEYOND), False, id="one_stage_only"),
        pytest.param("marker_contradiction", Case([B], signs={"marker": 0}, background=MARKERS), True, id="statement"),
        pytest.param("marker_contradiction", Case([B], background=MARKERS), False, id="nothing_contradicted"),
        pytest.param("unseen", Case([B], background=EPS, signs={"p_seen": 0.05}), True, id="p_at_eps_is_out"),
        pytest.param("unseen", Case([B], background=EPS, signs={"p_seen": 0.051}), False, id="p_above_eps_belongs"),
        pytest.param("unseen", Case([B], background=EPS, unseen=CELL), True, id="walk_down_left_it_above_its_call"),
        pytest.param("unseen", Case([B], signs={"p_seen": 0.001}), False, id="without_eps_nothing_is_out"),
        pytest.param("unseen", Case([B], background=EPS), False, id="untested_cell_is_not_out"),
        pytest.param("borderline_unseen", Case([B], background=EPS, signs={"p_seen": 0.15}), True, id="three_eps_is_close"),
        pytest.param("borderline_unseen", Case([B], background=EPS, signs={"p_seen": 0.151}), False, id="beyond_three_eps"),
        pytest.param("borderline_unseen", Case([B], background=EPS, signs={"p_seen": 0.05}), False, id="out_is_not_close"),
        pytest.param("borderline_unseen", Case([B], background=EPS, signs={"p_seen": 0.1}, unseen=-1), False,
                     id="unseen_cell_is_not_close"),
        pytest.param("confident_but_strange", Case([B], background=EPS, signs={"p_seen": 0.01, "confidence": 0.9}), True,
                     id="sure_and_out"),
        pytest.param("confident_but_strange", Case([B], background=EPS, signs={"p_seen": 0.01, "confidence": 0.89}), False,
                     id="unsure_and_out"),
        pytest.param("confident_but_strange", Case([B], background=EPS, signs={"p_seen": 0.06, "confidence": 0.99}), False,
                     id="sure_and_belonging"),
        pytest.param("confident_but_strange", Case([B], background=EPS, signs={"p_seen": 0.01}), False,
                     id="no_classifier_took_part"),
        pytest.param("distance_only", Case([B], background=EPS, signs={"p_symphony": 0.05, "p_scanvi": 0.06}), True,
                     id="symphony_flags_scanvi_does_not"),
        pytest.param("distance_only", Case([B], background=EPS, signs={"p_symphony": 0.01, "p_scanvi": 0.05}), False,
                     id="both_flag"),
        pytest.param("distance_only", Case([B], background=EPS, signs={"p_symphony": 0.06, "p_scanvi": 0.01}), False,
                     id="scanvi_alone_flags"),
        pytest.param("distance_only", Case([B], background=EPS, signs={"p_symphony": 0.01}), False, id="no_scanvi"),
        pytest.param("shared_bias", Case([B, B, B], background=EPS, signs={"p_seen": 0.01}), True, id="all_agree_and_out"),
        pytest.param("shared_bias", Case([CD4, T, T], background=EPS, signs={"p_seen": 0.01}), True, id="one_line_and_out"),
        pytest.param("shared_bias", Case([B, B, B, -1], background=EPS, signs={"p_seen": 0.01}), True,
                     id="abstention_is_no_dissent"),
        pytest.param("shared_bias", Case([B, B], background=EPS, signs={"p_seen": 0.01}), False, id="two_agree_by_chance"),
        pytest.param("shared_bias", Case([B, B, B], background=EPS, signs={"p_seen": 0.06}), False, id="agree_and_belong"),
        pytest.param("shared_bias", Case([B, B, T], background=EPS, signs={"p_seen": 0.01}), False, id="one_dissents"),
        pytest.param("shared_bias", Case([CD4, MEMORY, T], background=EPS, signs={"p_seen": 0.01}), False, id="two_axes"),
        pytest.param("low_quality", Case([B], signs={"low_quality": 4}), True, id="high_mito"),
        pytest.param("low_quality", Case([B], signs={"counts": 1}), False, id="count_is_no_flag"),
        pytest.param("possible_doublet", Case([B], signs={"doublet": True}), True, id="score_above_limit"),
        pytest.param("possible_doublet", Case([B], signs={"split_a": B, "split_b": T}), True, id="two_lineages"),
        pytest.param("possible_doublet", Case([B], signs={"doublet_score": 0.2}), False, id="score_below_limit"),
        pytest.param("uncalibrated", Case([B], background={"calibrated_run": False}), True, id="nothing_held_out"),
        pytest.param("uncalibrated", Case([B], background={"calibrated_run": True, "tier": "cluster-t"}), False,
                     id="tier_of_the_run"),
        pytest.param("uncalibrated", Case([B], background={"calibrated_run": True, "tier": "cell"}, signs={"tier": 0}), True,
                     id="own_tier_comes_first"),
        pytest.param("uncalibrated", Case([B], background={"calibrated_run": True, "tier": "none"}, signs={"tier": 2}), False,
                     id="own_tier_is_enough"),
        pytest.param("uncalibrated", Case([B], background={"calibrated_run": True, "tier": "cell"},
                                          signs={"unlike_batch": True}), True, id="batch_unlike_the_donors"),
        pytest.param("uncalibrated", Case([B], signs={"tier": 0}), False, id="labels_alone_have_nothing_to_calibrate"),
        pytest.param("out_of_place", Case([B], background=BEYOND | {"organism": "mouse"}), True, id="another_organism"),
        pytest.param("out_of_place", Case([MATURE_B], background=BEYOND | {"organism": "mouse"}), True, id="inherited"),
        pytest.param("out_of_place", Case([B], background=BEYOND | {"organism": "human"}), False, id="own_organism"),
        pytest.param("out_of_place", Case([PLASMA], background=BEYOND | {"tissue": "UBERON:2"}), True, id="another_tissue"),
        pytest.param("out_of_place", Case([PLASMA], background=BEYOND | {"tissue": "UBERON:10"}), False, id="own_tissue"),
        pytest.param("out_of_place", Case([B], background=BEYOND), False, id="organism_unknown"),
        pytest.param("out_of_place", Case([B], background={"organism": "mouse"}), False, id="nothing_stated"),
        pytest.param("out_of_place", Case([-1], background=BEYOND | {"organism": "mouse"}), False, id="no_call"),
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
        pytest.param(Case([CD4, MEMORY]), ["What is both: CD4 memory T cell (T:5)."], id="what_is_both"),
        pytest.param(Case([CD4, B]), ["The votes decide no further: do not force a leaf."], id="undecided_is_not_forced"),
        pytest.param(Case([CD4, B], background=BEYOND), ["exclude each other by definition, as all of T cell (T:2) and B cell"],
                     id="inherited_exclusion"),
        pytest.param(Case([T, B], background=BEYOND), ["They exclude each other by definition. The"], id="own_exclusion"),
        pytest.param(Case([PLASMA, MATURE_B, MATURE_B], background=BEYOND),
                     ["2 of 3 votes for mature B cell (T:8), 1 for plasma cell (T:7)",
                      "plasma cell (T:7) develops from B cell (T:6)", "do not force it onto either"], id="transition"),
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
        pytest.param(Case([B], background=donors(1)),
                     ["The 812 reference cells that are B cell (T:6) come from only 1 donor."], id="one_donor"),
        pytest.param(Case([B], background=donors(1) | {"rare_cells": 1000}),
                     ["Only 812 reference cells are B cell (T:6), from 1 donor."], id="few_cells_of_one_donor"),
        pytest.param(Case([B], background=donors(1) | {"n_reference": None}),
                     ["The reference cells that are B cell (T:6) come from only 1 donor."], id="donors_without_cells"),
        pytest.param(Case([B], background=MARKERS, signs={"marker": 0, "marker_value": 0.0}),
                     ["CD19 is not expressed (0), though B cell (T:6) has it (label of T:6)",
                      "of its 400 reference cells 97 % express it, half of them at 2.0 or more (log1p"], id="absent_marker"),
        pytest.param(Case([B], background=MARKERS, signs={"marker": 0, "marker_value": 0.6}),
                     ["CD19 is hardly expressed (0.6)"], id="weak_marker"),
        pytest.param(Case([T], background=MARKERS, signs={"marker": 1, "marker_value": 2.34}),
                     ["CD14 is expressed (2.3), though T cell (T:2) lacks it (definition of T:2)",
                      "of its 1,234 reference cells 3 % express it, and 99 % stay at or below 0.8"], id="present_marker"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.004, "strange_kind": 2}, unseen=CELL),
                     ["reference: p = 0.004 (at most 0.05 is out); last fits cell (T:1).",
                      "Strangest is its distance to the nearest type."], id="unseen_below_a_node"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.00001}, unseen=-1),
                     ["p < 0.0001 (at most 0.05 is out); fits no part of it."], id="unseen_altogether"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.01}), ["p = 0.01 (at most 0.05 is out)."],
                     id="out_but_called"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.3}, unseen=CELL),
                     ["Does not belong to the reference; last fits cell"], id="p_of_the_root_says_nothing_of_the_node"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.11}),
                     ["p = 0.11 (at most 0.05 is out, up to 0.15 is close)"], id="borderline"),
        pytest.param(Case([B], background=EPS, signs={"p_seen": 0.004, "confidence": 0.973}),
                     ["(mean probability 0.97)", "(p = 0.004): trust the distance"], id="confident_trusts_the_distance"),
        pytest.param(Case([B], background=EPS, signs={"p_symphony": 0.012, "p_scanvi": 0.31}),
                     ["the reference (p = 0.012), scANVI's latent does not (p = 0.31): prefer the distance"],
                     id="carved_latent_yields_to_the_distance"),
        pytest.param(Case([B] * 3, background=EPS, signs={"p_seen": 0.004}),
                     ["All 3 votes are for B cell (T:6)", "(p = 0.004): agreement is no evidence"], id="agreement"),
        pytest.param(Case([CD4, T, T], background=EPS, signs={"p_seen": 0.004}), ["All 3 votes lie at or below T cell (T:2)"],
                     id="agreement_on_a_line"),
        pytest.param(Case([B], signs={"low_quality": 7, "counts": 812, "expected_counts": 3400, "genes": 301,
                                      "expected_genes": 1204, "mito": 0.231, "expected_mito": 0.05}),
                     ["Low quality: 812 counts over the shared genes, where 3,400 are usual; 301 of the shared genes detected,"
                      " where 1,204 are usual; 23 % of the counts are mitochondrial, where 5 % are usual."], id="quality"),
        pytest.param(Case([B], signs={"low_quality": 3, "counts": 812}),
                     ["Low quality: 812 counts over the shared genes; few genes detected."], id="quality_half_known"),
        pytest.param(Case([B], signs={"doublet": True, "doublet_score": 0.43, "split_a": B, "split_b": T}),
                     ["doublet score of 0.43 is above the batch's limit; its probability lies on two lineages, B cell (T:6)"
                      " and T cell (T:2)"], id="doublet"),
        pytest.param(Case([B], signs={"doublet_score": 0.1, "split_a": B, "split_b": T}),
                     ["May be two cells: its probability"], id="low_score_is_not_named"),
        pytest.param(Case([B], background={"calibrated_run": False, "alpha": 0.05}),
                     ["not calibrated on held-out cells", "The wanted 5 % of wrong calls may be exceeded."], id="no_tier"),
        pytest.param(Case([B], background={"calibrated_run": True}), ["too few held-out cells"], id="no_tier_of_its_own"),
        pytest.param(Case([B], background={"calibrated_run": True, "tier": "cell"}, signs={"unlike_batch": True}),
                     ["its batch is unlike the held-out donors"], id="unlike_batch"),
        pytest.param(Case([MATURE_B], background=BEYOND | {"organism": "mouse"}),
                     ["mature B cell (T:8) is out of place: only in taxon NCBITaxon:9606 (Homo sapiens) (stated of T:6),"
                      " and the sample is mouse."], id="organism"),
        pytest.param(Case([PLASMA], background=BEYOND | {"tissue": "UBERON:2"}),
                     ["plasma cell (T:7) is out of place: part of UBERON:1, and the sample is UBERON:2."], id="tissue"),
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


def test_reasons_that_make_a_label_moot_come_first_and_those_of_whole_runs_last() -> None:
    listed = reasons_in(2 ** len(Reason) - 1)
    assert set(listed) == set(Reason)
    assert listed[0] == Reason.UNSEEN
    assert set(listed[-3:]) == set(reasons_in(int(RUN_WIDE)))


def test_list_is_closed() -> None:
    """Codes are part of the output's contract: a change here is a change for every reader of calls.parquet."""
    assert {reason.code: int(reason) for reason in Reason} == {
        "sibling_conflict": 1, "granularity": 2, "backed_off": 4, "too_general": 8, "member_absent": 16,
        "member_abstained": 32, "low_genes": 64, "broad_label_map": 128, "obsolete_label": 256, "rare_in_reference": 512,
        "lineage_transition": 2**10, "marker_contradiction": 2**11, "unseen": 2**12, "borderline_unseen": 2**13,
        "confident_but_strange": 2**14, "distance_only": 2**15, "shared_bias": 2**16, "low_quality": 2**17,
        "possible_doublet": 2**18, "uncalibrated": 2**19, "out_of_place": 2**20,
    }  # fmt: skip
    assert set(MEANING) == set(Reason)


def test_advice_not_to_force_a_leaf_is_not_given_where_the_rule_decided() -> None:
    _, said = Case([CD4, CD4, B], 0.6).found()
    assert "Members split" in said
    assert "force" not in said


def test_unknown_organism_is_refused() -> None:
    with pytest.raises(ConfigError, match="unicorn"):
        Case([B], background=BEYOND | {"organism": "unicorn"}).found()


# When signals disagree --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "codes", "trust"),
    [
        pytest.param(
            Case([B, B, T, T], background=EPS, signs={"p_seen": 0.002, "confidence": 0.97}, unseen=CELL),
            {"sibling_conflict", "unseen", "confident_but_strange"},
            "trust the distance",
            id="confident_label_of_a_strange_cell_is_forced",
        ),
        pytest.param(
            Case([B, B, B], background=EPS, signs={"p_seen": 0.2, "p_symphony": 0.01, "p_scanvi": 0.6}),
            {"distance_only"},
            "prefer the distance",
            id="symphony_flags_and_scanvi_does_not",
        ),
        pytest.param(
            Case([CD4, CD4, B, B], background=EPS | BEYOND, signs={"p_seen": 0.5, "confidence": 0.99}),
            {"sibling_conflict", "too_general"},
            "do not force a leaf",
            id="members_disagree_on_a_cell_that_belongs",
        ),
        pytest.param(
            Case([B, B, B], background=EPS, signs={"p_seen": 0.01, "confidence": 0.5}, unseen=CELL),
            {"unseen", "shared_bias"},
            "agreement is no evidence",
            id="all_agree_yet_strange",
        ),
        pytest.param(
            Case(
                [B, B, B], background=EPS, signs={"p_seen": 0.5, "confidence": 0.99, "p_symphony": 0.4, "p_scanvi": 0.4}
            ),
            set(),
            "",
            id="signals_agree_and_nothing_is_said",
        ),
    ],
)
def test_pattern_of_signals_says_which_to_trust(case: Case, codes: set[str], trust: str) -> None:
    found, said = case.found()
    assert found == codes
    assert trust in said


# Laws -------------------------------------------------------------------------------------------------------------

KNOWN = Background(
    members=tuple("abc"), absent={}, **counts({B: 9}) | genes(10), calibrated_run=True, tier="cell", alpha=0.05, eps=0.05,
    relations=RELATIONS, marker_table=(HAS, LACKS), organism="mouse",
)  # fmt: skip


@st.composite
def cells(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], Signs]:
    """Draw the votes of 1 to 8 cells and what is known of them."""
    n = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> np.ndarray[Any, Any]:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    share = st.sampled_from([float("nan"), 0.0, 0.01, 0.05, 0.1, 0.15, 0.5, 0.9, 1.0])
    level = st.sampled_from([float("nan"), 0.0, 1.0, 1234.5])
    term = st.sampled_from([-1, T, B])
    drawn = dict.fromkeys(("p_seen", "confidence", "p_symphony", "p_scanvi", "mito", "expected_mito"), share)
    drawn |= dict.fromkeys(("counts", "expected_counts", "genes", "expected_genes", "marker_value"), level)
    drawn |= {"strange_kind": st.integers(-1, 4), "low_quality": st.integers(0, 7), "doublet": st.booleans()}
    drawn |= {"doublet_score": share, "split_b": term, "marker": st.integers(-1, 1), "tier": st.integers(-1, 3)}
    columns = {f"_sign_{name}": column(values) for name, values in drawn.items()}
    columns["_sign_split_a"] = np.where(columns["_sign_split_b"] < 0, -1, B)
    votes = st.sampled_from([-1, CELL, T, CD4, MEMORY, CD4_MEMORY, B, PLASMA, MATURE_B, STONE])
    terms = np.stack([column(votes) for _ in KNOWN.members], axis=1).astype(np.int32)
    return terms, Signs.from_columns(columns, n_cells=n)


@settings(max_examples=150, deadline=None)
@given(cells(), st.randoms(use_true_random=False))
def test_reasons_of_a_cell_depend_on_no_other_cell(drawn: tuple[np.ndarray[Any, Any], Signs], random: Any) -> None:
    votes, signs = drawn
    general = np.arange(len(ONTOLOGY)) == CELL

    def found(rows: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[list[str]]]:
        reduced = reduce_votes(votes[rows], ONTOLOGY, threshold=0.6, too_general=general)
        some, no = signs.take(rows), np.zeros(len(rows), bool)
        bits = find_reasons(reduced, KNOWN, broad=no, obsolete=no, signs=some)
        between = Between.of(reduced, ONTOLOGY, KNOWN)
        said = [
            sentences(int(mask), reduced, i, between=between, votes=votes[rows[i]], background=KNOWN, ontology=ONTOLOGY,
                      signs=some)
            for i, mask in enumerate(bits)
        ]  # fmt: skip
        return bits, said

    rows = np.arange(len(votes))
    bits, said = found(rows)
    order = np.array(random.sample(range(len(votes)), len(votes)))
    shuffled, said_shuffled = found(order)
    assert np.array_equal(shuffled, bits[order])
    assert said_shuffled == [said[i] for i in order]
    one_by_one = [found(rows[i : i + 1]) for i in rows]
    assert [int(mask) for (mask,), _ in one_by_one] == bits.tolist()
    assert [lines for _, (lines,) in one_by_one] == said


@settings(max_examples=150, deadline=None)
@given(cells(), st.booleans())
def test_no_sentence_shows_what_is_not_known(drawn: tuple[np.ndarray[Any, Any], Signs], informed: bool) -> None:  # noqa: FBT001
    """Every reason of every cell, whatever is missing: no nan, no -1, no term that stands for none."""
    votes, signs = drawn
    background = KNOWN if informed else Background(members=KNOWN.members, absent={}, eps=0.05, calibrated_run=False)
    reduced = reduce_votes(votes, ONTOLOGY, threshold=0.6, too_general=np.arange(len(ONTOLOGY)) == CELL)
    no = np.zeros(len(votes), bool)
    bits = find_reasons(reduced, background, broad=no, obsolete=no, signs=signs)
    between = Between.of(reduced, ONTOLOGY, background)
    for i, mask in enumerate(bits.tolist()):
        lines = sentences(
            mask, reduced, i, between=between, votes=votes[i], background=background, ontology=ONTOLOGY, signs=signs
        )
        for line in lines:
            assert line.endswith(".")
            assert not any(mark in line for mark in ("nan", "None", "-1", "()", "  ", " ,", " ."))
            # -1 as an index is the last term: it may be named only where it was voted for, called, or met at.
            own = {*votes[i].tolist(), int(reduced.end[i]), int(between.meet[i])}
            assert LAST not in line or len(ONTOLOGY) - 1 in own


def test_every_kind_of_strangeness_has_words() -> None:
    for i, words in enumerate(KIND_IN_WORDS.values()):
        _, said = Case([B], background=EPS, signs={"p_seen": 0.01, "strange_kind": i}).found()
        assert f"Strangest is {words}." in said
