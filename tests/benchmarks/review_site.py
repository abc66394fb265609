"""``celljury review`` in a process of its own and the system's Chromium before it: for tests and for page times."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
COMMAND = (sys.executable, "-c", "from celljury.cli import main; main()")


def chromium_path() -> str | None:
    """Return where the system's Chromium is; None = there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """Run the browser. While it runs this thread cannot begin an event loop of its own: Playwright's runs in it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Server:
    """``celljury review`` on a run.

    Attributes
    ----------
    url
        What it printed.
    """

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(re.search(r":(\d+)/", self.url)[1])  # type: ignore[index]

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def stop(self) -> str:
        """End it as Ctrl-C does; returns what it said then."""
        self.process.send_signal(signal.SIGINT)
        said = self._ended()
        assert self.process.returncode == 0, said
        return said

    def _ended(self) -> str:
        said, _ = self.process.communicate(timeout=30)
        return said


def start(run: Path, *options: str, reviewer: str = "ann", port: int = 0) -> Server:
    """Start ``celljury review`` and wait for its address."""
    command = [*COMMAND, "review", str(run), "--no-browser", "--port", str(port), "--as", reviewer, *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_plain_terminal()
    )
    said = []
    for line in process.stdout:  # type: ignore[union-attr]
        said.append(line)
        if (found := re.search(r" at: (http\S+)", line)) is not None:
            return Server(process, found[1])
    process.communicate()
    raise AssertionError("".join(said))


def _plain_terminal() -> dict[str, str]:
    return os.environ | {"COLUMNS": "200", "PYTHONUNBUFFERED": "1"}


@contextmanager
def serving(run: Path, *options: str, reviewer: str = "ann", port: int = 0) -> Iterator[Server]:
    """Serve a run; a server that was not stopped by then is killed."""
    server = start(run, *options, reviewer=reviewer, port=port)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def celljury(*arguments: str | Path, said: str = "") -> str:
    """Run a command to its end; returns what it printed."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, check=False, env=_plain_terminal(), timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
