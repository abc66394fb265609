"""What a person sees while a command runs: bars on a terminal, plain lines elsewhere, errors without tracebacks."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celljury.errors import CelljuryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_of(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback (step, done, total) that shows progress on standard error."""
    if quiet:
        yield lambda step, done, total: None
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield show


def _lines() -> Callable[[str, int, int], None]:
    """Return a callback that prints a step's start and end, and in between a line every ten seconds at most."""
    last: dict[str, float] = {}

    def show(step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step not in last or done == total or now - last[step] >= 10:
            last[step] = now
            print(f"{step}: {done}/{total}", file=sys.stderr, flush=True)

    return show


@contextmanager
def clear_errors(*, resumable: bool = False) -> Iterator[None]:
    """Turn an error of ours into one message and its exit status, and an interrupt into a hint."""
    try:
        yield
    except CelljuryError as error:
        for line in (f"error: {error}", *(f"  {note}" for note in getattr(error, "__notes__", ()))):
            print(line, file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except OSError as error:  # a full disk, a lost mount: whatever was being written stays under its partial name
        what = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {what}{error.strerror or error}. Free space or check the place, then run again.", file=sys.stderr
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        hint = " What is finished is kept: run the same command with --resume." if resumable else ""
        print(f"\ninterrupted.{hint}", file=sys.stderr)
        raise SystemExit(130) from None
