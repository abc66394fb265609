"""What review teaches: who was right, weights that move the right way, and thresholds that stay the held-out donors'."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix

from celljury.api import vote
from celljury.config import CalibrationSettings, Config
from celljury.decide import Decision, learn_decision
from celljury.errors import InputError, OutputError, UnreadableFileError
from celljury.heldout import HeldOut, Reviewed
from celljury.jury import Jury
from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.reliability import learn_reliability
from celljury.review.findings import KINDS, Findings, findings_lines, findings_rows, member_findings, wilson
from celljury.review.learn import check_update, updated_jury, weight_lines
from celljury.review.leaves import Leaves
from celljury.run import Run
from celljury.votes import Votes
from celljury.walk import climb

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

# B cell, CD4 and CD8 alpha-beta T cell, monocyte.
TYPES = ("CL:0000236", "CL:0000624", "CL:0000625", "CL:0000576")
MEMBERS = ("good", "fair", "poor")
ALPHA = 0.1


@pytest.fixture(scope="module")
def cl() -> CellOntology:
    return load_ontology(release="2026-03-26", cache=False)


def reviewed_of(
    ontology: CellOntology,
    votes: list[tuple[str, ...]],
    truth: list[str],
    *,
    members: tuple[str, ...] = MEMBERS,
    run: str = "r",
) -> Reviewed:
    n = len(votes)
    terms = np.array([[ontology.index(t) if t else -1 for t in row] for row in votes], np.int32).reshape(
        n, len(members)
    )
    ids = np.array([f"item{i}" for i in range(n)], dtype=np.str_)
    return Reviewed(members, terms, ontology.indices(truth), np.array([run] * n, np.str_), ids, np.full(n, 5))


# Who was right --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_right", "n", "expected"),
    [
        pytest.param(8, 10, (0.4902, 0.9433), id="eight_of_ten"),
        pytest.param(0, 10, (0.0, 0.2775), id="none"),
        pytest.param(10, 10, (0.7225, 1.0), id="all"),
        pytest.param(0, 0, (math.nan, math.nan), id="of_nothing"),
    ],
)
def test_wilson(n_right: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson(n_right, n) == pytest.approx(expected, abs=1e-4, nan_ok=True)


TOY = ontology_from_edges(
    {"T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "naive CD4 T cell"},
    {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:3"]},
)
CELL, T, CD4, CD8, NAIVE = "T:1", "T:2", "T:3", "T:4", "T:5"
# (leaf, cells, votes, outcome, term)
DECIDED = [
    ("i0", 3, (CD4, T, CD8), "resolved", CD4),
    ("i1", 2, (NAIVE, CD4, ""), "resolved", CD4),
    ("i2~cluster~0", 4, (CD4, CD4, CD8), "resolved", CD8),
    ("i2~cluster~1", 1, (CD4, CD4, CD8), "resolved", CD8),
    ("i3", 5, (CD4, CD8, CD8), "resolved", T),
    ("i4", 6, (CD4, CD4, CD4), "unseen", T),
    ("i5", 7, (CD8, CD8, CD8), "", ""),
]


def found_of(
    folder: Path,
    decided: list[tuple[str, int, tuple[str, ...], str, str]] = DECIDED,
    *,
    record: dict[str, Any] | None = None,
) -> Findings:
    """Findings on made leaves whose cells stand in the calls in another order than in the queue."""
    n_cells = np.array([row[1] for row in decided], np.int64)
    of_cell = np.repeat(np.arange(len(decided)), n_cells).astype(np.int32)
    place = np.random.default_rng(0).permutation(len(of_cell))
    votes = np.full((len(of_cell), 3), "", object)
    votes[place] = np.array([row[2] for row in decided], object)[of_cell]
    columns = {f"vote_{name}": pa.array([v or None for v in votes[:, j]]) for j, name in enumerate(MEMBERS)}
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"cell_id": [f"c{i}" for i in range(len(of_cell))], **columns}), folder / "calls.parquet")
    told = {"reference_terms": [CD4, CD8, NAIVE], "calibration": {
        "evidence": {"members": [{"name": "good", "accuracy": 0.9}, {"name": "fair", "accuracy": None}]},
        "reliability": {"good": 0.95},
    }}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(told if record is None else record))
    names = tuple(row[0] for row in decided)
    n = len(decided)
    leaves = Leaves(
        names, tuple("decided" if row[3] else "open" for row in decided),
        np.array([TOY.index(row[4]) if row[4] else -1 for row in decided], np.int32), tuple(row[3] for row in decided),
        np.full(n, -1, np.int32), ("unresolved",) * n, ("ann",) * n, ("",) * n, ("",) * n, n_cells, of_cell,
    )  # fmt: skip
    pack: Any = SimpleNamespace(about={"members": list(MEMBERS), "run": "hash of the calls"}, ontology=TOY, row=place)
    return member_findings(Run(folder), pack, leaves, last_event=9, n_events=9)


def test_members_by_the_curators_terms(tmp_path: Path) -> None:
    """CD4 says CD4, kinds of it are right, T is coarser, CD8 elsewhere; what has no term judges nobody."""
    found = found_of(tmp_path)
    assert (found.n_judged, found.n_without_term) == (5, 1)
    counts = {row.member: [row.items[kind] for kind in KINDS] for row in found.members}
    assert counts == {"good": [3, 0, 2, 0], "fair": [2, 1, 2, 0], "poor": [3, 0, 1, 1]}
    cells = {row.member: [row.cells[kind] for kind in KINDS] for row in found.members}
    assert cells == {"good": [10, 0, 5, 0], "fair": [7, 3, 5, 0], "poor": [10, 0, 3, 2]}
    good, fair, poor = found.members
    assert good.share == pytest.approx(3 / 5)
    assert poor.share == pytest.approx(3 / 4)
    assert (good.low, good.high) == wilson(3, 5)
    assert (good.held_out, good.estimated) == (0.9, 0.95)
    assert math.isnan(fair.held_out) and math.isnan(poor.estimated)
    rows = findings_rows(found)
    assert rows[0]["items_wrong"] == 2 and rows[0]["share_right"] == 0.6
    said = "\n".join(findings_lines(found))
    assert "Members on 5 reviewed items" in said
    assert "60 % (23 %-88 %)" in said


def test_observations_are_the_reference_s_own_terms_once_an_item(tmp_path: Path) -> None:
    """T is no term of the reference; the two parts that were decided alike are one observation."""
    reviewed = found_of(tmp_path).reviewed
    assert reviewed.item_ids.tolist() == ["i0", "i1", "i2~cluster~0"]
    assert [TOY.ids[t] for t in reviewed.truth] == [CD4, CD4, CD8]
    assert reviewed.n_cells.tolist() == [3, 2, 5]
    assert reviewed.terms[1, 2] == -1
    assert set(reviewed.run) == {"hash of the calls"}


def test_nothing_reviewed_is_said(tmp_path: Path) -> None:
    found = found_of(tmp_path, [row for row in DECIDED if not row[3]])
    assert len(found.reviewed) == 0
    assert findings_lines(found) == ["No item was given a term by a curator yet: nothing is known of the members."]


def test_labels_of_other_tools_have_findings_too(tmp_path: Path) -> None:
    found = found_of(tmp_path, record={"members": []})
    assert found.members[0].items["right"] == 3
    assert len(found.reviewed) == 0


# Weights ----------------------------------------------------------------------------------------------------------------


def test_an_item_counts_as_one_vote_whose_truth_is_known() -> None:
    """By hand: held-out rows are worth 20 votes; 20 items on which the member was wrong make its row half as right."""
    held_vote, held_truth = np.array([[0]] * 1000 + [[1]] * 1000, np.int32), np.repeat([0, 1], 1000).astype(np.int32)
    nothing = (np.zeros((0, 1), np.int32), np.zeros(0, np.int64))
    options: dict[str, Any] = {"held_vote": held_vote, "held_truth": held_truth, "n_terms": 2}
    before = learn_reliability(*nothing, **options)
    after = learn_reliability(
        *nothing, **options, reviewed_vote=np.full((20, 1), 1, np.int32), reviewed_truth=np.zeros(20, np.int32)
    )
    assert before.confusion[0, 0, 0] == pytest.approx(1, abs=1e-3)
    assert after.confusion[0, 0, 0] == pytest.approx(0.5, abs=1e-3)
    assert_array_equal(after.confusion[0, 1], before.confusion[0, 1])
    # How common a term is, is not learned from what was in doubt.
    assert_array_equal(after.share, before.share)


def held_out(ontology: CellOntology, *, seed: int, n_donors: int = 24, n: int = 40) -> HeldOut:
    """Members with their own strengths vote on cells of donors, each donor with a difficulty of its own."""
    rng = np.random.default_rng(seed)
    index = ontology.indices(TYPES)
    n_cells = n_donors * n
    donor = np.repeat(np.arange(n_donors), n).astype(np.int32)
    truth = rng.integers(0, len(TYPES), n_cells)
    ease = np.exp(rng.normal(0, 0.3, n_donors))[donor]
    shared = rng.normal(0, 1, (n_cells, len(TYPES)))
    masses, tops = [], []
    order = np.argsort(index)
    for strength in (2.4, 2.0, 1.8):
        logits = 0.7 * shared + 0.7 * rng.normal(0, 1, shared.shape)
        logits[np.arange(n_cells), truth] += strength * ease
        mass = np.exp(1.5 * logits)
        mass /= mass.sum(axis=1, keepdims=True)
        dense = np.zeros((n_cells, len(ontology)), np.float32)
        dense[:, index] = mass
        masses.append(csr_matrix(dense))
        tops.append(index[order][mass[:, order].argmax(axis=1)])
    strange = np.full((n_cells, 3), np.nan, np.float32)
    votes = Votes(
        np.array([f"c{i}" for i in range(n_cells)]),
        MEMBERS,
        np.stack(tops, axis=1).astype(np.int32),
        tuple(masses),
        strange,
    )
    fold = (donor % 4).astype(np.int32)
    return HeldOut(
        votes, index[truth].astype(np.int32), donor, tuple(f"d{i}" for i in range(n_donors)), "donor", fold, fold % 2, (),
        np.ones(n_cells, bool), np.zeros((n_cells, 2), np.float32), np.full(n_cells, 3.0, np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def held(cl: CellOntology) -> HeldOut:
    return held_out(cl, seed=1)


def learn(held: HeldOut, ontology: CellOntology, **options: Any) -> Decision:
    settings = CalibrationSettings(alpha=ALPHA, **options.pop("settings", {}))
    return learn_decision(held, ontology, settings, terms=np.sort(ontology.indices(TYPES)), **options)


def same_decision(left: Decision, right: Decision) -> None:
    for name in ("columns", "worth", "stratum"):
        assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.thresholds == right.thresholds
    assert left.temperature == right.temperature
    assert left.evidence == right.evidence
    for name in ("right", "accuracy", "share", "confusion"):
        assert_array_equal(getattr(left.reliability, name), getattr(right.reliability, name))


def test_no_reviewed_item_changes_no_bit(cl: CellOntology, held: HeldOut) -> None:
    same_decision(learn(held, cl), learn(replace(held, reviewed=reviewed_of(cl, [], [])), cl))


# B cells that the good member calls CD4 T cells, fifteen times over.
WRONG = ([(TYPES[1], TYPES[0], TYPES[0])] * 15, [TYPES[0]] * 15)


def test_a_member_that_was_wrong_loses_weight_and_calls_move(cl: CellOntology, held: HeldOut) -> None:
    taught = replace(held, reviewed=reviewed_of(cl, *WRONG))
    before, after = learn(held, cl), learn(taught, cl)
    at = int(np.searchsorted(before.columns, cl.index(TYPES[1])))
    of_b = int(np.searchsorted(before.columns, cl.index(TYPES[0])))
    assert after.worth[0, at] < before.worth[0, at] - 0.5
    assert (after.worth[1:, of_b] >= before.worth[1:, of_b] - 1e-9).all()
    # Nothing was said of monocytes.
    mono = int(np.searchsorted(before.columns, cl.index(TYPES[3])))
    assert after.worth[0, mono] == pytest.approx(before.worth[0, mono], abs=0.1)
    # A cell of the kind that was reviewed: the good member says CD4 T cell, the others say B cell, a little less sure.
    mass = np.zeros((3, 1, len(cl)), np.float32)
    mass[0, 0, [cl.index(TYPES[1]), cl.index(TYPES[0])]] = 0.97, 0.03
    for j in (1, 2):
        mass[j, 0, [cl.index(TYPES[0]), cl.index(TYPES[1])]] = 0.6, 0.4
    votes = Votes(np.array(["c"]), MEMBERS, cl.indices([TYPES[1], TYPES[0], TYPES[0]])[None], tuple(map(csr_matrix, mass)),
                  np.full((1, 3), np.nan, np.float32))  # fmt: skip
    was, now = (decision.pool(votes).mass[0] for decision in (before, after))
    assert now[of_b] > was[of_b] + 0.05
    assert now[at] < was[at] - 0.05


def test_order_and_silence_of_members_are_followed(cl: CellOntology, held: HeldOut) -> None:
    """The jury's order is not the run's; a member that is absent from a run is silent on its items too."""
    reviewed = reviewed_of(cl, [(TYPES[0], TYPES[1], TYPES[0])] * 15, [TYPES[0]] * 15, members=("fair", "good", "poor"))
    same = replace(held, reviewed=reviewed.of(MEMBERS))
    assert_array_equal(same.reviewed.terms, reviewed_of(cl, *WRONG).terms)  # type: ignore[union-attr]
    turned = replace(held, reviewed=reviewed_of(cl, *WRONG)).restricted(("poor", "good", "fair"), ("good",))
    assert turned.reviewed is not None
    assert turned.reviewed.members == ("poor", "good", "fair")
    assert (turned.reviewed.terms[:, 1] == -1).all()
    assert_array_equal(turned.reviewed.terms[:, 2], reviewed_of(cl, *WRONG).terms[:, 1])


def test_reviewed_items_survive_a_folder(cl: CellOntology, held: HeldOut, tmp_path: Path) -> None:
    reviewed = reviewed_of(cl, [(TYPES[1], "", TYPES[0])], [TYPES[0]])
    replace(held.take(np.arange(5)), reviewed=reviewed).save(tmp_path, cl)
    found = HeldOut.load(tmp_path, cl)
    assert found.n_cells == 5  # they are no held-out cells
    assert found.reviewed is not None
    for name in Reviewed.__slots__:
        assert_array_equal(getattr(found.reviewed, name), getattr(reviewed, name))
    (tmp_path / "reviewed.npz").write_bytes(b"PK")
    with pytest.raises(UnreadableFileError, match=r"reviewed\.npz"):
        HeldOut.load(tmp_path, cl)


# The promise ------------------------------------------------------------------------------------------------------------


def error_on(decision: Decision, cells: HeldOut, ontology: CellOntology) -> float:
    """Share of cells of new donors that get a wrong call."""
    from celljury.pool import as_terms

    found = decision.pool(cells.votes)
    mass = as_terms(found.mass, decision.columns, n_terms=len(ontology))
    end = climb(mass, ontology, threshold=decision.threshold(found.top)).end
    return float(((end >= 0) & ~ontology.is_ancestor(end, cells.truth)).mean())


LIES = [
    pytest.param(WRONG, id="one_kind_of_error"),
    pytest.param(
        ([(a, b, b) for a in TYPES for b in TYPES if a != b] * 20, [b for a in TYPES for b in TYPES if a != b] * 20),
        id="the_best_member_is_always_wrong",
    ),
    pytest.param(([(t, t, t) for t in TYPES] * 50, [*TYPES[1:], TYPES[0]] * 50), id="curators_who_are_mistaken"),
]


@pytest.mark.parametrize("said", LIES)
def test_whatever_curators_say_the_held_out_donors_decide_the_threshold(
    cl: CellOntology, held: HeldOut, said: tuple[list[tuple[str, ...]], list[str]]
) -> None:
    """Members are read as before, thresholds are learned with the new weights, and new donors see the promised error."""
    before = learn(held, cl)
    after = learn(replace(held, reviewed=reviewed_of(cl, *said)), cl)
    for was, now in zip(before.calibrations, after.calibrations, strict=True):
        assert (was.method, was.temperature, was.n_cells, was.accuracy) == (
            now.method,
            now.temperature,
            now.n_cells,
            now.accuracy,
        )
        assert_array_equal(was.posterior, now.posterior)
    assert after.evidence["n_cells"] == before.evidence["n_cells"] == held.n_cells
    assert [t.tier for t in after.thresholds] == [t.tier for t in before.thresholds]
    assert [t.n_cells for t in after.thresholds] == [t.n_cells for t in before.thresholds]
    assert after.evidence["calls"]["wrong"] <= ALPHA
    errors = [error_on(after, held_out(cl, seed=seed, n_donors=8), cl) for seed in (11, 12, 13)]
    assert np.mean(errors) <= ALPHA + 0.01


def test_the_rule_of_the_thresholds_is_that_of_the_query(cl: CellOntology, held: HeldOut) -> None:
    """A fold is pooled with the same reviewed items as a query: what they do to weights they do to both."""
    after = learn(replace(held, reviewed=reviewed_of(cl, *WRONG)), cl)
    # The same weights with thresholds of before would be another rule: they differ where weights do.
    assert after.thresholds != learn(held, cl).thresholds


# A jury that learned ----------------------------------------------------------------------------------------------------

NAMES = ("logistic", "singler")


def toy_cells(n_cells: int, *, seed: int) -> ad.AnnData:
    """Cell i is of type i mod 3 and of sample i mod 4; twenty genes are high in each type."""
    kind = np.arange(n_cells) % 3
    rate = np.full((3, 150), 0.6)
    for i in range(3):
        rate[i, i * 20 : (i + 1) * 20] = 5
    counts = np.random.default_rng(seed).poisson(rate[kind])
    obs = pd.DataFrame(
        {"cell_type": np.array(TYPES)[kind], "sample": [f"s{i % 4}" for i in range(n_cells)]},
        index=[f"c{seed}-{i}" for i in range(n_cells)],
    )
    return ad.AnnData(
        csr_matrix(counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(150)])
    )


@pytest.fixture(scope="module")
def jury(tmp_path_factory: pytest.TempPathFactory) -> Jury:
    config = Config(members=NAMES, engine="local", embedding="pca")
    return Jury.fit(
        toy_cells(160, seed=1),
        labels="cell_type",
        batch="sample",
        out=tmp_path_factory.mktemp("jury") / "j",
        config=config,
    )


@pytest.fixture(scope="module")
def run(jury: Jury, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return jury.annotate(toy_cells(30, seed=2), out=tmp_path_factory.mktemp("run") / "run")


def findings_of(jury: Jury, run: Run, *, n: int = 6, calls: str = "one") -> Findings:
    """``singler`` said CD4 T cell where curators said B cell."""
    reviewed = reviewed_of(jury.ontology, [(TYPES[0], TYPES[1])] * n, [TYPES[0]] * n, members=NAMES, run=calls)
    return Findings(run, calls, (), n, 0, reviewed, 17, 18)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def test_updated_jury_is_a_new_folder_and_says_where_it_comes_from(jury: Jury, run: Run, tmp_path: Path) -> None:
    before = hashes(jury.folder)
    made = updated_jury(jury.folder, findings_of(jury, run), tmp_path / "new")
    assert hashes(jury.folder) == before
    after = hashes(made.folder)
    assert set(after) - set(before) == {"calibration/reviewed.npz"}
    changed = {name for name, found in after.items() if before.get(name) != found}
    assert changed == {"calibration/reviewed.npz", "jury.json", "card.json"}
    assert Jury.load(made.folder).folder == tmp_path / "new"
    (row,) = made.about["reviewed"]
    assert (row["n_items"], row["n_cells"], row["calls"], row["last_event"], row["n_events"]) == (6, 30, "one", 17, 18)
    assert row["jury"] == before["jury.json"]
    assert row["date"].startswith("20")
    card = json.loads((made.folder / "card.json").read_text())
    assert card["calibration"] == made.about["calibration"]
    was, now = (
        {m["name"]: m["weight"] for m in about["calibration"]["evidence"]["members"]}
        for about in (jury.about, made.about)
    )
    assert now["singler"] < was["singler"]
    assert len(weight_lines(jury, made)) == 2
    same = {**made.about, "calibration": None, "reviewed": None} == {
        **jury.about,
        "calibration": None,
        "reviewed": None,
    }
    assert same


def test_it_annotates_and_the_run_says_so(jury: Jury, run: Run, tmp_path: Path) -> None:
    made = updated_jury(jury.folder, findings_of(jury, run), tmp_path / "new")
    again = Jury.load(made.folder).annotate(toy_cells(30, seed=2), out=tmp_path / "run")
    assert again.record["calibration"]["reliability"]["singler"] < run.record["calibration"]["reliability"]["singler"]
    assert any("6 reviewed items" in note for note in again.record["calibration"]["notes"])
    assert not any("reviewed items" in note for note in run.record["calibration"]["notes"])
    for name in ("logistic", "singler"):
        old, new = ({m["name"]: m for m in r.record["calibration"]["evidence"]["members"]}[name] for r in (run, again))
        assert old["temperature"] == new["temperature"]


def test_items_of_one_run_replace_and_those_of_another_add(jury: Jury, run: Run, tmp_path: Path) -> None:
    one = updated_jury(jury.folder, findings_of(jury, run), tmp_path / "one")
    again = updated_jury(one.folder, findings_of(jury, run, n=4), tmp_path / "again")
    assert [row["n_items"] for row in again.about["reviewed"]] == [4]
    both = updated_jury(one.folder, findings_of(jury, run, n=2, calls="two"), tmp_path / "both")
    assert [row["n_items"] for row in both.about["reviewed"]] == [6, 2]
    assert both.evidence is not None
    kept = HeldOut.load(both.evidence, both.ontology).reviewed
    assert kept is not None
    assert kept.run.tolist() == ["one"] * 6 + ["two"] * 2
    direct = updated_jury(jury.folder, findings_of(jury, run, n=4), tmp_path / "direct")
    assert direct.about["calibration"] == again.about["calibration"]


def test_half_a_copy_is_no_jury(jury: Jury, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Reviewed, "save", stop)
        updated_jury(jury.folder, findings_of(jury, run), tmp_path / "new")
    with pytest.raises(UnreadableFileError):
        Jury.load(tmp_path / "new")
    assert updated_jury(jury.folder, findings_of(jury, run), tmp_path / "new").about["reviewed"]


def test_a_jury_that_lost_its_reviewed_items_is_damaged(jury: Jury, run: Run, tmp_path: Path) -> None:
    made = updated_jury(jury.folder, findings_of(jury, run), tmp_path / "new")
    (made.folder / "calibration" / "reviewed.npz").unlink()
    with pytest.raises(UnreadableFileError, match=r"lacks calibration/reviewed\.npz"):
        Jury.load(made.folder)


def test_refused(jury: Jury, run: Run, tmp_path: Path) -> None:
    good = findings_of(jury, run)
    labels = pd.DataFrame({"cell_id": ["a", "b"], "x": TYPES[:2], "y": TYPES[1:3]})
    voted = vote(labels, ["x", "y"], out=tmp_path / "voted")
    with pytest.raises(InputError, match=r"celljury vote\): there is no jury"):
        updated_jury(jury.folder, replace(good, run=voted), tmp_path / "new")
    other = tmp_path / "other"
    shutil.copytree(jury.folder, other)
    (other / "jury.json").write_text((other / "jury.json").read_text() + "\n")
    with pytest.raises(InputError, match=r"annotated by another jury than .*other.*Pass the jury that the run names"):
        updated_jury(other, good, tmp_path / "new")
    none = replace(good, reviewed=good.reviewed.take(np.zeros(6, bool)))
    with pytest.raises(InputError, match=r"can teach a jury yet.*6 decided items name none"):
        updated_jury(jury.folder, none, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match=r"already holds a finished result \(jury\.json\)\. Pass .* --new-jury"):
        updated_jury(jury.folder, good, jury.folder)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("j/new", "it lies in .*j, the jury that is updated", id="in_the_old_one"),
        pytest.param("j/deep/er/new", "it lies in", id="deep_in_the_old_one"),
        pytest.param("link/new", "it lies in", id="in_it_by_a_link"),
        pytest.param(".", "it holds .*j, the jury that is updated", id="around_the_old_one"),
        pytest.param("file", "it is a file", id="a_file"),
        pytest.param("taken", "files that are not celljury's", id="somebodys_folder"),
    ],
)
def test_place_where_no_new_jury_can_be_is_refused_before_any_work(
    jury: Jury, run: Run, tmp_path: Path, place: str, said: str
) -> None:
    shutil.copytree(jury.folder, tmp_path / "j")
    (tmp_path / "link").symlink_to(tmp_path / "j")
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    before = hashes(tmp_path)
    for refuse in (
        lambda: check_update(run, tmp_path / "j", tmp_path / place),
        lambda: updated_jury(tmp_path / "j", findings_of(jury, run), tmp_path / place),
    ):
        with pytest.raises(OutputError, match=said) as caught:
            refuse()
        assert str(caught.value).endswith("Pass another place with --new-jury.")
    assert hashes(tmp_path) == before


def test_jury_is_found_where_it_was_and_beside_the_run(jury: Jury, run: Run, tmp_path: Path) -> None:
    assert check_update(run, None, tmp_path / "new").folder == jury.folder
    shutil.copytree(run.folder, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["jury"]["folder"] = "/nowhere/j"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"jury that made .*\(/nowhere/j\) is not where it was.*--jury"):
        check_update(Run(tmp_path / "run"), None, tmp_path / "new")
    shutil.copytree(jury.folder, tmp_path / "j")
    assert check_update(Run(tmp_path / "run"), None, tmp_path / "new").folder == tmp_path / "j"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"pool": "equal"}, "pools by the rule 'equal'", id="rule_without_weights"),
        pytest.param(None, "fitted without a calibration", id="no_calibration"),
    ],
)
def test_a_jury_that_does_not_weigh_is_refused(
    jury: Jury, run: Run, tmp_path: Path, changes: dict[str, Any] | None, message: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(jury.folder, other)
    about = json.loads((other / "jury.json").read_text())
    if changes is None:
        (other / "calibration" / "heldout.json").unlink()
    else:
        about["config"]["calibration"].update(changes)
    (other / "jury.json").write_text(json.dumps(about))
    own = Run(tmp_path / "run")
    shutil.copytree(run.folder, own.folder)
    record = run.record | {
        "jury": {"folder": str(other), "sha256": hashlib.sha256((other / "jury.json").read_bytes()).hexdigest()}
    }
    (own.folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        updated_jury(other, findings_of(jury, own), tmp_path / "new")
