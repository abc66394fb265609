"""Every member that is registered: whether it can serve here, what it is, and what it did on real cells."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from celljury.config import DEFAULT_MEMBERS
from celljury.engine import GROUP, member_class
from celljury.errors import CelljuryError, ConfigError
from celljury.members.also_known import REFUSED, SAME_AS
from celljury.members.remote import RemoteMember

if TYPE_CHECKING:
    from celljury.members.about import About
    from celljury.members.base import Member


@dataclass(frozen=True, slots=True)
class Measured:
    """What a member did on pair P1: 770 reference cells of two 10x chemistries, 430 query cells of a third.

    Attributes
    ----------
    accuracy, macro_f1
        Of its top terms before pooling, 0-1; an abstention is wrong.
    ece
        Expected calibration error on the reference's held-out batches, after its calibration, 0-1; None = it has none.
    auroc
        Of its strangeness, cells of a type left out of the reference against all others, pairs U1 to U5; None = no score.
    cpu_fit, cpu_vote
        Processor seconds, one thread: to fit the reference once, and to adapt to the query and vote.
    memory
        Highest resident memory of its process and those it started, MB (1024**2 bytes), libraries included.
    """

    accuracy: float
    macro_f1: float
    ece: float | None
    auroc: tuple[float | None, ...]
    cpu_fit: float
    cpu_vote: float
    memory: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered member.

    Attributes
    ----------
    name
        As in ``--members``.
    default
        Whether it is in the default jury.
    why_not
        Why it cannot serve here and what to do; None where it can.
    version
        Library and version behind it.
    lives
        ``here``, or the name of the environment of its own.
    about
        What it says of itself; None where a third party left it out.
    strangeness
        What its out-of-reference score is; empty = none.
    needs_settings
        Why it cannot be fitted without settings, e.g. a checkpoint; None where it can.
    measured
        On P1; None = not measured.
    """

    name: str
    default: bool
    why_not: str | None
    version: str
    lives: str
    about: About | None
    strangeness: str
    needs_settings: str | None
    measured: Measured | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def roster() -> list[Entry]:
    """Return all registered members, the default ones first, each group by name."""
    measured = _measured()
    names = {point.name for point in entry_points(group=GROUP)}
    order = sorted(names, key=lambda name: (DEFAULT_MEMBERS.index(name) if name in DEFAULT_MEMBERS else 99, name))
    return [_entry(name, measured.get(name)) for name in order]


def entry_of(name: str) -> Entry | str:
    """Return a member's entry, or why there is no such member though others have one.

    Raises
    ------
    ConfigError
        If the name means nothing here.
    """
    wanted = name.strip().lower().replace("-", "_")
    known = {entry.name: entry for entry in roster()}
    if wanted in SAME_AS and wanted not in known:
        wanted = SAME_AS[wanted]
    if wanted in known:
        return known[wanted]
    if wanted in REFUSED:
        return REFUSED[wanted]
    near = get_close_matches(wanted, [*known, *SAME_AS, *REFUSED], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    message = f"there is no member {name!r}.{hint} celljury members list shows all."
    raise ConfigError(message)


def _entry(name: str, measured: Measured | None) -> Entry:
    default = name in DEFAULT_MEMBERS
    try:
        cls = member_class(name)
    except CelljuryError as error:
        return Entry(name, default, str(error), "", "here", None, "", None, measured)
    why_not = None
    try:
        cls.require()
    except CelljuryError as error:
        why_not = str(error).removeprefix(f"member {name!r}").removeprefix(":").strip()
    return Entry(
        name=name,
        default=default,
        why_not=why_not,
        version=cls.library_version() if why_not is None else "",
        lives=cls.environment if issubclass(cls, RemoteMember) else "here",
        about=cls.about,
        strangeness=cls.strangeness,
        needs_settings=_needs_settings(cls),
        measured=measured,
    )


def _needs_settings(cls: type[Member]) -> str | None:
    try:
        cls()
    except CelljuryError as error:
        return str(error)
    return None


def _measured() -> dict[str, Measured]:
    path = files("celljury.data") / "members_measured.tsv"
    if not path.is_file():
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = {}
    for row in csv.DictReader(lines, delimiter="\t"):
        auroc = tuple(float(value) if (value := row[f"u{i}"]) else None for i in range(1, 6))
        found[row["member"]] = Measured(
            float(row["accuracy"]), float(row["macro_f1"]), float(row["ece"]) if row["ece"] else None, auroc,
            float(row["cpu_fit"]), float(row["cpu_vote"]), int(row["memory"]),
        )  # fmt: skip
    return found
