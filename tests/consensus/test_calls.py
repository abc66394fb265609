"""Calls: one schema in every mode, rows that cannot contradict each other, and members' support."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from celljury.calls import Calls, make_calls, member_support
from celljury.config import ReduceSettings
from celljury.ontology.load import ontology_from_edges
from celljury.reasons import Background, Reason
from celljury.reduce import Reduced, Status
from celljury.votes import Votes

GOLDEN = Path(__file__).parents[1] / "golden"
ONTOLOGY = ontology_from_edges(
    {"T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "B cell", "T:6": "naive CD4 T cell"},
    {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"], "T:6": ["T:3"]},
)  # fmt: skip
CELL, T, CD4, CD8, B, NAIVE = (ONTOLOGY.index(f"T:{i}") for i in range(1, 7))


def votes_of(rows: list[list[int]], *, mass: bool = False) -> Votes:
    """Return votes; with ``mass`` each member puts 0.8 on its vote and 0.2 on the parent's line."""
    terms = np.array(rows, np.int32).reshape(len(rows), -1)
    members = tuple("abcdefgh"[: terms.shape[1]])
    matrices = None
    if mass:
        matrices = tuple(spread(terms[:, j]) for j in range(len(members)))
    cells = np.array([f"cell{i}" for i in range(len(rows))])
    return Votes(cells, members, terms, matrices, np.full(terms.shape, np.nan, np.float32))


def spread(vote: np.ndarray) -> csr_matrix:
    dense = np.zeros((len(vote), len(ONTOLOGY)), np.float32)
    cast = np.flatnonzero(vote >= 0)
    dense[cast, vote[cast]] = 0.8
    dense[cast, np.where(vote[cast] == B, CD8, B)] += 0.2
    return csr_matrix(dense)


def calls_of(
    votes: Votes, *, general: tuple[int, ...] = (CELL,), max_conflict: float = 0.25, absent: dict[str, str] | None = None,
    **settings: Any,
) -> Calls:  # fmt: skip
    mask = np.zeros(len(ONTOLOGY), bool)
    mask[list(general)] = True
    none = np.zeros(votes.n_cells, bool)
    return make_calls(
        votes, ONTOLOGY, settings=ReduceSettings(**settings), too_general=mask,
        background=Background(votes.members, absent or {}), max_conflict=max_conflict, broad=none, obsolete=none,
    )  # fmt: skip


# One schema -------------------------------------------------------------------------------------------------------

MODES = {
    "labels_alone": lambda: calls_of(votes_of([[CD4, CD8, B], [B, B, -1]])),
    "probabilities": lambda: calls_of(votes_of([[CD4, CD8, B], [B, B, -1]], mass=True), rule="quorum", quorum=0.6, on="mass"),
    "all_unresolved": lambda: calls_of(votes_of([[CD4, B, -1], [CD8, B, B]])),
    "nobody_voted": lambda: calls_of(votes_of([[-1, -1, -1]])),
    "single_cell": lambda: calls_of(votes_of([[B, B, B]])),
    "no_cells": lambda: calls_of(votes_of([[B, B, B]]).rows(slice(0))),
    "absent_member": lambda: calls_of(votes_of([[B, B, -1]]), absent={"c": "not installed"}),
}  # fmt: skip


def schema_text(calls: Calls) -> str:
    return "".join(f"{field.name}\t{field.type}\n" for field in calls.to_table().schema)


@pytest.mark.parametrize("mode", MODES)
def test_one_schema_in_every_mode(mode: str) -> None:
    assert schema_text(MODES[mode]()) == (GOLDEN / "calls_schema.tsv").read_text(encoding="utf-8")


def test_values_of_the_columns() -> None:
    table = calls_of(votes_of([[CD4, NAIVE, NAIVE], [CD4, B, B], [-1, -1, -1]])).to_table().to_pydict()
    expected = {
        "cell_id": ["cell0", "cell1", "cell2"],
        "term": ["T:3", None, None],
        "label": ["CD4 T cell", None, None],
        "status": ["backed_off", "unresolved", "unresolved"],
        "depth": [2, 0, 0],
        "top_term": ["T:6", "T:5", None],
        "runner_up": ["T:3", "T:3", None],
        "agreement": [1, 0, 0],
        "coarser": [0, 0, 0],
        "conflict": [0, pytest.approx(1 / 3, abs=1e-6), 0],
        "n_votes": [3, 3, 0],
        "n_members": [3, 3, 3],
        "support": [1, 0, 0],
        "p_seen": [None, None, None],
        "reasons": ["granularity;backed_off", "sibling_conflict;too_general", "member_abstained"],
        "needs_review": [True, True, True],
        "tier": ["none", "none", "none"],
        "vote_a": ["T:3", "T:3", None],
        "support_b": [1, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True)],
    }
    for name, values in expected.items():
        assert table[name] == values, name
    assert table["ic"][0] == pytest.approx(np.log2(6 / 2))
    assert table["ic"][1:] == [0, 0]


def test_frame_is_indexed_by_cell() -> None:
    frame = calls_of(votes_of([[B, B], [CD4, CD8]])).to_pandas()
    assert frame.index.tolist() == ["cell0", "cell1"]
    assert frame.loc["cell1", "label"] == "T cell"


def test_evidence_gives_the_reducer_s_rows_back() -> None:
    calls = calls_of(votes_of([[CD4, CD8, B], [B, B, -1]]), rule="quorum", quorum=0.6)
    evidence = calls.evidence()
    for name in Reduced.__slots__:
        np.testing.assert_array_equal(evidence[f"_{name}"].to_numpy(), getattr(calls.reduced, name))
    assert evidence["_vote_c"].to_pylist() == [B, -1]
    assert evidence["_reasons"].to_pylist() == calls.reasons.tolist()
    assert all(name.startswith("_") for name in evidence.column_names)


# What needs review ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "settings", "status", "review"),
    [
        pytest.param([B, B, B, B], {}, Status.RESOLVED, False, id="unanimous_call_does_not"),
        pytest.param([CD4, CD8, CD8, CD8], {}, Status.BACKED_OFF, True, id="backed_off_call_does"),
        pytest.param([CD4, B, B, B], {}, Status.UNRESOLVED, True, id="unresolved_cell_does"),
        pytest.param([-1, -1, -1, -1], {}, Status.UNRESOLVED, True, id="cell_without_votes_does"),
        pytest.param([CD4, B, B, B], {"rule": "quorum", "quorum": 0.6}, Status.RESOLVED, False,
                     id="conflict_at_the_limit_does_not"),
        pytest.param([CD4, B, B, -1], {"rule": "quorum", "quorum": 0.6}, Status.RESOLVED, True,
                     id="conflict_above_the_limit_does"),
    ],
)  # fmt: skip
def test_needs_review(votes: list[int], settings: dict[str, Any], status: Status, *, review: bool) -> None:
    calls = calls_of(votes_of([votes]), **settings)
    assert calls.reduced.status[0] == status
    assert calls.needs_review.tolist() == [review]


def test_rule_lca_ignores_the_quorum() -> None:
    assert calls_of(votes_of([[CD4, CD8, CD8]]), quorum=0.5).reduced.term.tolist() == [T]
    assert calls_of(votes_of([[CD4, CD8, CD8]]), rule="quorum", quorum=0.5).reduced.term.tolist() == [CD8]


def test_mass_and_votes_may_call_differently() -> None:
    """Two of three members lean on CD4 by a hair, and the third is sure of CD8."""
    terms = np.array([[CD4, CD4, CD8]], np.int32)
    rows = [{CD4: 0.51, CD8: 0.49}, {CD4: 0.51, CD8: 0.49}, {CD8: 1.0}]
    mass = tuple(
        csr_matrix((list(row.values()), ([0] * len(row), list(row))), shape=(1, len(ONTOLOGY)), dtype=np.float32)
        for row in rows
    )
    votes = Votes(np.array(["c"]), ("a", "b", "c"), terms, mass, np.full((1, 3), np.nan, np.float32))
    assert calls_of(votes, rule="quorum", quorum=0.6).reduced.term.tolist() == [CD4]
    assert calls_of(votes, rule="quorum", quorum=0.6, on="mass").reduced.term.tolist() == [CD8]


# Support of members -----------------------------------------------------------------------------------------------


def test_support_of_labels_is_one_or_nothing() -> None:
    support = member_support(votes_of([[CD4, NAIVE, B, -1]]), np.array([CD4], np.int32), ONTOLOGY)
    np.testing.assert_array_equal(support, np.array([[1, 1, 0, np.nan]], np.float32))


def test_support_of_probabilities_adds_up_below_the_call() -> None:
    votes = votes_of([[CD4, B], [-1, CD8]], mass=True)
    # Row 0: a has .8 CD4 + .2 B, b has .8 B + .2 CD8; row 1: b has .8 CD8 + .2 B.
    support = member_support(votes, np.array([T, T], np.int32), ONTOLOGY)
    np.testing.assert_allclose(support, [[0.8, 0.2], [np.nan, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("mass", [pytest.param(False, id="labels"), pytest.param(True, id="probabilities")])
def test_unresolved_cells_have_no_support(*, mass: bool) -> None:
    votes = votes_of([[CD4, B], [B, B]], mass=mass)
    support = member_support(votes, np.array([-1, B], np.int32), ONTOLOGY)
    assert np.isnan(support[0]).all()
    np.testing.assert_allclose(support[1], [0.8, 0.8] if mass else [1, 1], rtol=1e-6)
    assert np.isnan(member_support(votes, np.array([-1, -1], np.int32), ONTOLOGY)).all()


def test_mean_support_of_members_is_the_pooled_support() -> None:
    calls = calls_of(votes_of([[CD4, CD8, B], [CD4, -1, CD4]], mass=True), rule="quorum", quorum=0.5, on="mass")
    np.testing.assert_allclose(np.nanmean(calls.member_support, axis=1), calls.reduced.support, atol=1e-6)


# Broken rows are caught -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param("status", Status.UNRESOLVED, "a label and no label", id="label_on_an_unresolved_cell"),
        pytest.param("term", -1, "a label and no label", id="resolved_cell_without_label"),
        pytest.param("conflict", 0.5, "exceed all votes", id="shares_above_one"),
        pytest.param("n_votes", 0, "a call without a vote", id="call_without_a_vote"),
    ],
)
def test_check_catches(field: str, value: float, message: str) -> None:
    calls = calls_of(votes_of([[B, B]]))
    calls.check()
    array = np.full_like(getattr(calls.reduced, field), value)
    broken = replace(calls, reduced=replace(calls.reduced, **{field: array}))
    with pytest.raises(AssertionError, match=message):
        broken.check()


# Independent of hashing -------------------------------------------------------------------------------------------

SCRIPT = """
import hashlib, sys
from pathlib import Path
from celljury.api import vote
from celljury.config import Config
run = vote(Path(sys.argv[1]), ["a", "b", "c"], out=Path(sys.argv[2]), config=Config.read(None, reduce__rule=sys.argv[3]))
for path in sorted(run.folder.rglob("*")):
    if path.suffix in (".parquet", ".tsv", ".png"):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path.relative_to(run.folder))
"""


@pytest.mark.parametrize("rule", ["lca", "quorum"])
def test_files_do_not_depend_on_python_s_hash_seed(tmp_path: Path, rule: str) -> None:
    ids = ["CL:0000236", "CL:0000624", "CL:0000625", "CL:0000813", "CL:0000576", "CL:0000233", "B cell", "T cell", ""]
    rows = np.random.default_rng(0).integers(0, len(ids), (300, 3))
    table = tmp_path / "labels.tsv"
    lines = ["cell_id\ta\tb\tc", *(f"cell{i}\t" + "\t".join(ids[j] for j in row) for i, row in enumerate(rows))]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(table), str(out), rule],
            env=os.environ | {"PYTHONHASHSEED": seed, "CELLJURY_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.splitlines())
    assert said[0] == said[1]
    names = " ".join(said[0])
    assert all(
        name in names for name in ("calls.parquet", "queue.tsv", "tables/summary.tsv", "votes/part-00000.parquet")
    )


def test_reasons_are_bits_of_the_closed_list() -> None:
    calls = calls_of(votes_of([[CD4, B, -1], [CD4, CD8, CD8]]))
    every = sum(int(reason) for reason in Reason)
    assert (calls.reasons & ~every == 0).all()
    assert calls.reasons.dtype == np.int32
