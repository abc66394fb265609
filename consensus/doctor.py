"""Whether this machine can run a jury: what is installed, and every member that is there tried on made cells."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.engine import Bench, read_votes, save_block
from celljury.members.checks import Trial
from celljury.members.environments import environment_names, environments_folder, r_version, why_not_installed
from celljury.members.logistic import Logistic
from celljury.provenance import versions
from celljury.roster import Entry, roster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.config import Config
    from celljury.progress import Progress

GB = 1024**3
# Made cells have ten strong markers a type: a member that learns anything tells them apart.
RIGHT = 0.9
TIME_LIMIT = 300.0  # seconds a member may take for one step of a trial that takes seconds


@dataclass(frozen=True, slots=True)
class Tried:
    """How a member did on made cells.

    Attributes
    ----------
    seconds
        Wall seconds to fit, adapt and vote, without starting its process.
    right
        Share of cells of three easy types whose top term is right, 0-1.
    failed
        What went wrong; None where nothing did.
    """

    seconds: float
    right: float | None
    failed: str | None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What `check_up` found.

    Attributes
    ----------
    machine, libraries
        Facts by name.
    environments
        Per environment of its own, why it cannot serve; None = it can.
    members
        Every registered member, with its trial; None = not tried.
    """

    machine: dict[str, str]
    libraries: dict[str, str]
    environments: dict[str, str | None]
    members: list[tuple[Entry, Tried | None]]

    @property
    def ill(self) -> list[str]:
        """Members of the default jury that cannot serve, and members that are there and failed their trial."""
        return [
            entry.name
            for entry, tried in self.members
            if (entry.default and entry.why_not) or (tried is not None and tried.failed)
        ]


def check_up(
    config: Config, progress: Progress, *, members: Sequence[str] | None = None, trial: bool = True
) -> Checkup:
    """Look at the machine and the libraries, and try every member that is there.

    Parameters
    ----------
    config
        Settings of members, e.g. where a checkpoint is; seed, threads and engine of the trial.
    members
        Only these; None = all.
    trial
        Whether to try members, which takes seconds for each.
    """
    entries = [entry for entry in roster() if members is None or entry.name in members]
    able = [
        entry.name
        for entry in entries
        if not entry.why_not and (not entry.needs_settings or entry.name in config.settings)
    ]
    tried = _try(able, config, progress) if trial else {}
    return Checkup(
        _machine(), versions(), {name: why_not_installed(name) for name in environment_names()},
        [(entry, tried.get(entry.name)) for entry in entries],
    )  # fmt: skip


def _machine() -> dict[str, str]:
    import psutil

    free = shutil.disk_usage(tempfile.gettempdir()).free
    found = r_version()
    return {
        "python": f"{sys.version.split()[0]} on {platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().available / GB:.1f} of {psutil.virtual_memory().total / GB:.1f} GB free",
        "disk": f"{free / GB:.1f} GB free in {tempfile.gettempdir()}",
        "R": ".".join(map(str, found)) if found else "not found",
        "environments": str(environments_folder()),
    }


def _try(names: Sequence[str], config: Config, progress: Progress) -> dict[str, Tried]:
    made = Trial(Logistic)
    found: dict[str, Tried] = {name: Tried(0.0, None, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="celljury-doctor-") as folder:
        place = Path(folder)
        limit = config.time_limit or TIME_LIMIT
        with Bench(config.engine, place / "scratch", threads=config.threads, time_limit=limit) as bench:
            reference = save_block(
                place / "reference", made.reference.cells, label=made.reference.label, terms=made.reference.terms
            )
            query = save_block(place / "query", made.query)

            def ask(orders: dict[str, dict[str, Any]]) -> None:
                for name, answer in bench.run(orders):
                    before = found[name]
                    found[name] = replace(
                        before,
                        seconds=before.seconds + answer.get("seconds", 0.0),
                        failed=None if answer["ok"] else f"{orders[name]['do']}: {answer['error']}",
                    )

            fit = {"do": "fit", "reference": str(reference), "seed": config.seed, "threads": config.threads}
            for i, name in enumerate(names):
                progress("try members on made cells", i, len(names))
                home = str(place / name)
                ask({name: fit | {"to": home, "settings": config.settings.get(name, {})}})
                steps = (
                    {"do": "load", "folder": home},
                    {"do": "adapt", "sample": str(query), "to": home},
                    {"do": "predict", "block": str(query), "to": str(place / f"{name}.npz")},
                )
                for order in steps:
                    if found[name].failed is None:
                        ask({name: order})
                if found[name].failed is None:
                    top = read_votes(place / f"{name}.npz").mass.argmax(axis=1)
                    right = float(np.mean(top == made.truth))
                    why = None if right >= RIGHT else f"only {right:.0%} of easily told cells right"
                    found[name] = replace(found[name], right=right, failed=why)
            progress("try members on made cells", len(names), len(names))
    return found
