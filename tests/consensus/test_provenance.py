"""How results are kept: whole files or none, no folder taken that is not ours, hashes, versions and a log."""

from __future__ import annotations

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from celljury import __version__
from celljury.errors import OutputError
from celljury.members.base import MemberVotes
from celljury.provenance import (
    as_dict,
    check_folder,
    cpu_seconds,
    log_to,
    make_folder,
    now,
    peak_memory_mb,
    sha256,
    versions,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable


# Folders ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [pytest.param("run", id="new"), pytest.param("a/b/run", id="with_its_parents")])
def test_a_folder_is_made(name: str, tmp_path: Path) -> None:
    make_folder(tmp_path / name, owned="run.json")
    assert list((tmp_path / name).iterdir()) == []


def test_an_empty_or_unfinished_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    make_folder(tmp_path, owned="run.json")
    write_text(tmp_path / "unfinished.json", "{}")
    write_text(tmp_path / "part", "kept for --resume")
    make_folder(tmp_path, owned="run.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part", "unfinished.json"]


def finished(folder: Path) -> Path:
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text("{}", encoding="utf-8")
    (folder / "run" / "calls.parquet").touch()
    return folder / "run"


def test_curators_decisions_outlive_the_result_they_were_made_on(tmp_path: Path) -> None:
    run = finished(tmp_path)
    (run / "review" / "pack").mkdir(parents=True)
    (run / "review" / "pack" / "pack.json").touch()
    for name in ("decisions.sqlite", "decisions.sqlite-wal"):
        (run / "review" / name).write_text("decided", encoding="utf-8")
    write_text(tmp_path / "demo.json", "{}")
    make_folder(tmp_path, owned="demo.json", overwrite=True)  # a folder above, as the demo's
    kept = ["decisions.sqlite", "decisions.sqlite-wal"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == kept
    make_folder(run, owned="run.json")  # what is left is no result in the way
    make_folder(run, owned="run.json", overwrite=True)
    assert sorted(path.name for path in run.rglob("*") if path.is_file()) == kept
    (run / "notes.txt").touch()
    with pytest.raises(OutputError, match="files that are not celljury's"):
        make_folder(run, owned="run.json", overwrite=True)


@pytest.mark.parametrize(
    "inside", [pytest.param(False, id="of_the_run"), pytest.param(True, id="of_a_run_in_the_demo")]
)
def test_a_link_to_decisions_stays_with_all_that_is_there(*, inside: bool, tmp_path: Path) -> None:
    run = finished(tmp_path)
    shared = tmp_path / "shared"
    (shared / "pack").mkdir(parents=True)
    for name in ("decisions.sqlite", "pack/pack.json", "somebody's"):
        (shared / name).write_text("kept", encoding="utf-8")
    (run / "review").symlink_to(shared)
    if inside:
        (tmp_path / "demo").mkdir()
        run = run.rename(tmp_path / "demo" / "run")
        write_text(tmp_path / "demo" / "demo.json", "{}")
        make_folder(tmp_path / "demo", owned="demo.json", overwrite=True)
    make_folder(run, owned="run.json", overwrite=True)
    assert [item.name for item in run.iterdir()] == ["review"]
    assert (run / "review" / "decisions.sqlite").read_text(encoding="utf-8") == "kept"
    assert sorted(item.name for item in shared.rglob("*")) == ["decisions.sqlite", "pack", "pack.json", "somebody's"]


def test_a_folder_that_cannot_be_replaced_is_refused_by_its_own_option(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        check_folder(finished(tmp_path), owned="run.json", option="--new-jury")
    assert str(caught.value).endswith("finished result (run.json). Pass another place with --new-jury.")


def foreign(folder: Path) -> Path:
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    return folder / "mine"


def file(folder: Path) -> Path:
    (folder / "file").write_text("content", encoding="utf-8")
    return folder / "file"


@pytest.mark.parametrize(
    ("make", "overwrite", "said"),
    [
        pytest.param(
            finished, False, r"already holds a finished result \(run\.json\); --overwrite", id="finished_result"
        ),
        pytest.param(foreign, False, r"holds files that are not celljury's", id="somebody_s_files"),
        pytest.param(foreign, True, r"holds files that are not celljury's", id="somebody_s_files_also_on_overwrite"),
        pytest.param(file, False, r"it is a file, a folder is needed", id="file"),
        pytest.param(file, True, r"it is a file, a folder is needed", id="file_also_on_overwrite"),
        pytest.param(lambda f: file(f) / "run", False, r"file is a file, no folder", id="below_a_file"),
    ],
)
def test_a_folder_that_cannot_be_taken_stays_as_it_is(
    *, make: Callable[[Path], Path], overwrite: bool, said: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    before = {item: item.read_bytes() for item in tmp_path.rglob("*") if item.is_file()}
    for refuse in (check_folder, make_folder):
        with pytest.raises(OutputError, match=said) as caught:
            refuse(path, owned="run.json", overwrite=overwrite)
        assert str(caught.value).startswith(f"cannot write to {path}: ")
        assert str(caught.value).endswith("Pass another place with --out.")
    assert {item: item.read_bytes() for item in tmp_path.rglob("*") if item.is_file()} == before


def test_a_finished_result_is_replaced_on_request(tmp_path: Path) -> None:
    path = finished(tmp_path)
    check_folder(path, owned="run.json", overwrite=True)
    assert (path / "run.json").exists()
    make_folder(path, owned="run.json", overwrite=True)
    assert list(path.iterdir()) == []


def test_what_a_user_put_beside_a_result_stays_when_it_is_replaced(tmp_path: Path) -> None:
    path = finished(tmp_path)
    (path / "votes").mkdir()
    (path / "votes" / "part-00000.parquet").touch()
    (path / "my notes.txt").write_text("on this run", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (path / "figures").symlink_to(elsewhere)
    make_folder(path, owned="run.json", overwrite=True)
    assert [item.name for item in path.iterdir()] == ["my notes.txt"]
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("as_text", [pytest.param(True, id="text"), pytest.param(False, id="path")])
def test_a_folder_that_holds_an_input_is_never_replaced(*, as_text: bool, tmp_path: Path) -> None:
    path = finished(tmp_path)
    query = path / "query.celljury.h5ad"
    query.touch()
    with pytest.raises(OutputError, match=r"query\.celljury\.h5ad, which this command reads, lies in it"):
        make_folder(path, owned="run.json", overwrite=True, inputs=[object(), str(query) if as_text else query])
    assert query.exists()
    outside = tmp_path / "query.h5ad"
    make_folder(path, owned="run.json", overwrite=True, inputs=[outside, None])
    assert not query.exists()


# Files --------------------------------------------------------------------------------------------------------------


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "queue.tsv"
    write_text(path, "the one before\n")

    def half(self: Path, text: str, **_: Any) -> int:
        with self.open("w", encoding="utf-8") as stream:
            stream.write(text[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "a new one\n")
    assert path.read_text(encoding="utf-8") == "the one before\n"


def test_json_keeps_letters_and_turns_paths_to_text(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"label": "Müller cell", "file": Path("q.h5ad"), "batches": ("a", "b")})
    assert "Müller" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "label": "Müller cell", "file": "q.h5ad", "batches": ["a", "b"],
    }  # fmt: skip


def test_sha256_of_a_file_is_the_known_one(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda f: (f / "a" / "x").write_bytes(b"2"), id="content"),
        pytest.param(lambda f: (f / "a" / "x").rename(f / "a" / "y"), id="name"),
        pytest.param(lambda f: (f / "new").touch(), id="new_file"),
    ],
)
def test_sha256_of_a_folder_changes_with_its_files(change: Callable[[Path], Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "x").write_bytes(b"1")
    assert sha256(tmp_path / "one") == sha256(tmp_path / "two")
    change(tmp_path / "two")
    assert sha256(tmp_path / "one") != sha256(tmp_path / "two")


# Records ------------------------------------------------------------------------------------------------------------


def test_versions_name_every_library_also_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celljury.provenance.RECORDED", ("numpy", "no-such-library"))
    found = versions()
    assert found["celljury"] == __version__
    assert found["numpy"] == version("numpy")
    assert found["no-such-library"] == "not installed"


def test_a_dataclass_becomes_a_dict_one_level_deep() -> None:
    votes = MemberVotes(np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    found = as_dict(votes)
    assert list(found) == ["mass", "strange", "signals"]
    assert found["mass"] is votes.mass


def test_time_and_costs_are_plain() -> None:
    assert now().endswith("+00:00")
    before = cpu_seconds()
    sum(i * i for i in range(300_000))
    assert cpu_seconds() >= before
    # A Python process with numpy takes tens of megabytes; kilobytes taken for megabytes would be tens of thousands.
    assert 20 < peak_memory_mb()["main"] < 20_000


def test_messages_are_logged_as_json_lines_while_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    logger = logging.getLogger("celljury.test")
    level = logging.getLogger("celljury").level
    with log_to(path):
        logger.info("%d genes are shared", 12)
        try:
            int("no number")
        except ValueError:
            logger.exception("failed")
    logger.warning("after the block")
    first, second = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (first["level"], first["from"], first["text"]) == ("info", "celljury.test", "12 genes are shared")
    assert "ValueError" in second["traceback"]
    assert logging.getLogger("celljury").level == level


def test_a_log_is_continued_by_a_resumed_run(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with log_to(tmp_path / "log.jsonl"):
            logging.getLogger("celljury").info(text)
    assert len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 2
