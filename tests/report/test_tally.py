"""Every cell is counted once at every level and in every grouping, in the right place: counted anew here, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology
from celljury.ontology.slims import CURATED, make_slim
from celljury.report import tally as module
from celljury.report.counted import Counted, Groups, counted_cells
from celljury.report.levels import Level, load_levels
from celljury.report.tally import STATUSES, tally

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

B, T, CD4, NEURON = "CL:0000236", "CL:0000084", "CL:0000624", "CL:0000540"
MEANS = ("mean_depth", "mean_agreement", "mean_support")
OTHER, UNRESOLVED, UNSEEN = -1, -2, -3


# A run of all terms and all kinds of calls ----------------------------------------------------------------------------


def every_kind(ontology: CellOntology, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Calls and decided terms: each term of the ontology, and 1,500 more cells, of any status, reviewed or not."""
    rng = np.random.default_rng(seed)
    n = len(ontology) + 1_500
    term = np.concatenate([rng.permutation(len(ontology)), rng.integers(len(ontology), size=1_500)])
    status = rng.choice(["resolved", "backed_off", "unresolved", "unseen"], n, p=[0.6, 0.2, 0.05, 0.15])
    status[: len(ontology)] = rng.choice(["resolved", "backed_off"], len(ontology))  # each term is called once at least
    status[-800:] = rng.choice(["unresolved", "unseen"], 800)
    term[status == "unresolved"] = -1
    term[(status == "unseen") & (rng.random(n) < 0.5)] = -1
    calls = frame_of(ontology, term, status).assign(
        agreement=rng.random(n).astype(np.float32), support=rng.random(n).astype(np.float32),
        needs_review=rng.random(n) < 0.4,
    )  # fmt: skip
    final_term, final_status, reviewed = (
        term.copy(),
        status.astype(object),
        calls["needs_review"] & (rng.random(n) < 0.7),
    )
    changed = np.flatnonzero(reviewed & (rng.random(n) < 0.6))
    final_status[changed] = rng.choice(["resolved", "unresolved", "unseen"], len(changed))
    final_term[changed] = rng.integers(-1, len(ontology), len(changed))
    final_term[final_status == "unresolved"] = -1
    final_term[(final_status == "resolved") & (final_term < 0)] = 0
    final = frame_of(ontology, final_term, final_status).assign(reviewed=reviewed)
    return calls, final


def frame_of(ontology: CellOntology, term: np.ndarray, status: np.ndarray) -> pd.DataFrame:
    ids = [ontology.ids[t] if t >= 0 else None for t in term.tolist()]
    depth = [int(ontology.depth[t]) if t >= 0 else 0 for t in term.tolist()]
    return pd.DataFrame({"term": ids, "status": status.astype(object), "depth": depth})


def groupings(n: int, *, seed: int) -> tuple[Groups, ...]:
    """Two, eight and forty groups of any size, the last of cells without a value."""
    rng = np.random.default_rng(seed)
    found = []
    for role, size in (("sample", 40), ("donor", 8), ("condition", 2)):
        share = rng.pareto(1.0, size) + 0.05
        code = np.concatenate([np.arange(size), rng.choice(size, n - size, p=share / share.sum())]).astype(np.int32)
        values = (*(f"{role}{i}" for i in range(size - 1)), "(none)")
        found.append(Groups(role, role, values, rng.permutation(code)))  # type: ignore[arg-type]
    return tuple(found)


def expected(
    calls: pd.DataFrame, final: pd.DataFrame | None, level: Level, ontology: CellOntology, by: list[np.ndarray],
    places: dict[str, int],
) -> pd.DataFrame:  # fmt: skip
    """The rows of a tally, from the frames that the run was written from and the places of terms that the test knows."""
    what = calls if final is None else final
    rows = []
    for term, status in zip(what["term"], what["status"], strict=True):
        if status == "unseen":
            rows.append(-4 - ontology.index(term) if level.slim is None and term else UNSEEN)
        else:
            rows.append(places[term] if term else UNRESOLVED)
    same = (what["term"].fillna("") == calls["term"].fillna("")) & (
        (what["status"] == "unseen") == (calls["status"] == "unseen")
    )
    frame = pd.DataFrame(
        {"place": rows, "status": what["status"], "depth": what["depth"], "n_review": calls["needs_review"]}
    )
    frame["n_reviewed"] = False if final is None else final["reviewed"]
    frame["agreement"] = calls["agreement"].astype(float).where(same)
    frame["support"] = calls["support"].astype(float).where(same)
    frame["n_standing"] = same
    for i, code in enumerate(by):
        frame[f"by{i}"] = code
    grouped = frame.groupby([*(f"by{i}" for i in range(len(by))), "place"])
    found = grouped.agg(
        n_cells=("depth", "size"), mean_depth=("depth", "mean"), mean_agreement=("agreement", "mean"),
        mean_support=("support", "mean"), n_review=("n_review", "sum"), n_reviewed=("n_reviewed", "sum"),
        n_standing=("n_standing", "sum"),
    )  # fmt: skip
    for status in STATUSES:
        found[f"n_{status}"] = (frame["status"] == status).groupby([frame[k] for k in found.index.names]).sum()
    return found.reset_index()


def places_of(level: Level, ontology: CellOntology) -> dict[str, int]:
    """The place of each term by the rule in words: itself; else not too general, most bits, longest path, smallest id."""
    if level.slim is None:
        return {term: i for i, term in enumerate(ontology.ids)}
    own = set(level.slim.terms.tolist())
    late = too_general(ontology) if level.name in CURATED else np.zeros(len(ontology), bool)
    rank = {a: (late[a], -ontology.ic[a], -ontology.depth[a], ontology.ids[a]) for a in own}
    above: list[set[int]] = [set() for _ in ontology.ids]
    for i in reversed(range(len(ontology))):
        above[i] = {i}.union(*(above[p] for p in ontology.parents(i).tolist()))
    return {
        ontology.ids[i]: i if i in own else min(above[i] & own, key=rank.__getitem__, default=OTHER)
        for i in range(len(ontology))
    }


def check(found: module.Tally, counted: Counted, wanted: pd.DataFrame) -> None:
    """Compare a tally with what the test counted."""
    by = [groups for groups in (found.groups, found.and_groups) if groups is not None]
    rows = found.rows.copy()
    assert rows["n_cells"].sum() == counted.n_cells
    assert (rows["n_cells"] > 0).all()
    for i, (name, groups) in enumerate(zip(("group", "and_group"), by, strict=False)):
        rows[f"by{i}"] = [groups.values.index(value) for value in rows[name]]
        size = np.bincount(groups.code, minlength=len(groups.values))
        assert rows.groupby(f"by{i}")["n_cells"].sum().tolist() == size.tolist()
    keys = [*(f"by{i}" for i in range(len(by))), "place"]
    rows = rows.sort_values(keys, ignore_index=True)
    wanted = wanted.sort_values(keys, ignore_index=True)
    counts = ["n_cells", "n_review", "n_reviewed", "n_standing", *(f"n_{status}" for status in STATUSES)]
    assert rows[keys].to_numpy().tolist() == wanted[keys].to_numpy().tolist()
    assert rows[counts].to_numpy().tolist() == wanted[counts].to_numpy().tolist()
    for mean in MEANS:
        np.testing.assert_allclose(rows[mean], wanted[mean], rtol=1e-9, equal_nan=True, err_msg=mean)
    size = rows.groupby(keys[:-1])["n_cells"].transform("sum") if by else counted.n_cells
    np.testing.assert_allclose(rows["fraction"], rows["n_cells"] / size)
    np.testing.assert_allclose(rows["review_share"], rows["n_review"] / rows["n_cells"])
    np.testing.assert_allclose(rows["reviewed_share"], rows["n_reviewed"] / rows["n_cells"])


@pytest.fixture(scope="module")
def cl_obo(shared_data: Path) -> CellOntology:
    """CL with its subset tags."""
    return load_ontology(shared_data / "cl.obo", cache=False)


@pytest.mark.parametrize("source", ["calls", "final"])
def test_sums_equal_the_calls_at_every_level_and_grouping(write_run: Any, cl_obo: CellOntology, source: Any) -> None:
    calls, final = every_kind(cl_obo, seed=1)
    run = write_run(calls, final=final)
    groups = groupings(len(calls), seed=2)
    counted = counted_cells(run, cl_obo, calls=source, groups=groups)
    names = ["term", *CURATED, *(f"depth:{n}" for n in range(13)), *(f"subset:{tag}" for tag in cl_obo.subsets)]
    levels = load_levels(cl_obo, names)
    assert len(levels) == len(names) > 25
    called = set(calls["term"].dropna())
    for level in levels:
        places = places_of(level, cl_obo)
        assert called == set(places), "every term is called by some cell, and has one place"
        decided = final if source == "final" else None
        for by in ([], [groups[0]], [groups[1]], [groups[2]], [groups[1], groups[2]]):
            found = tally(counted, level, *by[:1], and_groups=by[1] if len(by) > 1 else None)
            check(found, counted, expected(calls, decided, level, cl_obo, [one.code for one in by], places))


@given(chosen=st.sets(st.integers(0, 3000), min_size=1, max_size=40), data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lists_of_a_user_count_every_cell_once(
    cl: CellOntology, many: tuple[Counted, pd.DataFrame, pd.DataFrame], chosen: set[int], data: st.DataObject
) -> None:
    counted, calls, final = many
    level = Level("mine", "mine", make_slim(cl, [cl.ids[i] for i in chosen], name="mine"), ())
    by = data.draw(st.sampled_from([(), (0,), (1,), (2,), (1, 2), (2, 0)]))
    groups = [counted.groups[i] for i in by]
    found = tally(counted, level, *groups[:1], and_groups=groups[1] if len(groups) > 1 else None)
    check(found, counted, expected(calls, final, level, cl, [one.code for one in groups], places_of(level, cl)))


@pytest.fixture(scope="module")
def many(write_run: Any, cl: CellOntology) -> tuple[Counted, pd.DataFrame, pd.DataFrame]:
    """All kinds of calls with decisions, and what they were written from."""
    calls, final = every_kind(cl, seed=3)
    run = write_run(calls, final=final)
    return counted_cells(run, cl, groups=groupings(len(calls), seed=4)), calls, final


# A hand-worked table --------------------------------------------------------------------------------------------------

CALLS = pd.DataFrame(
    {
        "term": [B, B, CD4, T, None, NEURON, None, B],
        "status": ["resolved", "resolved", "resolved", "backed_off", "unresolved", "unseen", "unseen", "resolved"],
        "depth": [6, 6, 8, 7, 0, 4, 0, 6],
        "agreement": [1.0, 0.5, 0.75, 1.0, 0.0, 0.5, 0.0, 0.25],
        "support": [0.9, 0.7, 0.8, 0.95, 0.0, 0.5, 0.0, 0.5],
        "needs_review": [False, True, False, True, True, True, True, True],
    }
)
# The second is confirmed, the last made a T cell, the node of the unseen neuron is taken for what it is; two stay open.
FINAL = pd.DataFrame(
    {
        "term": [B, B, CD4, T, None, NEURON, None, T],
        "status": ["resolved", "resolved", "resolved", "backed_off", "unresolved", "resolved", "unseen", "resolved"],
        "depth": [6, 6, 8, 7, 0, 4, 0, 7],
        "reviewed": [False, True, False, False, False, True, False, True],
    }
)
DONOR = Groups("donor", "donor", ("d1", "d2"), np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32))


def hand(write_run: Any, cl: CellOntology, **options: Any) -> Counted:
    return counted_cells(write_run(CALLS, final=FINAL), cl, groups=[DONOR], **options)


def test_calls_by_hand(write_run: Any, cl: CellOntology) -> None:
    rows = tally(hand(write_run, cl, calls="calls"), load_levels(cl, ["term"])[0]).rows
    assert rows["term"].tolist() == [B, CD4, T, "", "", f"unseen@{NEURON}"]
    assert rows["label"].tolist()[:3] == ["B cell", "CD4-positive, alpha-beta T cell", "T cell"]
    assert rows["place"].tolist()[-3:] == [UNRESOLVED, UNSEEN, -4 - cl.index(NEURON)]
    assert rows["n_cells"].tolist() == [3, 1, 1, 1, 1, 1]
    assert rows["group"].tolist() == [""] * 6
    assert rows["mean_agreement"].tolist() == pytest.approx([1.75 / 3, 0.75, 1, 0, 0, 0.5])
    assert rows["n_review"].tolist() == [2, 0, 1, 1, 1, 1]
    assert rows["n_reviewed"].tolist() == [0] * 6


def test_decisions_by_hand(write_run: Any, cl: CellOntology) -> None:
    counted = hand(write_run, cl)
    rows = tally(counted, load_levels(cl, ["term"])[0]).rows
    assert rows[["term", "n_cells"]].to_numpy().tolist() == [
        [B, 2], [T, 2], [CD4, 1], [NEURON, 1], ["", 1], ["", 1],
    ]  # fmt: skip
    # B: one confirmed, one never asked: both calls stand. T: only the cell that the run called one.
    assert rows["mean_agreement"].tolist() == pytest.approx([0.75, 1, 0.75, np.nan, 0, 0], nan_ok=True)
    assert rows["mean_support"].tolist() == pytest.approx([0.8, 0.95, 0.8, np.nan, 0, 0], nan_ok=True)
    assert rows["n_standing"].tolist() == [2, 1, 1, 0, 1, 1]
    assert rows["mean_depth"].tolist() == [6, 7, 8, 4, 0, 0]
    assert rows["n_review"].tolist() == [1, 2, 0, 1, 1, 1]
    assert rows["n_reviewed"].tolist() == [1, 1, 0, 1, 0, 0]
    assert rows["review_share"].tolist() == [0.5, 1, 0, 1, 1, 1]


def test_groups_by_hand(write_run: Any, cl: CellOntology) -> None:
    counted = hand(write_run, cl)
    slim = make_slim(cl, [T, B], name="mine")
    rows = tally(counted, Level("mine", "mine", slim, ()), DONOR).rows
    assert rows[["group", "label", "n_cells", "fraction"]].to_numpy().tolist() == [
        ["d1", "B cell", 2, 0.5], ["d1", "T cell", 2, 0.5],
        ["d2", "T cell", 1, 0.25], ["d2", "(other: no term of this level above it)", 1, 0.25],
        ["d2", "(unresolved)", 1, 0.25], ["d2", "(unseen: does not belong to the reference)", 1, 0.25],
    ]  # fmt: skip


def test_columns(write_run: Any, cl: CellOntology) -> None:
    counted = hand(write_run, cl)
    (level,) = load_levels(cl, ["term"])
    columns = [
        "group", "place", "term", "label", "n_cells", "fraction", "mean_depth", "mean_agreement", "mean_support",
        "n_resolved", "n_backed_off", "n_unresolved", "n_unseen", "n_review", "review_share", "n_reviewed",
        "reviewed_share", "n_standing",
    ]  # fmt: skip
    assert tally(counted, level).rows.columns.tolist() == columns
    both = tally(counted, level, DONOR, and_groups=DONOR).rows
    assert both.columns.tolist() == ["group", "and_group", *columns[1:]]
    assert all(
        pd.api.types.is_integer_dtype(both[name]) for name in columns if name.startswith("n_") or name == "place"
    )


def test_cells_are_read_once_whatever_the_levels(
    write_run: Any, cl: CellOntology, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, asked = hand(write_run, cl), []
    query = Counted.query
    monkeypatch.setattr(Counted, "query", lambda self, sql, **tables: asked.append(sql) or query(self, sql, **tables))
    for level in load_levels(cl, ["cell_class", "term", "depth:3"]):
        tally(counted, level)
        tally(counted, level, DONOR)
    assert len(asked) == 2


def test_a_grouping_of_another_count_is_refused(write_run: Any, cl: CellOntology) -> None:
    same = Groups(DONOR.role, DONOR.name, DONOR.values, DONOR.code)
    with pytest.raises(ValueError, match="'donor' is none of what is counted: donor"):
        tally(hand(write_run, cl), load_levels(cl, ["term"])[0], same)


# What is broken is noticed --------------------------------------------------------------------------------------------


def test_a_lost_place_is_noticed(write_run: Any, cl: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, right = hand(write_run, cl), module.places

    def lost(*given: Any) -> np.ndarray:
        place = right(*given).astype(float)
        place[0] = np.nan
        return place

    monkeypatch.setattr(module, "places", lost)
    with pytest.raises(RuntimeError, match=r"level 'cell_class': \d cells are counted, the run has 8"):
        tally(counted, load_levels(cl, ["cell_class"])[0])


def broken(counted: Counted, by: tuple[int, ...], change: Any) -> None:
    """Have the counts of a run changed before they are used."""
    found = module._counts(counted, by).copy()
    counted.counts[by] = change(found)


def test_a_cell_in_the_wrong_group_is_noticed(write_run: Any, cl: CellOntology) -> None:
    counted = hand(write_run, cl)

    def moved(found: pd.DataFrame) -> pd.DataFrame:
        at = found.index[(found["group"] == 0) & (found["n_cells"] == 1)][0]
        return found.assign(group=found["group"].where(found.index != at, 1))

    broken(counted, (0,), moved)
    with pytest.raises(RuntimeError, match="level 'term', donor 'd1': 3 cells are counted, it has 4"):
        tally(counted, load_levels(cl, ["term"])[0], DONOR)
    assert tally(counted, load_levels(cl, ["term"])[0]).rows["n_cells"].sum() == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda f: pd.concat([f, f.iloc[:1]]), "cells are counted, the run has 8", id="twice"),
        pytest.param(lambda f: f.assign(unseen=0), "a status that is none of resolved, backed_off", id="no_status"),
    ],
)
def test_a_wrong_count_is_noticed(write_run: Any, cl: CellOntology, change: Any, said: str) -> None:
    counted = hand(write_run, cl)
    broken(counted, (), change)
    with pytest.raises(RuntimeError, match=said):
        tally(counted, load_levels(cl, ["term"])[0])
