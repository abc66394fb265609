"""Decisions folded into calls: the table is the log replayed, every cell once, and a crash leaves the old one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from celljury.errors import InputError, OutputError, UnreadableFileError
from celljury.ontology.load import ontology_from_edges
from celljury.provenance import sha256, write_json
from celljury.review.apply import Applied, apply_decisions, outcome, summary_lines
from celljury.review.decisions import Decisions, Draft, new_key
from celljury.review.ledger import Action, Event, Outcome
from celljury.review.pack import PACK_FORMAT, Pack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PARENTS = {"T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:1"]}
LABELS = {"T:1": "cell", "T:2": "T cell", "T:3": "CD4 T cell", "T:4": "CD8 T cell", "T:5": "B cell"}
ONTOLOGY = ontology_from_edges(LABELS, PARENTS)
CELL, T, CD4, CD8, B = LABELS
MEMBERS = ["a", "b", "c"]
DECIDING = (Action.ACCEPT, Action.UP, Action.CHOOSE, Action.UNSEEN, Action.SETTLE)
TO_CD4, TO_CD8, TO_B = Outcome(CD4, "resolved"), Outcome(CD8, "resolved"), Outcome(B, "resolved")
OUTCOMES = (TO_CD4, TO_CD8, TO_B, Outcome(T, "unseen"), Outcome("", "unseen"), Outcome("", "unresolved"))
HOSTILE = 'tab\t"quote"\r\nline </script>\u2028 =1+1 \x1b[31m'


@dataclass
class Made:
    """A run of made cells: items of ``size`` cells each, then cells that need no review; its log beside it."""

    folder: Path
    pack: Pack
    votes: list[tuple[str, ...]]
    log: Decisions = field(init=False)

    def __post_init__(self) -> None:
        self.log = Decisions.open(self.folder / "review" / "decisions.sqlite")

    def item(self, i: int) -> str:
        return str(self.pack.items["item_id"][i])

    def evidence(self) -> dict[str, str]:
        return dict(zip(self.pack.items["item_id"], self.pack.items["evidence"], strict=True))

    def say(
        self, item_id: str, action: Action, after: Outcome | None = None, *, who: str = "ann", **more: Any
    ) -> Event:
        draft = {"evidence": self.pack.evidence.get(item_id, "?"), **more}
        (event,) = self.log.append([Draft(new_key(), who, item_id, action, after=after, **draft)])
        return event

    def apply(self, **options: Any) -> Applied:
        return apply_decisions(self.folder, **options)

    def final(self) -> pd.DataFrame:
        found = pd.read_parquet(self.folder / "final.parquet").set_index("cell_id")
        return found.astype({name: object for name in found if str(found[name].dtype) == "category"})


def write_made(
    folder: Path,
    *,
    n_items: int = 4,
    size: int = 6,
    n_sure: int = 5,
    record: dict[str, Any] | None = None,
    row_group: int = 7,
) -> Made:
    """Write ``calls.parquet``, ``run.json`` and the pack of a run; items disagree over CD4 and CD8, calls back off to T."""
    rng = np.random.default_rng(0)
    n_review = n_items * size
    n = n_review + n_sure
    place = rng.permutation(n)[:n_review].reshape(n_items, size)
    names = np.array([f"cell{i:07d}" for i in range(n)])
    patterns = [(CD4, CD8, ("", CD4, CD8, T, B)[i % 5]) for i in range(n_items)]
    term, status = np.full(n, CD8, object), np.full(n, "resolved", object)
    votes = np.full((n, 3), CD8, object)
    item_of = np.repeat(np.arange(n_items), size)
    rows = place.ravel()
    none = item_of % 4 == 3
    term[rows], status[rows] = np.where(none, None, T), np.where(none, "unresolved", "backed_off")
    votes[rows] = np.array(patterns, object)[item_of] if n_items else votes[rows]
    at = [ONTOLOGY.index(t) if t else 0 for t in term]
    columns: dict[str, Any] = {
        "cell_id": names, "term": pa.array(term.tolist()).dictionary_encode(),
        "label": pa.array([LABELS.get(t) for t in term]).dictionary_encode(),
        "status": pa.array(status.tolist()).dictionary_encode(),
        "depth": pa.array([int(ONTOLOGY.depth[i]) if t else 0 for i, t in zip(at, term, strict=True)], pa.int32()),
        "ic": pa.array([float(ONTOLOGY.ic[i]) if t else 0 for i, t in zip(at, term, strict=True)], pa.float32()),
    }  # fmt: skip
    for j, name in enumerate(MEMBERS):
        columns[f"vote_{name}"] = pa.array([v or None for v in votes[:, j]]).dictionary_encode()
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "calls.parquet", row_group_size=row_group)
    write_json(folder / "run.json", {"members": [{"name": m, "absent": None} for m in MEMBERS]} | (record or {}))
    starts = np.arange(n_items) * size
    first = place[:, 0] if n_items else np.zeros(0, int)
    items = pd.DataFrame(
        {
            "item_id": pd.array([f"{i:012x}" for i in range(n_items)], dtype=object),
            "term": [term[i] or "" for i in first], "status": [status[i] for i in first],
            "evidence": pd.array([f"e{i}" for i in range(n_items)], dtype=object), "n_cells": np.full(n_items, size),
            "start": starts, "stop": starts + size,
        }
    )  # fmt: skip
    support = rng.random((n_review, 3)).astype(np.float32)
    about = {"format": PACK_FORMAT, "run": sha256(folder / "calls.parquet"), "n_cells": n, "n_review": n_review,
             "n_items": n_items, "members": MEMBERS, "samples": ["all"], "embedding": None}  # fmt: skip
    nothing = np.zeros((0, 0), np.float32)
    pack = Pack(
        folder, about, items, rows.astype(np.int64), None, np.zeros(n_review, np.int32), support,
        (np.arange(n_review) % 2).astype(np.int8), None, None, (), np.zeros((n_items, 0), np.float32),
        np.zeros((n_items, 0), np.float32), (), nothing, nothing, np.zeros(0, np.int64), {},
    )  # fmt: skip
    pack.save(ONTOLOGY)
    return Made(folder, Pack.open(folder), patterns)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return write_made(tmp_path / "run")


# An independent replay ------------------------------------------------------------------------------------------------


def replayed(made: Made, events: list[Event]) -> dict[str, tuple[Any, ...]]:
    """Return (term, status, source, conflict) of every cell from the log alone, in the plainest way."""
    undone: set[int] = set()
    for event in reversed(events):
        if event.action is Action.UNDO and event.number not in undone:
            target = events[(event.undoes or 0) - 1]
            group = [e for e in events if e.group == target.group] if target.group else [target]
            undone |= {e.number for e in group if e.number < event.number and e.reviewer == event.reviewer}
    evidence = made.pack.evidence
    live = [e for e in events if e.number not in undone and e.evidence == evidence.get(e.item_id)]
    splits: dict[str, str] = {}
    said: dict[str, dict[str, Event]] = {}
    for event in live:
        if event.action is Action.SPLIT:
            splits.setdefault(event.item_id, event.by)
        elif event.action in DECIDING:
            own = said.setdefault(event.item_id, {}).get(event.reviewer)
            settled = own is not None and own.action is Action.SETTLE and event.action is not Action.SETTLE
            if not (settled and own.after == event.after):
                said[event.item_id][event.reviewer] = event
    calls = pd.read_parquet(made.folder / "calls.parquet").astype(object)
    terms = calls["term"].where(calls["term"].notna(), None)
    found = {
        name: (term, status, "call", False)
        for name, term, status in zip(calls["cell_id"], terms, calls["status"], strict=True)
    }
    for item in made.pack.items.itertuples():
        cells = [(j, str(calls["cell_id"][made.pack.row[j]])) for j in range(item.start, item.stop)]
        work = [(item.item_id, cells)]
        while work:
            part, own = work.pop()
            if by := splits.get(part):
                mean = (
                    np.mean([made.pack.support[j, MEMBERS.index(by)] for j, _ in own]) if by in MEMBERS and own else 0
                )
                side = [
                    int(made.pack.half[j]) if by == "cluster" else int(made.pack.support[j, MEMBERS.index(by)] > mean)
                    for j, _ in own
                ]
                work += [(f"{part}~{by}~{k}", [c for c, s in zip(own, side, strict=True) if s == k]) for k in (0, 1)]
                continue
            standing = list(said.get(part, {}).values())
            settled = max((e.number for e in standing if e.action is Action.SETTLE), default=0)
            outcomes = {e.after for e in standing if e.number >= settled}
            for _, name in own:
                if len(outcomes) == 1:
                    (outcome,) = outcomes
                    found[name] = (outcome.term or None, outcome.status, "curator", False)
                elif len(outcomes) > 1:
                    found[name] = (*found[name][:3], True)
    return found


def check_replay(made: Made) -> pd.DataFrame:
    """The final table is the log replayed; return it."""
    final = made.final()
    expected = replayed(made, list(made.log.events()))
    assert final.index.tolist() == list(expected)
    got = {name: (t if isinstance(t, str) else None, s, o, c) for name, t, s, o, c in
           final[["term", "status", "source", "conflict"]].itertuples()}  # fmt: skip
    assert got == expected
    assert (final["reviewed"] == (final["source"] == "curator")).all()
    table = pd.read_csv(made.folder / "tables" / "final_terms.tsv", sep="\t", keep_default_na=False)
    assert table["n_cells"].sum() == len(final)
    key = ["term", "label", "status", "source"]
    assert dict(zip(map(tuple, table[key].to_numpy().tolist()), table["n_cells"], strict=True)) == Counter(
        map(tuple, final[key].fillna("").to_numpy().tolist())
    )
    lines = (made.folder / "review" / "events.jsonl").read_bytes().splitlines()
    assert [Event.from_json(json.loads(line)) for line in lines] == list(made.log.events())
    return final


@pytest.mark.parametrize("seed", range(6))
def test_final_table_is_the_log_replayed(tmp_path: Path, seed: int) -> None:
    """Three reviewers do anything anywhere: decide, skip, note, split twice over, settle, undo, undo an undo, groups."""
    made = write_made(tmp_path / "run", n_items=8)
    pick = random.Random(seed)
    ids = [*(made.item(i) for i in range(8)), "00000000dead"]
    ids += [f"{ids[i]}~{by}~{k}" for i in range(4) for by in ("cluster", "a", "b") for k in (0, 1)]
    ids += [f"{ids[0]}~cluster~1~b~{k}" for k in (0, 1)]
    for i in range(300):
        who, item_id = pick.choice(["ann", "bo", "cy"]), pick.choice(ids)
        own = [e.number for e in made.log.events() if e.reviewer == who]
        action = pick.choice(
            [*DECIDING[:4], Action.SKIP, Action.NOTE, Action.SPLIT, Action.UNDO, Action.UNDO, Action.SETTLE]
        )
        more: dict[str, Any] = {
            "who": who,
            "note": pick.choice(["", "", HOSTILE]),
            "group": pick.choice(["", "", f"g{i // 10}{who}"]),
        }
        if pick.random() < 0.1:
            more["evidence"] = "of an earlier run"
        if action in DECIDING:
            more["after"] = pick.choice(OUTCOMES)
        if action is Action.SPLIT:
            more["by"] = pick.choice(["cluster", "a", "b"])
        if action is Action.UNDO:
            if not own:
                continue
            more["undoes"] = pick.choice(own)
        made.say(item_id, action, **more)
    applied = made.apply()
    final = check_replay(made)
    assert applied.n_events == len(made.log.events())
    assert sum(applied.cells.values()) == made.pack.about["n_review"] == (final["item_id"] != "").sum()
    assert applied.cells["decided"] == final["reviewed"].sum()
    assert applied.cells["conflict"] == final["conflict"].sum()
    changed = final["reviewed"] & (
        (final["term"].fillna("") != final["call_term"].fillna(""))
        | ((final["status"] == "unseen") != (final["call_status"] == "unseen"))
    )
    assert applied.changed_cells == changed.sum()


# One at a time --------------------------------------------------------------------------------------------------------


def test_columns_and_what_an_undecided_run_says(made: Made) -> None:
    made.apply()
    final = check_replay(made)
    assert ["cell_id", *final.columns] == [
        "cell_id", "term", "label", "status", "depth", "ic", "source", "reviewed", "conflict", "item_id", "review_status",
        "reviewers", "decided_at", "note", "call_term", "call_status",
    ]  # fmt: skip
    assert set(final["source"]) == {"call"}
    assert Counter(final["review_status"]) == {"open": 24, "": 5}
    calls = pd.read_parquet(made.folder / "calls.parquet").set_index("cell_id")
    for name in ("term", "label", "status", "depth", "ic"):
        assert final[name].astype(object).where(final[name].notna(), None).tolist() == (
            calls[name].astype(object).where(calls[name].notna(), None).tolist()
        ), name


def cells_of(made: Made, final: pd.DataFrame, item_id: str) -> pd.DataFrame:
    own = final[final["item_id"] == item_id]
    assert len(own) == len(made.pack.rows_of(item_id))
    return own


def only(values: pd.Series[Any]) -> Any:
    (value,) = set(values)
    return value


def test_a_decision_names_who_when_and_why(made: Made) -> None:
    item = made.item(0)
    made.say(item, Action.NOTE, who="bo", note=HOSTILE)
    event = made.say(item, Action.CHOOSE, TO_CD4, note="IL7R")
    made.say(item, Action.ACCEPT, TO_CD4, who="zoé")
    made.apply()
    own = cells_of(made, check_replay(made), item)
    said = {name: only(own[name]) for name in own}
    assert said["note"] == f"{HOSTILE} | IL7R"
    assert (said["term"], said["label"], said["status"], said["source"]) == (CD4, "CD4 T cell", "resolved", "curator")
    assert (said["call_term"], said["call_status"]) == (T, "backed_off")
    assert (said["reviewers"], said["decided_at"], said["review_status"]) == ("ann;zoé", event.at, "decided")
    assert said["depth"] == ONTOLOGY.depth[ONTOLOGY.index(CD4)]
    assert said["ic"] == np.float32(ONTOLOGY.ic[ONTOLOGY.index(CD4)])


def test_undo_gives_the_call_back_and_redo_the_decision(made: Made) -> None:
    event = made.say(made.item(0), Action.CHOOSE, TO_CD4)
    made.apply()
    undo = made.say(made.item(0), Action.UNDO, undoes=event.number)
    made.apply()
    own = cells_of(made, check_replay(made), made.item(0))
    assert (only(own["term"]), only(own["source"]), only(own["reviewers"])) == (T, "call", "")
    made.say(made.item(0), Action.UNDO, undoes=undo.number)
    made.apply()
    assert only(cells_of(made, check_replay(made), made.item(0))["term"]) == CD4


def test_parts_of_a_split_are_decided_on_their_own(made: Made) -> None:
    item = made.item(1)
    made.say(item, Action.NOTE, note="two kinds")
    made.say(item, Action.SPLIT, by="cluster")
    made.say(f"{item}~cluster~1", Action.SPLIT, by="b")
    made.say(f"{item}~cluster~0", Action.CHOOSE, TO_CD4)
    made.say(f"{item}~cluster~1~b~1", Action.UNSEEN, Outcome(T, "unseen"), note="odd")
    applied = made.apply()
    final = check_replay(made)
    assert only(cells_of(made, final, f"{item}~cluster~0")["term"]) == CD4
    odd = cells_of(made, final, f"{item}~cluster~1~b~1")
    assert (only(odd["status"]), only(odd["term"]), only(odd["note"])) == ("unseen", T, "two kinds | odd")
    assert only(cells_of(made, final, f"{item}~cluster~1~b~0")["source"]) == "call"
    assert applied.items["decided"] == 2
    assert applied.items["open"] == 4


def test_conflict_keeps_the_call_until_it_is_settled(made: Made) -> None:
    item = made.item(0)
    made.say(item, Action.CHOOSE, TO_CD4)
    made.say(item, Action.CHOOSE, TO_CD8, who="bo")
    applied = made.apply()
    own = cells_of(made, check_replay(made), item)
    assert (only(own["term"]), only(own["conflict"]), only(own["reviewers"])) == (T, True, "ann;bo")
    assert applied.items["conflict"] == 1
    (pair,) = applied.kappa
    assert (pair.a, pair.b, pair.n_both, pair.agreement) == ("ann", "bo", 1, 0.0)
    settle = made.say(item, Action.SETTLE, TO_CD8, who="cy")
    made.apply()
    own = cells_of(made, check_replay(made), item)
    assert (only(own["term"]), only(own["conflict"]), only(own["decided_at"])) == (CD8, False, settle.at)


def test_decided_at_is_since_when_the_outcome_holds(made: Made) -> None:
    mind, settled, undone, late = (made.item(i) for i in range(4))
    made.say(mind, Action.CHOOSE, TO_CD4)
    made.say(mind, Action.CHOOSE, TO_CD8, who="bo")
    since = {mind: made.say(mind, Action.CHOOSE, TO_CD4, who="bo").at}
    made.say(mind, Action.CHOOSE, TO_CD4, who="cy")
    made.say(settled, Action.CHOOSE, TO_CD4)
    made.say(settled, Action.CHOOSE, TO_CD8, who="bo")
    since[settled] = made.say(settled, Action.SETTLE, TO_CD4, who="cy").at
    made.say(settled, Action.CHOOSE, TO_CD4, who="bo")
    # What was undone never stood in the way.
    since[undone] = made.say(undone, Action.CHOOSE, TO_CD4).at
    other = made.say(undone, Action.CHOOSE, TO_CD8, who="bo")
    made.say(undone, Action.UNDO, who="bo", undoes=other.number)
    made.say(undone, Action.CHOOSE, TO_CD4, who="bo")
    made.say(late, Action.CHOOSE, TO_CD4, evidence="of an earlier run")
    made.say(late, Action.SKIP)
    made.say(late, Action.CHOOSE, TO_CD8)
    since[late] = made.say(late, Action.CHOOSE, TO_CD4).at
    assert len({event.at for event in made.log.events()}) > 4
    made.apply()
    final = check_replay(made)
    assert {item: only(cells_of(made, final, item)["decided_at"]) for item in since} == since


def test_skipped_and_reopened_keep_their_call_and_say_so(made: Made) -> None:
    made.say(made.item(0), Action.SKIP, note="later")
    made.say(made.item(1), Action.CHOOSE, TO_CD4, evidence="of an earlier run")
    made.say("0000gone0000", Action.CHOOSE, TO_CD4)
    applied = made.apply()
    final = check_replay(made)
    skipped, reopened = (cells_of(made, final, made.item(i)) for i in (0, 1))
    assert (only(skipped["review_status"]), only(skipped["reviewers"]), only(skipped["note"])) == (
        "skipped",
        "ann",
        "later",
    )
    assert (only(reopened["review_status"]), only(reopened["source"])) == ("reopened", "call")
    assert applied.items == {"decided": 0, "open": 2, "conflict": 0, "skipped": 1, "reopened": 1}


def test_summary_reads_well(made: Made) -> None:
    for i, after in ((0, TO_CD4), (1, Outcome(T, "resolved")), (2, TO_CD8)):
        made.say(made.item(i), Action.CHOOSE, after)
        made.say(made.item(i), Action.CHOOSE, after if i else TO_B, who="bo")
    said = "\n".join(summary_lines(made.apply()))
    assert "6 events; 24 of 29 cells are for review." in said
    assert "2 items,        12 cells: decided\n" in said
    assert "1 items,         6 cells: of these, decided otherwise than called" in said
    assert "1 items,         6 cells: in conflict between reviewers" in said
    assert "12 cells for review keep their call." in said
    assert "ann and bo: 3 items both, agree on 67 % (kappa 0.57)" in said
    assert "Members on 2 reviewed items" in said


def test_outcome_is_plain(made: Made) -> None:
    made.say(made.item(0), Action.CHOOSE, TO_CD4)
    made.say(made.item(1), Action.CHOOSE, TO_CD4, who="bo")
    applied = made.apply()
    told = outcome(applied)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["items"]["decided"], told["changed_cells"], told["n_cells"]) == (2, 12, 29)
    (pair,) = told["kappa"]
    assert (pair["a"], pair["b"], pair["kappa"], pair["why"]) == ("ann", "bo", None, "nothing that both decided")
    assert [row["member"] for row in told["members"]] == MEMBERS
    assert told["members"][0]["held_out_accuracy"] is None
    assert told["written"][-1].endswith("final.parquet")


# Files ----------------------------------------------------------------------------------------------------------------


def test_same_log_same_bytes_in_any_row_groups(tmp_path: Path) -> None:
    made = write_made(tmp_path / "run")
    made.say(made.item(0), Action.CHOOSE, TO_CD4, note=HOSTILE)
    kept = []
    for _ in range(2):
        kept.append([path.read_bytes() for path in made.apply().written])
    assert kept[0] == kept[1]


def test_a_run_without_anything_to_review(tmp_path: Path) -> None:
    made = write_made(tmp_path / "run", n_items=0)
    made.apply()
    assert set(check_replay(made)["item_id"]) == {""}


def test_hundred_thousand_cells_in_two_thousand_items(tmp_path: Path) -> None:
    made = write_made(tmp_path / "run", n_items=2_000, size=20, n_sure=60_000, row_group=30_000)
    evidence = made.evidence()
    made.log.append(
        [
            Draft(new_key(), "ann", made.item(i), Action.CHOOSE, evidence[made.item(i)], after=TO_CD4)
            for i in range(1_500)
        ]
    )
    applied = made.apply()
    final = made.final()
    assert len(final) == final.index.nunique() == 100_000
    assert final["reviewed"].sum() == applied.cells["decided"] == 30_000
    assert set(final.loc[final["reviewed"], "term"]) == {CD4}


CRASH = """
import os, sys
from pathlib import Path
from celljury.review.apply import apply_decisions
real, left = Path.replace, [int(sys.argv[2])]
def replace(self, target):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)
    return real(self, target)
Path.replace = replace
apply_decisions(sys.argv[1])
"""


@pytest.mark.parametrize("n_renamed", [0, 1, 3])
def test_killed_between_writes_leaves_the_old_table(made: Made, n_renamed: int) -> None:
    made.say(made.item(0), Action.CHOOSE, TO_CD4)
    made.apply()
    before = (made.folder / "final.parquet").read_bytes()
    made.say(made.item(1), Action.CHOOSE, TO_CD8)
    done = subprocess.run([sys.executable, "-c", CRASH, made.folder, str(n_renamed)], capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    assert (made.folder / "final.parquet").read_bytes() == before
    made.apply()
    check_replay(made)
    assert not list(made.folder.rglob("*.partial"))


def test_h5ad_gets_columns_and_keeps_all_else(made: Made) -> None:
    import anndata as ad
    import h5py

    calls = pd.read_parquet(made.folder / "calls.parquet").set_index("cell_id")
    obs = calls[["term"]].add_prefix("celljury_").assign(own=np.arange(len(calls)))
    path = made.folder / "query.celljury.h5ad"
    ad.AnnData(np.arange(len(obs) * 3, dtype=np.float32).reshape(-1, 3), obs=obs, uns={"x": "y"}).write_h5ad(path)

    def content() -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, at: found.update({name: at[()].tobytes()}) if hasattr(at, "shape") and at.shape else None
            )
        return {name: value for name, value in found.items() if not name.startswith("obs/")}

    before = content()
    for i, after in ((0, TO_CD4), (1, Outcome("", "unresolved"))):
        made.say(made.item(i), Action.CHOOSE, after)
        assert path in made.apply().written
    assert content() == before
    written = ad.read_h5ad(path)
    final = made.final()
    added = [f"celljury_final_{name}" for name in ("term", "label", "status", "source", "reviewers")]
    assert list(written.obs) == ["celljury_term", "own", *added]
    for name in added:
        got = written.obs[name].astype(object)
        assert got.where(got.notna(), None).tolist() == (
            final[name.removeprefix("celljury_final_")].where(lambda s: s.notna(), None).tolist()
        )
    assert path not in made.apply(h5ad=False).written


def test_h5ad_of_other_cells_is_refused_and_the_old_table_stays(made: Made) -> None:
    import anndata as ad

    path = made.folder / "query.celljury.h5ad"
    ad.AnnData(np.zeros((2, 1), np.float32), obs=pd.DataFrame(index=["x", "y"])).write_h5ad(path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"are not the run's.*Annotate it anew"):
        made.apply()
    assert path.read_bytes() == before
    assert not (made.folder / "final.parquet").exists()


# Refused --------------------------------------------------------------------------------------------------------------


def test_a_term_that_the_ontology_lacks_is_named(made: Made) -> None:
    made.say(made.item(0), Action.CHOOSE, Outcome("T:99", "resolved"))
    with pytest.raises(InputError, match=r"item 000000000000 was decided to be T:99 \(by ann\).*Decide it again"):
        made.apply()
    assert not (made.folder / "final.parquet").exists()


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        pytest.param("run.json", "holds no finished run", id="no_run"),
        pytest.param("review/pack/pack.json", "celljury review", id="no_review"),
        pytest.param("review/decisions.sqlite", r"decisions\.sqlite", id="no_log"),
    ],
)
def test_what_is_missing_is_named(made: Made, gone: str, message: str) -> None:
    made.log.close()
    (made.folder / gone).unlink()
    with pytest.raises(UnreadableFileError, match=message):
        made.apply()


def test_log_in_another_place(made: Made, tmp_path: Path) -> None:
    other = Decisions.open(tmp_path / "team.sqlite", run="r1")
    other.append([Draft(new_key(), "ann", made.item(0), Action.CHOOSE, "e0", after=TO_CD4)])
    assert made.apply(database=tmp_path / "team.sqlite", log="r1").items["decided"] == 1
    assert made.apply(database=tmp_path / "team.sqlite", log="r2").items["decided"] == 0


def sides(made: Made, part: str) -> NDArray[np.int64]:
    return made.pack.rows_of(part)


def test_every_cell_is_in_one_part(made: Made) -> None:
    item = made.item(0)
    both = np.concatenate([sides(made, f"{item}~a~{k}") for k in (0, 1)])
    assert sorted(both.tolist()) == sides(made, item).tolist()
