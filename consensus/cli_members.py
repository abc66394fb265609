"""The commands about members: what there is, what each is good for, its own interpreter, and whether it works here."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celljury.terminal import clear_errors, progress_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.doctor import Checkup, Tried
    from celljury.roster import Entry

members_app = typer.Typer(no_args_is_help=True, help="The members that can sit on a jury: list, describe, install.")

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


@members_app.command(name="list", epilog="Example: [bold]celljury members list[/bold]")
def list_(as_json: Json = False) -> None:
    """List every member: whether it can serve here, its version, what it cost on real cells and what it needs."""
    with clear_errors():
        from celljury.members.also_known import REFUSED
        from celljury.roster import roster

        entries = roster()
    if as_json:
        print(json.dumps({"members": [entry.as_dict() for entry in entries], "not_here": REFUSED}))
        return
    _print_table(
        ("member", "", "version", "fit s", "vote s", "needs"),
        [
            (
                entry.name,
                _presence(entry),
                entry.version,
                f"{entry.measured.cpu_fit:.1f}" if entry.measured else "",
                f"{entry.measured.cpu_vote:.1f}" if entry.measured else "",
                entry.why_not or (entry.about.needs if entry.about else "") or "",
            )
            for entry in entries
        ],
    )
    print("\n* in the default jury. Seconds: of one processor, 770 reference and 430 query cells with 1,767 genes.")
    print("Not here, each with its reason (celljury members describe NAME): " + ", ".join(REFUSED) + ".")
    print("Choose with: celljury fit ... --members logistic,singler,scvi_knn")


@members_app.command(
    epilog="Examples: [bold]celljury members describe scanvi[/bold]; the name of another tool works, too"
)
def describe(
    name: Annotated[str, typer.Argument(help="A member, or what another tool calls it.")], as_json: Json = False
) -> None:
    """Say what a member is, what its score means, when it is right and when it goes wrong."""
    with clear_errors():
        from celljury.roster import entry_of

        found = entry_of(name)
    if isinstance(found, str):
        print(json.dumps({"name": name, "not_here": found}) if as_json else textwrap.fill(found, 100))
        return
    print(json.dumps(found.as_dict()) if as_json else "\n".join(_description(found)))


@members_app.command(
    epilog="Examples: [bold]celljury members install scpoli[/bold]; [bold]celljury members install --all[/bold]"
)
def install(
    names: Annotated[list[str] | None, typer.Argument(help="Members or environments.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every environment that can be made here.")] = False,
    python: Annotated[
        Path | None, typer.Option(help="Interpreter to make it with.", show_default="the first that fits")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make it anew, also where it is ready.")] = False,
) -> None:
    """Make the interpreter that a member with libraries of its own lives in. This needs the network, and minutes."""
    with clear_errors():
        from celljury.members.environments import install as make
        from celljury.members.environments import why_not_installed

        for name in _environments(names or [], everything=everything):
            if not again and why_not_installed(name) is None:
                print(f"{name}: is there already (--again makes it anew)")
                continue
            make(name, python=python, say=lambda text: print(text, flush=True))


def doctor(
    members: Annotated[
        str | None, typer.Option(help="Names joined by commas.", show_default="all that are there")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings, e.g. where a checkpoint is.")
    ] = None,
    trial: Annotated[bool, typer.Option("--trial/--no-trial", help="Try every member on made cells.")] = True,
    as_json: Json = False,
) -> None:
    """Check this machine: versions, R, environments, and every member that is there at work on made cells.

    Exit status 3 where a member of the default jury cannot serve, or one that is there fails its trial.
    """
    with clear_errors(), progress_of(quiet=as_json) as progress:
        from celljury.config import Config
        from celljury.doctor import check_up
        from celljury.engine import member_class

        chosen = None if members is None else [name.strip() for name in members.split(",") if name.strip()]
        for name in chosen or ():
            member_class(name)  # says which there are
        found = check_up(Config.read(config), progress, members=chosen, trial=trial)
    if as_json:
        print(json.dumps(_checkup_json(found)))
    else:
        _print_checkup(found, trial=trial)
    if found.ill:
        sys.exit(3)


# In words -------------------------------------------------------------------------------------------------------------


def _presence(entry: Entry) -> str:
    star = "*" if entry.default else " "
    return f"{star}{'absent' if entry.why_not else 'present'}"


def _description(entry: Entry) -> list[str]:
    about = entry.about
    lines = [f"{entry.name}: {'present, ' + entry.version if not entry.why_not else 'absent: ' + entry.why_not}"]
    where = "in this Python" if entry.lives == "here" else f"in an interpreter of its own, environment {entry.lives!r}"
    rows = [("lives", where)]
    if about:
        rows += [
            ("what", about.what), ("needs", about.needs or "nothing more"), ("score", about.score),
            ("strangeness", entry.strangeness or "none: it says nothing of whether a cell belongs"),
            ("right when", about.right), ("goes wrong when", about.fails), ("licence", about.licence),
            ("cite", "; ".join(about.cite)),
        ]  # fmt: skip
    if entry.needs_settings:
        rows.append(("settings", entry.needs_settings))
    if measured := entry.measured:
        auroc = ", ".join("-" if value is None else f"{value:.2f}" for value in measured.auroc)
        ece = "-" if measured.ece is None else f"{measured.ece:.3f}"
        rows += [
            ("on real cells", f"accuracy {measured.accuracy:.3f}, macro F1 {measured.macro_f1:.3f}, calibration error {ece}"
             " (430 cells of a 10x chemistry that its reference of 770 lacks)"),
            ("finds new types", f"AUROC {auroc} (five types left out of references, one at a time)"),
            ("cost", f"{measured.cpu_fit:.1f} s to fit, {measured.cpu_vote:.1f} s to vote, of one processor;"
             f" {measured.memory:,} MB"),
        ]  # fmt: skip
    for head, text in rows:
        lines += textwrap.wrap(
            text, 100, initial_indent=f"  {head + ':':17}", subsequent_indent=" " * 19, break_on_hyphens=False
        )
    return lines


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns; the last one is wrapped to the terminal."""
    import shutil

    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head) - 1)]
    room = max(30, min(160, shutil.get_terminal_size((140, 24)).columns) - sum(widths) - 2 * len(widths))
    for row in (head, *rows):
        left = "  ".join(
            value.rjust(width) if head[i].endswith(" s") else value.ljust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=False))
        )
        last = textwrap.wrap(row[-1], room) or [""]
        print(f"{left}  {last[0]}".rstrip())
        for more in last[1:]:
            print(" " * (len(left) + 2) + more)


def _checkup_json(found: Checkup) -> dict[str, Any]:
    from dataclasses import asdict

    members = [entry.as_dict() | {"trial": tried and asdict(tried)} for entry, tried in found.members]
    return {
        "machine": found.machine, "libraries": found.libraries, "environments": found.environments,
        "members": members, "ill": found.ill,
    }  # fmt: skip


def _print_checkup(found: Checkup, *, trial: bool) -> None:
    for name, text in found.machine.items():
        print(f"{name:13} {text}")
    print("libraries     " + ", ".join(f"{name} {version}" for name, version in found.libraries.items()))
    print("\nInterpreters of their own:")
    for name, why in found.environments.items():
        print(f"  {name:10} {why or 'ready'}")
    print("\nMembers" + (", tried on made cells of three easily told types:" if trial else ", not tried:"))
    rows = []
    for entry, tried in found.members:
        rows.append((entry.name, _presence(entry), entry.version, _trial_words(entry, tried)))
    _print_table(("member", "", "version", "trial" if trial else ""), rows)
    if found.ill:
        print(f"\n{len(found.ill)} to be mended: {', '.join(found.ill)}.")
    else:
        print(
            f"\nAll is well with the {len(found.members)} members that were looked at."
            if trial
            else "\nNothing is missing."
        )


def _trial_words(entry: Entry, tried: Tried | None) -> str:
    if entry.why_not:
        return entry.why_not
    if tried is None:
        return entry.needs_settings or ""
    if tried.failed:
        return f"FAILED: {tried.failed}"
    return f"works, {tried.seconds:.1f} s"


def _environments(names: list[str], *, everything: bool) -> list[str]:
    """Return the environments meant: by their own names, or by those of members."""
    from celljury.engine import member_class
    from celljury.errors import ConfigError
    from celljury.members.environments import R_ENVIRONMENT, environment_names, r_version
    from celljury.members.remote import RemoteMember

    known = environment_names()
    if everything:
        return [name for name in known if name != R_ENVIRONMENT or r_version()]
    if not names:
        message = f"say what to install: a member, one of the environments {', '.join(known)}, or --all."
        raise ConfigError(message)
    found = []
    for name in names:
        if name in known:
            found.append(name)
            continue
        cls = member_class(name)
        if not issubclass(cls, RemoteMember):
            extra = f"celljury[{cls.extra}]" if cls.extra else "celljury"
            message = (
                f"member {name!r} lives in this Python: pip install '{extra}'. Those with an interpreter of their own are"
                f" {', '.join(known)}."
            )
            raise ConfigError(message)
        found.append(cls.environment)
    return list(dict.fromkeys(found))
