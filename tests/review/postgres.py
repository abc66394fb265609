"""A PostgreSQL server for the tests: the one of ``CELLJURY_TEST_POSTGRES``, else a private one that goes at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "CELLJURY_TEST_POSTGRES"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a database that the tests may write to."""
    if url := os.environ.get(VARIABLE):
        yield url
        return
    tools = _tools()
    if tools is None:
        pytest.skip(f"needs PostgreSQL: set {VARIABLE} to a URL, or install its server (initdb and pg_ctl)")
    with private_server(tools) as url:
        yield url


def _tools() -> Path | None:
    """Return the folder of initdb and pg_ctl: the one on PATH, else the newest that Debian installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    installed = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    folders += sorted(installed, key=lambda folder: int(folder.parent.name.partition(".")[0]), reverse=True)
    return next((folder for folder in folders if all((folder / tool).exists() for tool in ("initdb", "pg_ctl"))), None)


@contextmanager
def private_server(tools: Path) -> Iterator[str]:
    """Run a server that listens on a socket in its own folder only; yields its URL."""
    # Not in pytest's folder: a socket's path has at most 107 characters, and the server's user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="celljury-pg-", dir="/tmp") as name:
        folder = Path(name)
        _give_to_server(folder)
        data = folder / "data"
        _run(tools / "initdb", "--pgdata", data, "--username=curator", "--auth=trust", "--encoding=UTF8", "--no-locale")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        _run(tools / "pg_ctl", "start", "--wait", "--pgdata", data, "--log", folder / "log", "--options", options)
        try:
            yield f"postgresql://curator@/postgres?host={folder}"
        finally:
            _run(tools / "pg_ctl", "stop", "--wait", "--mode=immediate", "--pgdata", data)


def _server_user() -> str | None:
    """Return the user who runs the server; None = this one. PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("needs a user 'postgres': PostgreSQL does not run as root")
    return "postgres"


def _give_to_server(folder: Path) -> None:
    if user := _server_user():
        shutil.chown(folder, user, user)


def _run(tool: Path, *arguments: str | Path) -> None:
    command = [str(tool), *map(str, arguments)]
    if user := _server_user():
        command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
    # The server keeps what it inherits: an open pipe would never end.
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", check=False)
        said.seek(0)
        assert done.returncode == 0, f"{tool.name} failed:\n{said.read()}"
