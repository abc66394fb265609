"""Locks on items: one holder at a time, renewed by use, over by themselves."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest

from celljury.errors import InputError
from celljury.review.database import Database
from celljury.review.locks import Lock, Locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0  # 2026-01-01

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "log.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def locks(where: Path | str, clock: Clock) -> Iterator[Locks]:
    database = Database.open(where)
    yield Locks(database, uuid.uuid4().hex, clock)
    database.close()


def test_first_who_asks_holds_it(locks: Locks) -> None:
    mine = locks.take("i1", "ada")
    assert mine == Lock("i1", "ada", "2026-01-01T00:05:00+00:00")
    assert locks.take("i1", "bob") == mine
    other = locks.take("i2", "bob", seconds=60)
    assert locks.held() == (mine, other)


def test_holders_requests_renew_it(locks: Locks, clock: Clock) -> None:
    locks.take("i1", "ada")
    for _ in range(5):
        clock.now += 299
        assert locks.take("i1", "ada").reviewer == "ada"
    assert locks.take("i1", "bob").reviewer == "ada"


def test_lock_lasts_at_least_nine_tenths_of_its_time_from_any_request(locks: Locks, clock: Clock) -> None:
    """Requests that come by the second are not all written."""
    locks.take("i1", "ada")
    for _ in range(100):
        clock.now += 7
        locks.take("i1", "ada")
    clock.now += 269
    assert locks.take("i1", "bob").reviewer == "ada"


def test_lock_that_is_over_is_taken_over(locks: Locks, clock: Clock) -> None:
    locks.take("i1", "ada")
    clock.now += 301
    assert locks.held() == ()
    assert locks.take("i1", "bob").reviewer == "bob"
    assert locks.take("i1", "ada").reviewer == "bob"


def test_lock_is_let_go_by_its_holder_alone(locks: Locks) -> None:
    locks.take("i1", "ada")
    locks.release("i1", "bob")
    assert locks.take("i1", "bob").reviewer == "ada"
    locks.release("i1", "ada")
    locks.release("i1", "ada")
    assert locks.take("i1", "bob").reviewer == "bob"


def test_force_takes_it_from_its_holder(locks: Locks) -> None:
    locks.take("i1", "ada")
    assert locks.take("i1", "bob", force=True).reviewer == "bob"
    assert locks.take("i1", "ada").reviewer == "bob"


def test_runs_have_their_own_locks(locks: Locks, clock: Clock) -> None:
    locks.take("i1", "ada")
    other = Locks(locks.database, locks.run + "-other", clock)
    assert other.held() == ()
    assert other.take("i1", "bob").reviewer == "bob"


def test_nobody_holds_nothing(locks: Locks) -> None:
    with pytest.raises(InputError, match="cannot be a reviewer's name"):
        locks.take("i1", "")


def test_of_several_at_once_one_gets_it(locks: Locks, where: Path | str, clock: Clock) -> None:
    """Of four reviewers with connections of their own, on locks that are free and that are over."""
    for i in range(5):
        locks.take(f"over{i}", "eve")
    clock.now += 301
    items = [*(f"free{i}" for i in range(5)), *(f"over{i}" for i in range(5))]
    found: dict[str, list[str]] = {item: [] for item in items}
    gate = threading.Barrier(4)

    def ask(who: str) -> None:
        database = Database.open(where)
        for item in items:
            gate.wait(timeout=30)
            found[item].append(Locks(database, locks.run, clock).take(item, who).reviewer)
        database.close()

    threads = [threading.Thread(target=ask, args=(who,)) for who in ("ada", "bob", "cy", "di")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(answers) == 4 for answers in found.values())
    assert all(len(set(answers)) == 1 for answers in found.values())
    assert {lock.item_id: lock.reviewer for lock in locks.held()} == {item: found[item][0] for item in items}
