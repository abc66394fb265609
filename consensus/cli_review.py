"""The commands around the review of a run: `celljury review` and `celljury apply`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from celljury.terminal import clear_errors, progress_of

Database = Annotated[
    str | None,
    typer.Option(
        help="Database of a team, e.g. postgresql://mk@server/reviews.", show_default="RUN/review/decisions.sqlite"
    ),
]
LogName = Annotated[
    str, typer.Option("--log-name", help="Name of this run in that database.", show_default="the folder's name")
]

Blind = Annotated[bool, typer.Option("--blind", help="Nobody sees others' decisions on an item before their own.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address only.")]
NoH5ad = Annotated[bool, typer.Option("--no-h5ad", help="Leave query.celljury.h5ad as it is.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")]


def review(
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
) -> None:
    """Work through the cells that need a curator, in the browser or by spreadsheet; every decision is logged."""
    with clear_errors(), progress_of(quiet=False) as progress:
        _one_at_most({"--export": export, "--import": import_, "--add-user": add_user})
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
        if add_user is not None:
            errands.add_user(run, add_user, _password(add_user), database=database)
            print(f"{add_user} can log in now. Start with: celljury review {run} --host 0.0.0.0")
            return
    # Bars would be drawn over the address: the pack is made while they are shown, serving comes after.
    with clear_errors():
        from celljury.review.packing import ensure_pack
        from celljury.review.serve import serve

        with progress_of(quiet=False) as progress:
            ensure_pack(run, progress=progress)
        serve(
            run, host=host, port=port, reviewer=reviewer, blind=blind, database=database, log_name=log_name,
            names=tuple(name or ()), open_browser=not no_browser and sys.stdout.isatty(), tell=_say,
        )  # fmt: skip


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
        from celljury.review.errands import check_installed
        from celljury.run import Run

        check_installed()
        from celljury.review.apply import apply_decisions, outcome, summary_lines

        record = Run.open(run).record
        log = (log_name or run.resolve().name) if database is not None else ""
        applied = apply_decisions(run, database=database, log=log, h5ad=not no_h5ad, progress=progress)
        told = outcome(applied)
        if not as_json:  # at once: that no jury can be made of the decisions does not undo what they changed
            print("\n".join(["", *summary_lines(applied), "", "Written:", *(f"  {path}" for path in applied.written)]))
        if new_jury is not None:
            from celljury.jury import Jury
            from celljury.report.card import write_card_page
            from celljury.review.learn import updated_jury, weight_lines

            before = Path(jury or record.get("jury", {}).get("folder", ""))
            after = updated_jury(before, applied.findings, new_jury)
            write_card_page(after.folder)
            told["new_jury"] = str(new_jury)
            if not as_json:
                print(
                    "\n".join([f"\nMembers' weights, {before} -> {new_jury}:", *weight_lines(Jury.load(before), after)])
                )
    if as_json:
        print(json.dumps(told))


def _one_at_most(options: dict[str, Any]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        message = f"{' and '.join(given)}: one at a time"
        raise typer.BadParameter(message)


def _password(name: str) -> str:
    """Ask twice on a terminal; elsewhere one line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


def _say(line: str) -> None:
    print(line, flush=True)
