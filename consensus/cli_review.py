"""The commands around the review of a run: `celljury review` and `celljury apply`."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from celljury.terminal import clear_errors, progress_of

Database = Annotated[
    str | None,
    typer.Option(
        help="Database of a team, e.g. postgresql://mk@server/reviews; with --log-name.",
        show_default="RUN/review/decisions.sqlite",
    ),
]
LogName = Annotated[
    str, typer.Option("--log-name", help="Name of this run in that database: one run, one name.", show_default=False)
]

Blind = Annotated[bool, typer.Option("--blind", help="Nobody sees others' decisions on an item before their own.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address only.")]
NoH5ad = Annotated[bool, typer.Option("--no-h5ad", help="Leave query.celljury.h5ad as it is.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")]


def review(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    port: Annotated[int, typer.Option(help="Port; where it is taken, the next free one.")] = 8765,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's demands named users.")
    ] = "127.0.0.1",
    reviewer: Annotated[
        str, typer.Option("--as", help="Name under which you decide.", show_default="your user name")
    ] = "",
    blind: Blind = False,
    database: Database = None,
    log_name: LogName = "",
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Further host name it is reached by, as behind a proxy.")
    ] = None,
    no_browser: NoBrowser = False,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the queue as a TSV to fill in, and end.")
    ] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Take the decisions of a filled TSV, and end.")
    ] = None,
    add_user: Annotated[
        str | None, typer.Option("--add-user", help="Add a named user (asks for a password), and end.")
    ] = None,
    set_password: Annotated[
        str | None, typer.Option("--set-password", help="Give a user another password (asks for it), and end.")
    ] = None,
    remove_user: Annotated[
        str | None, typer.Option("--remove-user", help="Let a user in no longer; their decisions stay. And end.")
    ] = None,
) -> None:
    """Work through the cells that need a curator, in the browser or by spreadsheet; every decision is logged."""
    with clear_errors(), progress_of(quiet=False) as progress:
        errand = _one_at_most(
            {"--export": export, "--import": import_, "--add-user": add_user, "--set-password": set_password,
             "--remove-user": remove_user}
        )  # fmt: skip
        if errand:
            _no_server_options(context, errand)
        _log_name_with_database(database, log_name)
        from celljury.review import errands
        from celljury.run import Run

        errands.check_installed()
        Run.open(run)
        at: dict[str, Any] = {"database": database, "log_name": log_name}
        if export is not None:
            n_rows = errands.write_sheet(run, export, **at, progress=progress)
            print(f"{n_rows:,} rows in {export}. Fill decision and note; then: celljury review {run} --import {export}")
            return
        if import_ is not None:
            from celljury.review.serve import default_reviewer

            n, new = errands.read_sheet(run, import_, reviewer=reviewer or default_reviewer(), **at, progress=progress)
            known = f", {n - new:,} of them known already" if n > new else ""
            print(f"{n:,} decisions and notes in {import_}{known}. Put them into the run with: celljury apply {run}")
            return
        if errand:
            with errands.accounts_of(run, **at) as accounts:
                if add_user is not None:
                    accounts.add_user(add_user, _password(add_user))
                    print(f"{add_user} can log in now. Start with: celljury review {run} --host 0.0.0.0")
                elif set_password is not None:
                    accounts.set_password(set_password, _password(set_password))
                    print(f"{set_password} has another password now, and must log in again.")
                elif remove_user is not None:
                    accounts.remove_user(remove_user)
                    left = ", ".join(accounts.names()) or "nobody"
                    print(f"{remove_user} can no longer log in; decisions stay. Who still can: {left}.")
            return
        from celljury.review.serve import make_server, serve

        server = make_server(
            run, host=host, port=port, reviewer=reviewer, blind=blind, **at, names=tuple(name or ()), progress=progress
        )
    # Only now: bars would be drawn over the address.
    with clear_errors():
        serve(server, open_browser=not no_browser and sys.stdout.isatty(), tell=_say)


def apply(
    run: Annotated[Path, typer.Argument(help="Folder of a reviewed run.")],
    database: Database = None,
    log_name: LogName = "",
    no_h5ad: NoH5ad = False,
    jury: Annotated[
        Path | None, typer.Option(help="The run's jury, for --new-jury.", show_default="the one the run names")
    ] = None,
    new_jury: Annotated[
        Path | None,
        typer.Option(
            "--new-jury", help="Also write a jury whose members' weights rest on the review too; a new folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fold curators' decisions into final.parquet and the h5ad, and say which members were right."""
    with clear_errors(), progress_of(quiet=as_json) as progress:
        if jury is not None and new_jury is None:
            message = "--jury: only with --new-jury, which says where the updated jury goes"
            raise typer.BadParameter(message)
        _log_name_with_database(database, log_name)
        from celljury.review.errands import check_installed, log_to_apply
        from celljury.run import Run

        check_installed()
        from celljury.review.apply import apply_decisions, outcome, summary_lines
        from celljury.review.learn import check_update, updated_jury, weight_lines

        found = Run.open(run)
        before = check_update(found, jury, new_jury) if new_jury is not None else None
        log = log_to_apply(run, database=database, log_name=log_name)
        applied = apply_decisions(run, database=database, log=log, h5ad=not no_h5ad, progress=progress)
        told = outcome(applied)
        # What was applied is told at once, and also where no jury can be made of it: it stays applied.
        if not as_json:
            print("\n".join(["", *summary_lines(applied), "", "Written:", *(f"  {path}" for path in applied.written)]))
        try:
            if new_jury is not None and before is not None:
                from celljury.report.card import write_card_page

                told["new_jury"] = None
                after = updated_jury(before.folder, applied.findings, new_jury)
                write_card_page(after.folder)
                told["new_jury"] = str(new_jury)
                if not as_json:
                    lines = [f"\nMembers' weights, {before.folder} -> {new_jury}:", *weight_lines(before, after)]
                    print("\n".join(lines))
        finally:
            if as_json:
                print(json.dumps(told))


# Of no effect where `celljury review` does not serve; --as is of one for --import alone.
_OF_THE_SERVER = {
    "port": "--port", "host": "--host", "reviewer": "--as", "blind": "--blind", "name": "--name", "no_browser": "--no-browser",
}  # fmt: skip


def _one_at_most(options: dict[str, Any]) -> str:
    """Return the option that is given, "" where none is."""
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        message = f"{' and '.join(given)}: one at a time"
        raise typer.BadParameter(message)
    return given[0] if given else ""


def _no_server_options(context: typer.Context, errand: str) -> None:
    """Refuse options that say how to serve beside one that does not serve."""

    def given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    idle = [
        option
        for name, option in _OF_THE_SERVER.items()
        if given(name) and not (option == "--as" and errand == "--import")
    ]
    if idle:
        message = f"{', '.join(idle)}: of no effect with {errand}, which starts no server"
        raise typer.BadParameter(message)


def _log_name_with_database(database: str | None, log_name: str) -> None:
    if log_name and database is None:
        message = "--log-name: only with --database; a run's own file holds one log"
        raise typer.BadParameter(message)


def _password(name: str) -> str:
    """Ask twice on a terminal; elsewhere one line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


def _say(line: str) -> None:
    print(line, flush=True)
