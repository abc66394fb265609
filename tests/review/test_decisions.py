"""The log in a database: nothing lost, nothing doubled, nothing changed; what cannot be opened says so."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from celljury import __version__
from celljury.errors import InputError, MemberUnavailableError, OutputError, UnreadableFileError
from celljury.review.decisions import Decisions, Draft, new_key
from celljury.review.ledger import Action, Outcome, replay

if TYPE_CHECKING:
    from collections.abc import Iterator

T, B = Outcome("T:2", "resolved"), Outcome("T:5", "unseen")


def draft(who: str = "ada", item: str = "i1", key: str = "", **more: Any) -> Draft:
    action = more.pop("action", Action.ACCEPT)
    more.setdefault("after", T if action is Action.ACCEPT else None)
    return Draft(key or new_key(), who, item, action, more.pop("evidence", "e1"), **more)


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A place for decisions, in both kinds of database."""
    return tmp_path / "decisions.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def run() -> str:
    """A run that no other test writes to."""
    return uuid.uuid4().hex


@pytest.fixture
def decisions(where: Path | str, run: str) -> Iterator[Decisions]:
    with Decisions.open(where, run=run) as opened:
        yield opened


# Append and read --------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_back(decisions: Decisions, where: Path | str) -> None:
    drafts = [
        draft(note="\"; DROP TABLE celljury_events; -- ' 100 % {} :x ünï ☃\n\tline two", before=B, group="g"),
        draft("Grace Hopper", "i2", action=Action.SPLIT, by="cluster"),
        draft("Grace Hopper", "i2~cluster~0", action=Action.UNSEEN, after=Outcome("", "unseen")),
        draft(action=Action.SKIP),
    ]
    first = decisions.append(drafts[:1])
    events = first + decisions.append(drafts[1:])
    undo = decisions.append([draft(action=Action.UNDO, undoes=1)])
    assert [event.number for event in events + undo] == [1, 2, 3, 4, 5]
    for asked, event in zip(drafts, events, strict=True):
        assert event.version == __version__
        assert all(getattr(event, name) == getattr(asked, name) for name in Draft.__slots__)
    with Decisions.open(where, run=decisions.run, read_only=True) as again:
        assert again.events() == events + undo
        assert again.events(after=4) == undo
        assert again.events(after=5) == ()
    times = [event.at for event in events + undo]
    assert times == sorted(times)
    assert all(len(at) == len("2026-01-01T00:00:00.000+00:00") and at.endswith("+00:00") for at in times)
    assert decisions.append([]) == ()


def test_runs_of_one_database_do_not_see_each_other(decisions: Decisions, where: Path | str) -> None:
    decisions.append([draft(key="k"), draft()])
    with Decisions.open(where, run=decisions.run + "-other") as other:
        assert other.events() == ()
        (event,) = other.append([draft("bob", key="k")])
        assert (event.number, event.reviewer) == (1, "bob")
    assert len(decisions.events()) == 2


def test_same_key_again_is_the_same_event(decisions: Decisions) -> None:
    first = decisions.append([draft(key="a"), draft(key="b")])
    again = decisions.append([draft(key="b", item="i9"), draft(key="c"), draft(key="c"), draft(key="a")])
    assert (again[0], again[3]) == (first[1], first[0])
    assert again[1] == again[2]
    assert [event.key for event in decisions.events()] == ["a", "b", "c"]


def test_many_drafts_at_once_are_one_transaction(decisions: Decisions) -> None:
    drafts = [draft(item=f"i{i}", key=f"k{i}", group="family") for i in range(1_200)]
    decisions.append(drafts[:700])
    assert [event.number for event in decisions.append(drafts)] == list(range(1, 1_201))
    assert len(decisions.events()) == 1_200


def test_key_of_another_reviewer_is_refused_and_nothing_written(decisions: Decisions) -> None:
    decisions.append([draft(key="a")])
    with pytest.raises(InputError, match="the key 'a' of 'bob' is in the log of another reviewer"):
        decisions.append([draft("bob"), draft("bob", key="a")])
    assert len(decisions.events()) == 1


@pytest.mark.parametrize(("undoes", "got"), [(1, "one of another reviewer"), (7, "none with this number")])
def test_undo_of_what_is_not_ones_own_is_refused(decisions: Decisions, undoes: int, got: str) -> None:
    decisions.append([draft("ada")])
    with pytest.raises(InputError, match=f"'bob' cannot undo event {undoes}: expected one of their own.*got {got}"):
        decisions.append([draft("bob"), draft("bob", action=Action.UNDO, undoes=undoes)])
    assert len(decisions.events()) == 1


def test_logs_of_a_database_are_counted_by_name(decisions: Decisions, where: Path | str) -> None:
    assert decisions.run not in decisions.logs()
    decisions.append([draft(), draft()])
    with Decisions.open(where, run=decisions.run + "-other") as other:
        other.append([draft()])
        found = other.logs()
    assert (found[decisions.run], found[other.run]) == (2, 1)
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    "change", [pytest.param("action = 'merge'", id="action"), pytest.param("after_status = 'maybe'", id="outcome")]
)
def test_event_that_means_nothing_here_is_said(tmp_path: Path, change: str) -> None:
    path = tmp_path / "log.sqlite"
    with Decisions.open(path) as decisions:
        decisions.append([draft(), draft()])
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER celljury_events_no_update")
        connection.execute(f"UPDATE celljury_events SET {change} WHERE number = 2")
    connection.close()
    said = f"event 2 in .*log.sqlite, written by celljury {__version__}, cannot be read: .*(merge|maybe).*Update: pip install"
    with Decisions.open(path) as decisions, pytest.raises(UnreadableFileError, match=said):
        decisions.events()


CHANGES = {
    "update": "UPDATE celljury_events SET note = 'never said'",
    "delete": "DELETE FROM celljury_events",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_log_is_append_only(decisions: Decisions, change: str) -> None:
    before = decisions.append([draft(), draft("bob")])
    with pytest.raises(OutputError, match="append-only"), decisions.database.writing("test") as connection:
        connection.exec_driver_sql(change)
    assert decisions.events() == before


def test_sqlite_replace_does_not_get_round_it(tmp_path: Path) -> None:
    """REPLACE deletes rows without firing the triggers on deletes."""
    with Decisions.open(tmp_path / "log.sqlite") as decisions:
        before = decisions.append([draft(key="a"), draft(key="b")])
        for number, key in [(1, "z"), (3, "a"), (5, "z")]:
            with pytest.raises(OutputError, match="append-only"), decisions.database.writing("test") as connection:
                connection.exec_driver_sql(
                    "INSERT OR REPLACE INTO celljury_events SELECT run, ?, ?, at, reviewer, item_id, action, before_term,"
                    ' before_status, after_term, after_status, note, evidence, version, undoes, "group", "by"'
                    " FROM celljury_events WHERE number = 2",
                    (number, key),
                )
        assert decisions.events() == before


def test_postgres_truncate_is_refused(postgres_url: str, run: str) -> None:
    with Decisions.open(postgres_url, run=run) as decisions:
        before = decisions.append([draft()])
        with pytest.raises(OutputError, match="append-only"), decisions.database.writing("test") as connection:
            connection.exec_driver_sql("TRUNCATE celljury_events")
        assert decisions.events() == before


def test_sqlite_is_on_the_disk_before_it_answers(tmp_path: Path) -> None:
    with Decisions.open(tmp_path / "log.sqlite") as decisions, decisions.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


# Drafts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"note": "x" * 4_001}, "note must have 0-4,000 characters, got 4,001"),
        ({"who": "x" * 65}, r"'x{20}'\.\.\. \(65 characters\) cannot be a reviewer's name"),
        ({"who": " "}, "' ' cannot be a reviewer's name: expected 1-64 printable"),
        ({"who": "a;b"}, "without semicolons"),
        ({"who": "a\nb"}, "printable"),
        ({"item": ""}, "item_id must have 1-512 characters, got 0"),
        ({"key": "k" * 129}, "key must have 1-128 characters, got 129"),
        ({"note": "a\0b"}, r"note holds a character that is no text \(NUL"),
        ({"note": "\ud800"}, "note holds a character that is no text"),
        ({"after": None}, "accept of item i1 must be given 'after'"),
        ({"action": Action.SKIP, "after": T}, "skip of item i1 takes no 'after'"),
        ({"action": Action.SPLIT}, "split of item i1 must be given 'by'"),
        ({"action": Action.UNDO}, "undo of item i1 must be given 'undoes'"),
        ({"undoes": 3}, "accept of item i1 takes no 'undoes', got 3"),
        ({"after": Outcome("T" * 129, "resolved")}, "term must have 0-128 characters"),
    ],
)
def test_draft_that_does_not_fit_is_refused_not_cut(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        draft(**fields)


def test_longest_that_fits(decisions: Decisions) -> None:
    (event,) = decisions.append([draft("é" * 64, "i" * 512, "k" * 128, note="☃" * 4_000)])
    assert decisions.events() == (event,)


# Two at once ------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from celljury.review.decisions import Decisions, Draft
from celljury.review.ledger import Action, Outcome

where, run, who, n = sys.argv[1:]
if "://" not in where:
    from pathlib import Path
    where = Path(where)
with Decisions.open(where, run=run) as decisions:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(int(n)):
        key = f"{who}-{i}"
        decisions.append([Draft(key, who, f"item{i}", Action.ACCEPT, "e", after=Outcome("T:2", "resolved"))])
        print(key, flush=True)
"""


def writer(where: Path | str, run: str, who: str, n: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(where), run, who, str(n)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def test_two_processes_that_write_at_once_lose_nothing(where: Path | str, run: str) -> None:
    """1,000 single decisions each; both also open, and on a new file make, the database at once."""
    writers = [writer(where, run, who, 1_000) for who in ("ada", "bob")]
    for process in writers:
        begin(process)
    for process in writers:
        process.communicate()
        assert process.returncode == 0
    with Decisions.open(where, run=run) as decisions:
        events = decisions.events()
    assert [event.number for event in events] == list(range(1, 2_001))
    for who in ("ada", "bob"):
        assert [event.key for event in events if event.reviewer == who] == [f"{who}-{i}" for i in range(1_000)]
    turns = sum(a.reviewer != b.reviewer for a, b in pairwise(events))
    print("TURNS", turns)
    assert turns > 1, "they did not write at once"


def test_numbers_are_seen_in_order_while_two_write(where: Path | str, run: str) -> None:
    """A reader that goes on from the last number it saw misses nothing."""
    with Decisions.open(where, run=run) as decisions:
        ledger = replay((), {})
        writers = [writer(where, run, who, 150) for who in ("ada", "bob")]
        for process in writers:
            begin(process)
        while ledger.last < 300:
            writing = any(process.poll() is None for process in writers)
            new = decisions.events(after=ledger.last)
            assert new or writing, f"the numbers end at {ledger.last}"
            assert [event.number for event in new] == list(range(ledger.last + 1, ledger.last + len(new) + 1))
            ledger = ledger.after(new)
        for process in writers:
            process.communicate()


def test_killed_writer_loses_nothing_that_it_was_told_is_written(tmp_path: Path) -> None:
    chance, path = random.Random(4), tmp_path / "log.sqlite"
    told: list[str] = []
    for i in range(8):
        process = writer(path, "", f"w{i}", 100_000)
        begin(process)
        assert process.stdout is not None
        told += [process.stdout.readline().strip() for _ in range(chance.randrange(1, 60))]
        process.send_signal(signal.SIGKILL)
        # A line that the kill cut short was told to nobody.
        told += [line for line in process.communicate()[0].split("\n")[:-1] if line]
    with Decisions.open(path) as decisions:
        events = decisions.events()
        with decisions.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert set(told) <= {event.key for event in events}
    assert len(events) - len(told) <= 8, "more than the one in the air was written untold"


# Opening ----------------------------------------------------------------------------------------------------------


def test_url_of_sqlite_is_a_path(tmp_path: Path) -> None:
    with Decisions.open(f"sqlite:///{tmp_path}/log.sqlite") as decisions:
        decisions.append([draft()])
    with Decisions.open(str(tmp_path / "log.sqlite")) as decisions:
        assert len(decisions.events()) == 1


def test_folder_is_made_and_strange_names_work(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a #b?mode=ro %41é.sqlite"
    with Decisions.open(path) as decisions:
        decisions.append([draft()])
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_several_that_make_the_file_at_once_make_one(tmp_path: Path) -> None:
    gate = threading.Barrier(6)

    def make(i: int) -> int:
        gate.wait(timeout=30)
        with Decisions.open(tmp_path / "log.sqlite") as decisions:
            return decisions.append([draft(key=f"k{i}")])[0].number

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(make, range(6))) == [1, 2, 3, 4, 5, 6]


def test_file_that_another_makes_at_this_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, other.rollback)
    timer.start()
    with Decisions.open(path) as decisions:
        assert len(decisions.append([draft()])) == 1
    timer.join()
    other.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_new_file_is_its_owners_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "log.sqlite"
    before = os.umask(umask)
    try:
        with Decisions.open(path) as decisions:
            decisions.append([draft()])
            modes = {item.name: item.stat().st_mode & 0o777 for item in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"log.sqlite": 0o600, "log.sqlite-shm": 0o600, "log.sqlite-wal": 0o600}
    path.chmod(0o660)
    Decisions.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o660


def test_reading_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with pytest.raises(UnreadableFileError, match=r"log\.sqlite holds no log: nothing was decided yet"):
        Decisions.open(path, read_only=True)
    assert list(tmp_path.iterdir()) == []
    with Decisions.open(path) as decisions:
        decisions.append([draft()])
    with Decisions.open(path, read_only=True) as decisions:
        assert len(decisions.events()) == 1
        with pytest.raises(OutputError, match=r"log.sqlite cannot be written, and nothing was: .*readonly"):
            decisions.append([draft()])
    assert list(tmp_path.iterdir()) == [path]


def test_file_where_nothing_can_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.sqlite"
    with Decisions.open(path) as decisions:
        decisions.append([draft()])
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Decisions.open(path, read_only=True) as decisions:
        assert len(decisions.events()) == 1
        assert list(tmp_path.iterdir()) == [path]


def test_reader_sees_what_is_written_meanwhile(decisions: Decisions, where: Path | str) -> None:
    decisions.append([draft()])
    with Decisions.open(where, run=decisions.run, read_only=True) as reader:
        assert len(reader.events()) == 1
        decisions.append([draft()])
        assert len(reader.events(after=1)) == 1


def write_garbage(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 500)


def write_damaged(path: Path) -> None:
    with Decisions.open(path) as decisions:
        decisions.append([draft(item=f"i{i}", note="x" * 400) for i in range(200)])
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)


def write_cut(path: Path) -> None:
    with Decisions.open(path) as decisions:
        decisions.append([draft(item=f"i{i}", note="x" * 400) for i in range(200)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


@pytest.mark.parametrize("read_only", [False, True], ids=["write", "read"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (write_garbage, "is no SQLite database or a damaged one .file is not a database."),
        (write_damaged, "is no SQLite database or a damaged one"),
        (write_cut, "is no SQLite database or a damaged one"),
        (write_foreign, r"is a database of something else \(tables bookmarks\)"),
    ],
)
def test_file_that_is_no_log_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Any, said: str, *, read_only: bool
) -> None:
    path = tmp_path / "log.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(UnreadableFileError, match=said) as caught:
        Decisions.open(path, read_only=read_only)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    Decisions.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE celljury_format SET format = 2")
    connection.close()
    with pytest.raises(InputError, match=r"has format 2, expected 1: .* pip install --upgrade celljury"):
        Decisions.open(path)


def test_newer_format_is_refused_in_postgres(postgres_url: str, run: str) -> None:
    with Decisions.open(postgres_url, run=run) as decisions:
        set_format = sa.text("UPDATE celljury_format SET format = :format")
        with decisions.database.writing("test") as connection:
            connection.execute(set_format, {"format": 2})
        try:
            with pytest.raises(InputError, match="has format 2, expected 1"):
                Decisions.open(postgres_url, run=run)
        finally:
            with decisions.database.writing("test") as connection:
                connection.execute(set_format, {"format": 1})


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, said in [
        (
            tmp_path / "file" / "log.sqlite",
            "cannot write decisions to .*file/log.sqlite: (Not a directory|File exists)",
        ),
        (tmp_path, "cannot write decisions to .*: it is a directory"),
        (
            Path("/proc/celljury.sqlite"),
            "cannot write decisions to /proc/celljury.sqlite: No such file or directory",
        ),
    ]:
        with pytest.raises(OutputError, match=said):
            Decisions.open(path)


def test_full_disk_is_said_and_the_log_goes_on(tmp_path: Path) -> None:
    with Decisions.open(tmp_path / "log.sqlite") as decisions:
        before = decisions.append([draft()])
        with decisions.database.reading() as connection:
            n_pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {n_pages}")
        with pytest.raises(OutputError, match=r"log.sqlite cannot be written, and nothing was: .*full"):
            decisions.append([draft(note="x" * 4_000) for _ in range(20)])
        assert decisions.events() == before
        with decisions.database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert len(decisions.append([draft()])) == 1


# URLs -------------------------------------------------------------------------------------------------------------

SECRET = "s3cret-passphrase"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param(
            f"postgresql://ada:{SECRET}@127.0.0.1:1/review", "postgresql://ada@127.0.0.1:1/review does not answer: .*refused",
            id="nobody_listens",
        ),
        pytest.param(
            f"postgres://ada@127.0.0.1:1/review?password={SECRET}", "postgresql://ada@127.0.0.1:1/review does not answer",
            id="password_in_the_query",
        ),
        pytest.param(f"postgresql://ada:{SECRET}@127.0.0.1:port/review", "URL cannot be read", id="port_is_no_number"),
        pytest.param(f"postgresql://ada:0:{SECRET}/x", "(does not answer|URL cannot be read)", id="unescaped"),
        pytest.param(f"postgresql://ada:{SECRET}@/x?host=/nowhere&sslmode={SECRET}", "does not answer", id="bad_option"),
        pytest.param(f"mysql://ada:{SECRET}@127.0.0.1/x", "kind 'mysql' cannot hold decisions", id="other_kind"),
        *(
            pytest.param(url.format(SECRET), "database URL cannot be read.*%40 %2F", id=name)
            for name, url in {
                "at_in_the_password": "postgresql://ada:x@{}@127.0.0.1:1/x",
                "at_and_slash": "postgresql://ada:x@y/{}@127.0.0.1:1/x",
                "at_and_colon": "postgresql://ada:x@y:{}@127.0.0.1:1/x",
                "at_and_question_mark": "postgresql://ada:x@{}?y@127.0.0.1:1/x",
                "slash_in_the_user": "postgresql://a/da:{}@127.0.0.1:1/x",
            }.items()
        ),
        pytest.param("sqlite://", "kind 'sqlite' cannot hold decisions.*path", id="memory"),
    ],
)  # fmt: skip
def test_url_that_does_not_work_is_said_without_the_password(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Decisions.open(url)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = None if shown.__suppress_context__ else shown.__cause__ or shown.__context__


def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celljury.review.database_server.find_spec", lambda _: None)
    with pytest.raises(MemberUnavailableError, match=r"needs psycopg. Install: pip install 'celljury\[postgres\]'"):
        Decisions.open("postgresql://ada@127.0.0.1:1/review")


def test_wrong_password_and_missing_database_are_said(postgres_url: str) -> None:
    url = sa.make_url(postgres_url).set(database="no_such_database", password=SECRET)
    with pytest.raises(InputError, match=r'does not answer: .*"no_such_database" does not exist') as caught:
        Decisions.open(url.render_as_string(hide_password=False))
    assert SECRET not in str(caught.value)


def test_reading_an_empty_postgres_makes_no_table(postgres_url: str) -> None:
    name = f"empty_{uuid.uuid4().hex}"
    admin = sa.create_engine(
        sa.make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        url = sa.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        try:
            with pytest.raises(UnreadableFileError, match="holds no log: nothing was decided yet"):
                Decisions.open(url, read_only=True)
            Decisions.open(url).close()
            with Decisions.open(url, read_only=True) as decisions:
                assert decisions.events() == ()
                with pytest.raises(OutputError, match="read-only"):
                    decisions.append([draft()])
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name}")
    admin.dispose()


def test_postgres_that_was_away_is_found_again(postgres_url: str, run: str) -> None:
    """Connections that the server closed are made anew."""
    with Decisions.open(postgres_url, run=run) as decisions, Decisions.open(postgres_url, run=run) as other:
        with decisions.database.reading() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with other.database.reading() as connection:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        assert len(decisions.append([draft()])) == 1
