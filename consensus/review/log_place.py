"""Where the log of a run's decisions is: its own file, or under a name in a database for teams."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Self

from celljury.errors import InputError, OutputError
from celljury.provenance import KEPT, sha256

if TYPE_CHECKING:
    from pathlib import Path


class LogNameError(InputError):
    """A database for teams is named, and not which of its logs is this run's; or there is no log of that name."""

    @classmethod
    def for_run(cls, run_folder: Path) -> Self:
        """Build the error for a run without a name, and propose one."""
        about = run_folder / "run.json"
        # Copies of one run are proposed the same name, other runs in folders of the same name another one.
        mark = f"-{sha256(about)[:6]}" if about.is_file() else ""
        proposed = shlex.quote(f"{run_folder.resolve().name}{mark}")
        return cls(
            "--database needs --log-name: a database holds the logs of many runs, and two runs under one name would share"
            " their decisions. Give this run one name for good, and give it to everybody who reviews the run, e.g."
            f" --log-name {proposed}"
        )

    @classmethod
    def for_name(cls, name: str, database: str, logs: dict[str, int]) -> Self:
        """Build the error for a name under which nothing was decided, where others hold so many events."""
        known = ", ".join(f"{log!r} ({n:,} events)" for log, n in logs.items())
        return cls(
            f"{database} holds no decision under the log name {name!r}. It has: {known}. Pass one of these with --log-name."
        )


def own_file(run_folder: Path) -> Path:
    """Return the file of a run's own log; raises OutputError where it is a link, which could lead anywhere."""
    path = database_of(run_folder)
    if path.is_symlink():
        message = (
            f"{path} is a link to {path.readlink()}: whoever made the run's folder would choose which file is written. Put"
            " the file itself there."
        )
        raise OutputError(message)
    return path


def database_of(run_folder: Path) -> Path:
    """Return where a run's decisions are unless a database is named."""
    return run_folder / "review" / KEPT


def log_of(run_folder: Path, *, database: str | None, log_name: str = "") -> tuple[Path | str, str]:
    """Return where a run's log is and its name there, "" in a file of its own.

    Raises
    ------
    LogNameError
        If a database is named, and no log in it.
    OutputError
        If the run's own file is a link.
    """
    if database is None:
        return own_file(run_folder), ""
    if not log_name.strip():
        raise LogNameError.for_run(run_folder)
    return database, log_name
