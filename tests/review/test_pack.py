"""A pack: written once and read back, refused where it is of other calls, and the parts of its items."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from review_pack import made_run

from celljury.errors import InputError, UnreadableFileError
from celljury.review.pack import Pack, StalePackError, UnknownItemError, check_member_names, pack_folder

MEMBERS = ("logistic", "celltypist", "symphony")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """3,000 made cells, 400 of them in 50 items. Read only: copy its folder before a change."""
    return made_run(
        tmp_path_factory.mktemp("made") / "run", n_cells=3000, n_items=50, n_review=400, n_members=3, n_genes=40,
        n_terms=12, n_samples=4,
    )  # fmt: skip


@pytest.fixture
def copied(pack: Pack, tmp_path: Path) -> Path:
    shutil.copytree(pack.folder, tmp_path / "run")
    return tmp_path / "run"


# Keeping ----------------------------------------------------------------------------------------------------------


def test_pack_is_read_back_as_it_was_saved(pack: Pack, copied: Path) -> None:
    ontology = pack.ontology
    replace(pack, folder=copied).save(ontology)
    again = Pack.open(copied)
    pd.testing.assert_frame_equal(again.items, pack.items)
    for name in ("about", "genes", "terms", "term_genes"):
        assert getattr(again, name) == getattr(pack, name)
    for name in (
        "row", "xy", "batch", "support", "half", "drawn_xy", "drawn_term", "item_share", "item_mean", "term_share",
        "term_mean", "term_cells",
    ):  # fmt: skip
        one, other = getattr(again, name), getattr(pack, name)
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
        assert isinstance(one, np.memmap)
    assert again.ontology.source == ontology.source
    assert {path.name for path in (copied / "review").iterdir()} == {"pack"}


def test_two_that_save_at_once_leave_one_whole_pack(pack: Pack, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one saves while this one is between taking the old pack away and putting its own there."""
    ontology, own = pack.ontology, replace(pack, folder=copied)
    place = Path.replace

    def meanwhile(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial") and self.is_dir():
            monkeypatch.setattr(Path, "replace", place)
            with monkeypatch.context() as other:
                other.setattr(os, "getpid", lambda: -1)
                own.save(ontology)
        return place(self, target)

    monkeypatch.setattr(Path, "replace", meanwhile)
    own.save(ontology)
    assert {path.name for path in (copied / "review").iterdir()} == {"pack"}
    Pack.open(copied)


def test_run_without_an_embedding_has_none(pack: Pack, copied: Path) -> None:
    none = replace(
        pack, folder=copied, about=pack.about | {"embedding": None, "drawn_terms": []}, xy=None, drawn_xy=None,
        drawn_term=None,
    )  # fmt: skip
    none.save(pack.ontology)
    again = Pack.open(copied)
    assert again.xy is again.drawn_xy is again.drawn_term is None
    assert not (pack_folder(copied) / "xy.npy").exists()


def test_saving_leaves_decisions_alone(pack: Pack, copied: Path) -> None:
    kept = copied / "review" / "decisions.sqlite"
    kept.write_text("decisions", encoding="utf-8")
    left, busy = (pack_folder(copied).with_name(f"pack.{i}.partial") for i in (1, 2))
    for folder in (left, busy):
        folder.mkdir()
    os.utime(left, (0, 0))  # of a process that was killed; the other one is at work
    replace(pack, folder=copied).save(pack.ontology)
    assert kept.read_text(encoding="utf-8") == "decisions"
    assert sorted(path.name for path in kept.parent.iterdir()) == ["decisions.sqlite", "pack", "pack.2.partial"]


def test_folder_without_a_pack_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="celljury review"):
        Pack.open(tmp_path)


def test_pack_of_other_calls_is_refused(copied: Path) -> None:
    with (copied / "calls.parquet").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(StalePackError, match="of other calls"):
        Pack.open(copied)


def test_pack_of_another_format_is_refused(copied: Path) -> None:
    path = pack_folder(copied) / "pack.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(about | {"format": 99}), encoding="utf-8")
    with pytest.raises(StalePackError, match="is of format 99"):
        Pack.open(copied)


@pytest.mark.parametrize("name", ["row.npy", "items.parquet", "names.json", "pack.json", "half.npy", "term_mean.npy"])
@pytest.mark.parametrize("how", ["missing", "cut", "empty"])
def test_damaged_pack_is_refused(copied: Path, name: str, how: str) -> None:
    path = pack_folder(copied) / name
    held = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(held[: len(held) // 2] if how == "cut" else b"")
    with pytest.raises(UnreadableFileError, match="celljury review"):
        Pack.open(copied)


def test_arrays_of_another_size_are_refused(pack: Pack, copied: Path) -> None:
    np.save(pack_folder(copied) / "half.npy", pack.half[:-1])
    with pytest.raises(UnreadableFileError, match="cells without a sample or half"):
        Pack.open(copied)


def test_two_items_of_one_name_are_refused(pack: Pack, copied: Path) -> None:
    ids = [pack.items["item_id"].iat[1], *pack.items["item_id"][1:]]
    pack.items.assign(item_id=ids).to_parquet(pack_folder(copied) / "items.parquet")
    with pytest.raises(UnreadableFileError, match="two items of one name"):
        Pack.open(copied)


def test_array_of_objects_is_never_loaded(pack: Pack, copied: Path) -> None:
    np.save(pack_folder(copied) / "half.npy", np.array([print] * len(pack.half), object), allow_pickle=True)
    with pytest.raises(UnreadableFileError):
        Pack.open(copied)


# Items and parts ----------------------------------------------------------------------------------------------------


def test_items_hold_all_cells_once(pack: Pack) -> None:
    rows = [pack.rows_of(item_id) for item_id in pack.items["item_id"]]
    assert np.concatenate(rows).tolist() == list(range(400))
    assert [len(cells) for cells in rows] == pack.items["n_cells"].tolist()
    calls = pd.read_parquet(pack.folder / "calls.parquet", columns=["cell_id", "needs_review", "term", "status"])
    assert sorted(pack.row.tolist()) == np.flatnonzero(calls["needs_review"]).tolist()
    for i, item in enumerate(pack.items.to_dict("records")):
        here = calls.iloc[pack.row[rows[i]]]
        assert here["cell_id"].tolist() == pack.cell_ids(item["item_id"]).tolist() == sorted(here["cell_id"])
        assert set(here["status"]) == {item["status"]}
        assert set(here["term"].astype(object).fillna("")) == {item["term"]}


def test_ids_have_positions(pack: Pack) -> None:
    assert [pack.position[item_id] for item_id in pack.items["item_id"]] == list(range(50))


PATHS = st.lists(st.tuples(st.sampled_from(("cluster", *MEMBERS)), st.sampled_from("01")), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 49), PATHS)
def test_two_sides_make_up_their_parent(pack: Pack, i: int, path: list[tuple[str, str]]) -> None:
    part = "~".join([pack.items["item_id"][i], *(f"{by}~{side}" for by, side in path)])
    rows = pack.rows_of(part)
    splits = pack.splits(part)
    for by in ("cluster", *MEMBERS):
        sides = [pack.rows_of(f"{part}~{by}~{side}") for side in (0, 1)]
        assert sorted(np.concatenate(sides).tolist()) == rows.tolist()
        assert (by in splits) == all(len(side) for side in sides)
    assert len(pack.cell_ids(part)) == len(rows)


def test_member_splits_at_its_mean_and_cells_without_its_support_are_on_side_0(pack: Pack) -> None:
    support = np.full((400, 3), 0.3, np.float32)
    support[:4, 1] = [0.9, np.nan, 0.2, 0.5]
    few = replace(pack, support=support)
    rows = np.arange(4)
    assert few.sides(rows, "celltypist").tolist() == [1, 0, 0, 0]  # the mean of 0.9, 0.2 and 0.5 is 0.53
    assert few.sides(rows, "logistic").tolist() == [0, 0, 0, 0]
    assert few.sides(rows[:0], "logistic").tolist() == []


def test_evidence_of_a_part_is_of_its_own_cells(pack: Pack) -> None:
    item = pack.items.iloc[0]
    assert pack.evidence_of(item["item_id"]) == item["evidence"]
    (by, *_), item_id = pack.splits(item["item_id"]), item["item_id"]
    parts = [pack.evidence_of(f"{item_id}~{by}~{side}") for side in (0, 1)]
    assert len({*parts, item["evidence"]}) == 3
    turned = replace(pack, half=1 - pack.half)
    assert turned.evidence_of(item_id) == item["evidence"]
    assert [turned.evidence_of(f"{item_id}~{by}~{side}") for side in (1, 0)] == parts


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        pytest.param("~cluster", "expected ITEM~BY~SIDE", id="no_side"),
        pytest.param("~cluster~2", "expected side 0 or 1", id="side_that_is_none"),
        pytest.param("~cluster~", "expected side 0 or 1", id="empty_side"),
        pytest.param("~nobody~1", "neither 'cluster' nor a member", id="unknown_member"),
        pytest.param("~~", "expected side 0 or 1", id="nothing"),
    ],
)
def test_part_that_is_none_is_refused(pack: Pack, tail: str, why: str) -> None:
    with pytest.raises(UnknownItemError, match=why):
        pack.rows_of(pack.items["item_id"][0] + tail)


@pytest.mark.parametrize("item_id", ["", "nothing", "../../etc", "~cluster~0"])
def test_item_that_is_none_is_refused(pack: Pack, item_id: str) -> None:
    with pytest.raises(UnknownItemError, match="no item has this id"):
        pack.rows_of(item_id)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("my~tool", "'~', which separates the parts of review items", id="part_of_an_item"),
        pytest.param("tool;v2", "';', which separates members' votes", id="between_votes"),
        pytest.param("res=0.5", "'=', which separates a member from its vote", id="between_member_and_vote"),
    ],
)
def test_member_name_that_the_queue_could_not_hold_is_refused(name: str, said: str) -> None:
    check_member_names(["logistic", "my tool"])
    with pytest.raises(InputError, match=f"member '{name}': .*{said}.*Rename the column"):
        check_member_names(["logistic", name])
