"""What the review's commands do without a browser: a sheet out or in, users, which log, and what they need installed."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from celljury.errors import MemberUnavailableError
from celljury.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celljury.progress import Progress
    from celljury.review.accounts import Accounts
    from celljury.review.decisions import Decisions

LIBRARIES: Final = ("sqlalchemy", "starlette", "jinja2", "uvicorn")


def check_installed() -> None:
    """Raise MemberUnavailableError where the libraries of the review are not installed."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        message = f"the review needs {', '.join(missing)}. Install: pip install 'celljury[review]'"
        raise MemberUnavailableError(message)


def open_decisions(
    run_folder: Path, *, database: str | None = None, log_name: str = "", read_only: bool = False
) -> Decisions:
    """Return the log of a run's decisions: its own file, or that of this run in a database for teams.

    Parameters
    ----------
    database
        A database URL; None = ``review/decisions.sqlite`` in the run's folder, made when missing.
    log_name
        The run's name in that database; needed where one is named.
    read_only
        Make nothing, write nothing; raises NothingDecidedError where there is no log.
    """
    from celljury.review.decisions import Decisions
    from celljury.review.log_place import log_of

    where, log = log_of(run_folder, database=database, log_name=log_name)
    return Decisions.open(where, run=log, read_only=read_only)


def log_to_apply(run_folder: Path, *, database: str | None = None, log_name: str = "") -> str:
    """Return the name of the log whose decisions go into a run, "" in a file of its own.

    Raises
    ------
    LogNameError
        If a database is named and no log in it, or one of this name is not there while others are.
    UnreadableFileError
        If there is no log, or it cannot be read.
    """
    from celljury.review.log_place import LogNameError

    with open_decisions(run_folder, database=database, log_name=log_name, read_only=True) as decisions:
        logs = decisions.logs() if database is not None else {}
        if logs and decisions.run not in logs:
            raise LogNameError.for_name(decisions.run, decisions.database.name, logs)
        return decisions.run


def write_sheet(
    run_folder: Path, to: Path, *, database: str | None = None, log_name: str = "", progress: Progress = silent
) -> int:
    """Write the queue as a TSV to fill in, and return the rows it has; errors as in `export_sheet`.

    Nothing is written to the log, and none is made: the run may be somebody else's.
    """
    from celljury.review.database import NothingDecidedError
    from celljury.review.ledger import replay
    from celljury.review.packing import ensure_pack
    from celljury.review.sheet import export_sheet

    pack = ensure_pack(run_folder, progress=progress)
    try:
        with open_decisions(run_folder, database=database, log_name=log_name, read_only=True) as decisions:
            events = decisions.events()
    except NothingDecidedError:
        events = ()
    ledger = replay(events, pack.evidence)
    export_sheet(pack.items, ledger, to, n_cells=lambda part: len(pack.rows_of(part)))
    return sum(len(ledger.leaves(item)) for item in pack.items["item_id"])


def read_sheet(
    run_folder: Path,
    sheet: Path,
    *,
    reviewer: str,
    database: str | None = None,
    log_name: str = "",
    progress: Progress = silent,
) -> tuple[int, int]:
    """Add a filled sheet's decisions to the log, and return how many it holds and how many were new.

    All or nothing: errors as in `import_sheet`.
    """
    from celljury.review.ledger import replay
    from celljury.review.packing import ensure_pack
    from celljury.review.sheet import import_sheet

    pack = ensure_pack(run_folder, progress=progress)
    with open_decisions(run_folder, database=database, log_name=log_name) as decisions:
        ledger = replay(decisions.events(), pack.evidence)
        drafts = import_sheet(sheet, pack.items, ledger, pack.ontology, reviewer=reviewer)
        events = decisions.append(drafts)
    return len(drafts), sum(event.number > ledger.last for event in events)


@contextmanager
def accounts_of(run_folder: Path, *, database: str | None = None, log_name: str = "") -> Iterator[Accounts]:
    """Give the users that may log in to a run's review: those of its database, whichever log it is."""
    from celljury.review.accounts import Accounts

    with open_decisions(run_folder, database=database, log_name=log_name) as decisions:
        yield Accounts(decisions.database)
