"""`celljury review` and `celljury apply` on the real command line, without a browser: sheets, users, errors."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pandas as pd
import pytest
from review_pack import made_run

from celljury.cli_review import apply
from celljury.errors import InputError
from celljury.review import errands
from celljury.review.decisions import Draft, new_key
from celljury.review.events import Action
from celljury.review.pack import Pack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLI = (sys.executable, "-c", "from celljury.cli import main; main()")
ENV = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


@dataclass(frozen=True)
class Outcome:
    """Exit status and the text of both streams."""

    status: int
    out: str
    err: str


def celljury(*arguments: object, cwd: Path, typed: str = "") -> Outcome:
    done = subprocess.run(
        [*CLI, *map(str, arguments)], cwd=cwd, env=ENV, input=typed, capture_output=True, text=True, encoding="utf-8",
        timeout=120, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    made_run(folder, n_cells=2000, n_items=30, n_review=200, n_genes=20, n_terms=20, n_samples=3)
    return folder


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "run")
    return tmp_path


def filled(home: Path, fill: Callable[[int, dict[str, str]], str]) -> list[dict[str, str]]:
    """Export the queue, fill ``decision``, write it as ``filled.tsv`` and return its rows."""
    assert celljury("review", "run", "--export", "sheet.tsv", cwd=home).status == 0
    with (home / "sheet.tsv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for i, row in enumerate(rows):
        row["decision"] = fill(i, row)
    with (home / "filled.tsv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_sheet_goes_out_and_in_and_into_the_run(home: Path) -> None:
    rows = filled(home, lambda i, _: "accept" if i < 3 else "unseen" if i == 3 else "")
    assert len(rows) == 30
    done = celljury("review", "run", "--import", "filled.tsv", "--as", "mk", cwd=home)
    assert (done.status, done.out) == (
        0, "4 decisions and notes in filled.tsv. Put them into the run with: celljury apply run\n"
    )  # fmt: skip
    again = celljury("review", "run", "--import", "filled.tsv", "--as", "mk", cwd=home)
    assert "4 decisions and notes in filled.tsv, 4 of them known already." in again.out
    applied = celljury("apply", "run", "--json", cwd=home)
    assert applied.status == 0, applied.err
    told = json.loads(applied.out)
    assert told["items"]["decided"] == 4
    assert told["n_events"] == 4
    final = pd.read_parquet(home / "run" / "final.parquet")
    assert len(final) == 2000
    n_decided = sum(int(row["n_cells"]) for row in rows[:4])
    assert (final["source"] == "curator").sum() == told["cells"]["decided"] == n_decided
    assert set(final.loc[final["item_id"] == rows[3]["item_id"], "status"]) == {"unseen"}
    assert set(final.loc[final["source"] == "curator", "reviewers"]) == {"mk"}
    words = celljury("apply", "run", cwd=home).out
    assert "4 items" in words
    assert "final.parquet" in words


def test_a_sheet_with_a_fault_imports_nothing_and_says_where(home: Path) -> None:
    filled(home, lambda i, _: "accept" if i < 3 else "nonsense" if i == 3 else "")
    done = celljury("review", "run", "--import", "filled.tsv", cwd=home)
    assert (done.status, done.out) == (1, "")
    assert "row 5, decision: got 'nonsense'" in done.err
    assert "nothing was imported" in done.err
    assert json.loads(celljury("apply", "run", "--json", cwd=home).out)["n_events"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("review", "nowhere"), "nowhere holds no finished run", id="review_of_no_run"),
        pytest.param(("apply", "nowhere"), "nowhere holds no finished run", id="apply_to_no_run"),
        pytest.param(("apply", "run"), "decisions.sqlite", id="nothing_decided"),
        pytest.param(("review", "run", "--import", "none.tsv"), "none.tsv cannot be read", id="no_sheet"),
        pytest.param(("review", "run", "--export", "no/sheet.tsv"), "cannot write to no/sheet.tsv", id="no_place"),
        pytest.param(("review", "run", "--host", "0.0.0.0", "--no-browser"), "no user is known", id="open_to_all"),
        pytest.param(("review", "run", "--database", "oracle://x", "--log-name", "r"), "oracle", id="unknown_database"),
        pytest.param(("review", "run", "--add-user", "mk"), "password", id="empty_password"),
        pytest.param(("review", "run", "--set-password", "mk"), "password", id="empty_new_password"),
        pytest.param(("review", "run", "--remove-user", "mk"), "there is no user 'mk'", id="no_such_user"),
        pytest.param(
            ("review", "run", "--database", "sqlite:///t.db"), "--log-name run-", id="review_without_a_log_name"
        ),
        pytest.param(
            ("review", "run", "--database", "sqlite:///t.db", "--export", "a.tsv"),
            "--log-name run-",
            id="export_without_a_log_name",
        ),
        pytest.param(
            ("review", "run", "--database", "sqlite:///t.db", "--add-user", "mk"),
            "--log-name run-",
            id="user_without_a_log_name",
        ),
        pytest.param(
            ("apply", "run", "--database", "sqlite:///t.db"), "--log-name run-", id="apply_without_a_log_name"
        ),
        pytest.param(("review", "run", "--port", "99999", "--no-browser"), "port 99999 is none", id="no_such_port"),
    ],
)
def test_one_clear_error(home: Path, arguments: tuple[str, ...], said: str) -> None:
    def state() -> dict[str, str]:
        files = (p for p in (home / "run").rglob("*") if p.is_file() and not p.name.startswith("decisions.sqlite"))
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = state()
    done = celljury(*arguments, cwd=home)
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.status == 1
    assert said in line
    assert "Traceback" not in done.err
    assert state() == before


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("review", "run", "--export", "a", "--import", "b"), id="two_errands"),
        pytest.param(("review", "run", "--remove-user", "a", "--set-password", "a"), id="two_errands_on_users"),
        pytest.param(("apply", "run", "--jury", "jury"), id="a_jury_for_nothing"),
        pytest.param(("apply", "run", "--log-name", "blood"), id="apply_a_log_of_no_database"),
        pytest.param(("review", "run", "--log-name", "blood"), id="a_log_of_no_database"),
        pytest.param(("review", "run", "--log-name", "blood", "--export", "a"), id="export_a_log_of_no_database"),
        pytest.param(("review", "run", "--export", "a", "--host", "127.0.0.1"), id="host_for_a_sheet"),
        pytest.param(("review", "run", "--export", "a", "--as", "mk"), id="reviewer_for_a_sheet_that_goes_out"),
        pytest.param(("review", "run", "--import", "a", "--blind"), id="blind_for_a_sheet"),
        pytest.param(("review", "run", "--import", "a", "--port", "8765"), id="port_for_a_sheet"),
        pytest.param(("review", "run", "--add-user", "mk", "--name", "x"), id="name_of_a_host_for_a_user"),
        pytest.param(("review", "run", "--remove-user", "mk", "--no-browser"), id="browser_for_a_user"),
    ],
)
def test_options_that_have_no_effect_together_are_wrong_usage(home: Path, arguments: tuple[str, ...]) -> None:
    done = celljury(*arguments, cwd=home)
    assert (done.status, done.out) == (2, "")
    assert "Usage: " in done.err
    assert not (home / "run" / "review" / "decisions.sqlite").exists()


def test_a_user_is_added_once_and_lets_others_in(home: Path) -> None:
    added = celljury("review", "run", "--add-user", "mk", cwd=home, typed="a long enough password\n")
    assert (added.status, added.out.split(".")[0]) == (0, "mk can log in now")
    again = celljury("review", "run", "--add-user", "mk", cwd=home, typed="another password here\n")
    assert again.status == 1
    assert "there is a user 'mk'" in again.err


def test_a_user_gets_another_password_and_is_let_in_no_longer(home: Path) -> None:
    celljury("review", "run", "--add-user", "mk", cwd=home, typed="a long enough password\n")
    celljury("review", "run", "--add-user", "ann", cwd=home, typed="a long enough password\n")
    changed = celljury("review", "run", "--set-password", "mk", cwd=home, typed="another password here\n")
    assert (changed.status, changed.out) == (0, "mk has another password now, and must log in again.\n")
    with errands.accounts_of(home / "run") as accounts:
        assert not accounts.log_in("mk", "a long enough password").right
        assert accounts.log_in("mk", "another password here").right
    removed = celljury("review", "run", "--remove-user", "mk", cwd=home)
    assert (removed.status, removed.out) == (
        0, "mk can no longer log in; decisions stay. Who still can: ann.\n"
    )  # fmt: skip
    with errands.accounts_of(home / "run") as accounts:
        assert accounts.names() == ("ann",)


def test_a_team_s_log_goes_by_its_name(home: Path) -> None:
    filled(home, lambda i, _: "accept" if i < 2 else "")
    team = ("--database", f"sqlite:///{home / 'team.sqlite'}", "--log-name")
    assert celljury("review", "run", "--import", "filled.tsv", *team, "blood", cwd=home).status == 0
    wrong = celljury("apply", "run", *team, "lung", cwd=home)
    assert wrong.status == 1
    assert "holds no decision under the log name 'lung'. It has: 'blood' (2 events)." in wrong.err
    assert not (home / "run" / "final.parquet").exists()
    applied = celljury("apply", "run", *team, "blood", "--json", cwd=home)
    assert json.loads(applied.out)["n_events"] == 2
    assert not (home / "run" / "review" / "decisions.sqlite").exists()


def test_a_sheet_goes_out_of_a_run_that_cannot_be_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home / "run"
    pack = Pack.open(run)
    item = next(item for item in pack.items["item_id"] if "cluster" in pack.splits(item))

    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for n_rows in (30, 31):  # without a log, and with one that holds a split
        before = state()
        with monkeypatch.context() as patch:
            patch.setattr("celljury.review.database.prepare", refuse)
            patch.setattr("os.access", lambda *_: False)
            assert errands.write_sheet(run, home / "sheet.tsv") == n_rows
        assert state() == before
        with errands.open_decisions(run) as decisions:
            decisions.append([Draft(new_key(), "mk", item, Action.SPLIT, pack.evidence[item], by="cluster")])


# A new jury -----------------------------------------------------------------------------------------------------------


def test_a_new_jury_of_a_run_without_one_is_refused_before_decisions_are_applied(home: Path) -> None:
    filled(home, lambda i, _: "accept" if i == 0 else "")
    celljury("review", "run", "--import", "filled.tsv", cwd=home)
    done = celljury("apply", "run", "--new-jury", "new", "--json", cwd=home)
    assert (done.status, done.out) == (1, "")
    assert not (home / "run" / "final.parquet").exists()
    assert not (home / "new").exists()
    assert done.err.count("error: ") == 1
    assert "(celljury vote)" in done.err


@pytest.mark.parametrize("as_json", [pytest.param(True, id="json"), pytest.param(False, id="words")])
def test_what_was_applied_is_told_also_where_nothing_teaches_a_jury(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Only the end is ours to see: the jury is found fit before, and what was decided proves to teach nothing."""
    filled(home, lambda i, _: "unseen" if i == 0 else "")
    celljury("review", "run", "--import", "filled.tsv", cwd=home)
    monkeypatch.setattr(
        "celljury.review.learn.check_update", lambda run, *_: SimpleNamespace(folder=run.folder / "jury")
    )

    def refuse(*_: object) -> None:
        message = "nothing can teach a jury yet"
        raise InputError(message)

    monkeypatch.setattr("celljury.review.learn.updated_jury", refuse)
    with pytest.raises(SystemExit, match="1"):
        apply(home / "run", new_jury=home / "new", as_json=as_json)
    said = capsys.readouterr()
    assert "error: nothing can teach a jury yet" in said.err
    assert (home / "run" / "final.parquet").is_file()
    if as_json:
        told = json.loads(said.out)
        assert (told["n_events"], told["new_jury"]) == (1, None)
    else:
        assert "final.parquet" in said.out


def test_the_server_says_where_it_is_and_ends_on_an_interrupt(home: Path) -> None:
    command = [*CLI, "review", "run", "--no-browser", "--port", "0", "--as", "mk"]
    with subprocess.Popen(
        command, cwd=home, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            first = server.stdout.readline()
            assert first.startswith("Review run at: http://127.0.0.1:")
            assert "?token=" in first
            # Where tests run in the background, interrupts are ignored until the server takes them: it does once it answers.
            assert httpx.get(first.split()[-1], timeout=60).status_code == 303
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert server.returncode == 0, err
    assert "celljury apply run" in out
    assert "Traceback" not in err


def test_what_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "find_spec", lambda name: None if name in ("uvicorn", "starlette") else object())
    with pytest.raises(ImportError, match=r"needs starlette, uvicorn. Install: pip install 'celljury\[review\]'"):
        errands.check_installed()
