"""Users, their passwords, the limit on guesses, and sessions that end."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from celljury.errors import InputError
from celljury.review import accounts as module
from celljury.review.account_sessions import AccountSessions
from celljury.review.accounts import GUESSING, N_GUESSES, Accounts, LogIn
from celljury.review.database import Database
from celljury.review.schema import attempts, sessions, users

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0
WORD = "correct horse battery"
RIGHT, WRONG = LogIn(right=True), LogIn(right=False)


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    opened = Database.open(tmp_path / "log.sqlite" if sqlite else request.getfixturevalue("postgres_url"))
    with opened.writing("test") as connection:
        for table in (users, sessions, attempts):
            connection.execute(sa.delete(table))
    yield opened
    opened.close()


@pytest.fixture
def accounts(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    # The cost is a number in each stored hash; these tests need none.
    monkeypatch.setattr(module, "N", 16)
    monkeypatch.setattr(module, "_NOBODY", module._hashed(uuid.uuid4().hex))
    return Accounts(database, clock)


@pytest.fixture
def held(database: Database, clock: Clock) -> AccountSessions:
    return AccountSessions(database, clock)


# Users ------------------------------------------------------------------------------------------------------------


def test_user_logs_in_with_the_password_alone(accounts: Accounts) -> None:
    accounts.add_user("Ada", WORD)
    accounts.add_user("bob", "another phrase")
    assert accounts.names() == ("Ada", "bob")
    assert accounts.log_in("Ada", WORD) == RIGHT
    for name, password in [
        ("Ada", "another phrase"), ("Ada", ""), ("Ada", WORD + " "), ("bob", WORD), ("ada", WORD), ("eve", WORD), ("", ""),
    ]:  # fmt: skip
        assert accounts.log_in(name, password) == WRONG


def test_hash_is_salted_scrypt_and_the_password_nowhere(database: Database) -> None:
    accounts = Accounts(database)
    for name in ("ada", "bob"):
        accounts.add_user(name, WORD)
    with database.reading() as connection:
        one, other = connection.scalars(sa.select(users.c.password)).all()
    assert one.startswith(f"scrypt${2**14}$8$1$")
    assert one != other
    assert WORD not in one
    assert accounts.log_in("ada", WORD) == RIGHT


def test_letters_typed_in_another_way_are_the_same(accounts: Accounts) -> None:
    accounts.add_user("Ren\u00e9e", "na\u00efve passphrase")
    assert accounts.log_in("Rene\u0301e", "nai\u0308ve passphrase") == RIGHT
    accounts.set_password("Rene\u0301e", "another phrase")
    assert accounts.log_in("Ren\u00e9e", "another phrase") == RIGHT
    accounts.remove_user("Rene\u0301e")
    assert accounts.names() == ()


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("ADA", WORD, "there is a user 'ada' in .* already"),
        ("eve", "1234567", "a password must have 8-1,024 characters, got 7"),
        ("eve", "x" * 1025, "got 1,025"),
        ("e;ve", WORD, "cannot be a reviewer's name"),
        ("", WORD, "cannot be a reviewer's name"),
    ],
)
def test_user_that_cannot_be_is_refused(accounts: Accounts, name: str, password: str, said: str) -> None:
    accounts.add_user("ada", WORD)
    with pytest.raises(InputError, match=said) as caught:
        accounts.add_user(name, password)
    assert password not in str(caught.value)
    assert accounts.names() == ("ada",)


@pytest.mark.parametrize("name", ["\0", "\ud800", "' OR 1=1 --", "x" * 100_000])
def test_hostile_name_is_nobody(accounts: Accounts, name: str) -> None:
    accounts.add_user("ada", WORD)
    assert accounts.log_in(name, WORD) == WRONG
    assert accounts.log_in("ada", name) == WRONG
    assert accounts.log_in("ada", WORD) == RIGHT


def test_same_work_is_done_for_a_user_that_does_not_exist(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.add_user("ada", WORD)
    costs = []
    scrypt = module._scrypt

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        costs.append((len(password), len(salt), n, r, p))
        return scrypt(password, salt, n, r, p)

    monkeypatch.setattr(module, "_scrypt", counted)
    accounts.log_in("ada", "wrong password")
    accounts.log_in("eve", "wrong password")
    assert len(costs) == 2
    assert costs[0] == costs[1]


def test_new_password_ends_sessions_and_removal_too(accounts: Accounts, held: AccountSessions) -> None:
    accounts.add_user("ada", WORD)
    accounts.add_user("bob", WORD)
    ada, bob = held.begin("ada"), held.begin("bob")
    accounts.set_password("ada", "another phrase")
    assert (accounts.log_in("ada", WORD), accounts.log_in("ada", "another phrase")) == (WRONG, RIGHT)
    assert (held.reviewer_of(ada), held.reviewer_of(bob)) == (None, "bob")
    accounts.remove_user("bob")
    assert held.reviewer_of(bob) is None
    assert accounts.log_in("bob", WORD) == WRONG
    assert accounts.names() == ("ada",)


def test_change_of_a_user_that_is_not_there_is_refused(accounts: Accounts) -> None:
    accounts.add_user("ada", WORD)
    with pytest.raises(InputError, match=r"there is no user 'eve' in .* Known: ada"):
        accounts.set_password("eve", WORD)
    with pytest.raises(InputError, match="there is no user 'eve'"):
        accounts.remove_user("eve")


# Guesses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_after_wrong_guesses_the_next_must_wait(accounts: Accounts, clock: Clock, name: str) -> None:
    accounts.add_user("ada", WORD)
    accounts.add_user("bob", WORD)
    for _ in range(N_GUESSES):
        assert accounts.log_in(name, "wrong password") == WRONG
        clock.now += 10
    waits = GUESSING - 10 * N_GUESSES
    assert accounts.log_in(name, WORD) == LogIn(right=False, wait=waits)
    assert accounts.log_in("bob", WORD) == RIGHT
    clock.now += waits - 1
    assert accounts.log_in(name, WORD) == LogIn(right=False, wait=1.0)
    clock.now += 1
    assert accounts.log_in(name, WORD) == (RIGHT if name == "ada" else WRONG)


def test_right_password_forgets_wrong_guesses(accounts: Accounts) -> None:
    accounts.add_user("ada", WORD)
    for _ in range(3):
        for _ in range(N_GUESSES - 1):
            assert accounts.log_in("ada", "wrong password") == WRONG
        assert accounts.log_in("ada", WORD) == RIGHT


def test_many_guesses_at_once_are_no_way_around(accounts: Accounts) -> None:
    accounts.add_user("ada", WORD)
    found: list[LogIn] = []
    threads = [
        threading.Thread(target=lambda: found.append(accounts.log_in("ada", "wrong password"))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert sum(answer.wait == 0 for answer in found) == N_GUESSES


def test_typed_names_are_not_kept(accounts: Accounts, database: Database, clock: Clock) -> None:
    accounts.log_in("my-password-in-the-wrong-field", "x")
    with database.reading() as connection:
        (row,) = connection.execute(sa.select(attempts)).all()
    assert "my-password" not in repr(row)
    clock.now += GUESSING + 1
    accounts.log_in("eve", "x")
    with database.reading() as connection:
        assert len(connection.execute(sa.select(attempts)).all()) == 1


# Sessions ---------------------------------------------------------------------------------------------------------


def test_session_is_its_reviewers_until_it_ends(held: AccountSessions) -> None:
    one, other = held.begin("ada"), held.begin("ada")
    assert one != other
    assert len(one) >= 43  # 256 bits in base 64
    assert held.reviewer_of(one) == "ada"
    held.end(one)
    held.end(one)
    assert (held.reviewer_of(one), held.reviewer_of(other)) == (None, "ada")
    held.end_all("ada")
    assert held.reviewer_of(other) is None


@pytest.mark.parametrize("session_id", ["", "x", "\0", "\ud800", "x" * 100_000, "' OR 1=1 --"])
def test_unknown_session_is_nobodys(held: AccountSessions, session_id: str) -> None:
    held.begin("ada")
    assert held.reviewer_of(session_id) is None


def test_session_ends_after_two_idle_hours(held: AccountSessions, clock: Clock) -> None:
    session = held.begin("ada")
    for _ in range(3):
        clock.now += 2 * HOUR - 1
        assert held.reviewer_of(session) == "ada"
    clock.now += 2 * HOUR + 1
    assert held.reviewer_of(session) is None


def test_session_ends_after_twelve_hours_of_work(held: AccountSessions, clock: Clock) -> None:
    session = held.begin("ada")
    for _ in range(12):
        assert held.reviewer_of(session) == "ada"
        clock.now += HOUR
    assert held.reviewer_of(session) == "ada"
    clock.now += 1
    assert held.reviewer_of(session) is None


def test_only_hashes_are_kept_and_what_is_over_is_taken_out(
    held: AccountSessions, database: Database, clock: Clock
) -> None:
    session = held.begin("ada")
    with database.reading() as connection:
        assert session not in repr(connection.execute(sa.select(sessions)).all())
    clock.now += 3 * HOUR
    held.begin("bob")
    with database.reading() as connection:
        assert connection.scalars(sa.select(sessions.c.reviewer)).all() == ["bob"]


def test_session_is_known_to_another_server(held: AccountSessions, database: Database, clock: Clock) -> None:
    assert AccountSessions(database, clock).reviewer_of(held.begin("ada")) == "ada"
