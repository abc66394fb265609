"""What `celljury review` does without a browser: a sheet out or in, users, and what it needs installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from celljury.errors import MemberUnavailableError
from celljury.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from celljury.progress import Progress
    from celljury.review.decisions import Decisions
    from celljury.review.ledger import Ledger
    from celljury.review.pack import Pack

# Module to import and the name that it is installed by.
LIBRARIES: Final = {"sqlalchemy": "sqlalchemy", "starlette": "starlette", "jinja2": "jinja2", "uvicorn": "uvicorn"}


def check_installed() -> None:
    """Raise MemberUnavailableError where the libraries of the review are not installed."""
    missing = [name for module, name in LIBRARIES.items() if find_spec(module) is None]
    if missing:
        message = f"the review needs {', '.join(missing)}. Install: pip install 'celljury[review]'"
        raise MemberUnavailableError(message)


def open_decisions(run_folder: Path, *, database: str | None = None, log_name: str = "") -> Decisions:
    """Return the log of a run's decisions: its own file, or that of this run in a database for teams.

    Parameters
    ----------
    database
        A database URL; None = ``review/decisions.sqlite`` in the run's folder, made when missing.
    log_name
        The run's name in that database; without it the folder's name.
    """
    from celljury.review.decisions import Decisions
    from celljury.review.serve import database_of

    if database is None:
        return Decisions.open(database_of(run_folder))
    return Decisions.open(database, run=log_name or run_folder.resolve().name)


def write_sheet(
    run_folder: Path, to: Path, *, database: str | None = None, log_name: str = "", progress: Progress = silent
) -> int:
    """Write the queue as a TSV to fill in, and return the rows it has; errors as in `export_sheet`."""
    from celljury.review.packing import ensure_pack
    from celljury.review.sheet import export_sheet

    pack = ensure_pack(run_folder, progress=progress)
    with open_decisions(run_folder, database=database, log_name=log_name) as decisions:
        ledger = _ledger(pack, decisions)
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
    """  # fmt: skip
    from celljury.review.packing import ensure_pack
    from celljury.review.sheet import import_sheet

    pack = ensure_pack(run_folder, progress=progress)
    with open_decisions(run_folder, database=database, log_name=log_name) as decisions:
        before = decisions.events()
        last = before[-1].number if before else 0
        drafts = import_sheet(sheet, pack.items, _ledger(pack, decisions), pack.ontology, reviewer=reviewer)
        events = decisions.append(drafts)
    return len(drafts), sum(event.number > last for event in events)


def add_user(run_folder: Path, name: str, password: str, *, database: str | None = None) -> None:
    """Let somebody log in to a review that others can reach; raises InputError where name or password cannot be one."""
    from celljury.review.accounts import Accounts

    with open_decisions(run_folder, database=database) as decisions:
        Accounts(decisions.database).add_user(name, password)


def _ledger(pack: Pack, decisions: Decisions) -> Ledger:
    from celljury.review.ledger import replay

    return replay(decisions.events(), pack.evidence)
