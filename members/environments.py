"""Interpreters of their own: virtual environments for members whose libraries cannot live beside ours.

Each is named by a file of pinned requirements in ``celljury.data/environments``; its folder lies in the user's data
directory, or where ``CELLJURY_ENVIRONMENTS`` says. ``installed.json`` is written last: a folder without it is half made.

Comments at the top of a requirements file say how it is installed: ``# python: 3.10-3.13`` (what it was tried with),
``# pip: --no-deps`` (options of pip), ``# with: NAME=VALUE`` (an environment variable while pip runs).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from celljury.errors import ConfigError, MemberUnavailableError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER_VARIABLE = "CELLJURY_ENVIRONMENTS"
R_ENVIRONMENT = "r"
# rpy2 3.6.7 and later are built against R 4.5's headers and fail on older R with an ffi error when they are imported.
NEW_R = (4, 5)


def environments_folder() -> Path:
    """Return the folder that environments live in."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).resolve()
    from platformdirs import user_data_path

    return user_data_path("celljury") / "environments"


def requirements_of(name: str) -> str:
    """Return the pinned requirements of an environment; those of R fit the R that was found.

    Raises
    ------
    ConfigError
        If there is no environment of that name.
    """
    file = f"{name}.txt"
    if name == R_ENVIRONMENT and (found := r_version()) and found[:2] >= NEW_R:
        file = "r-4.5.txt"
    path = files("celljury.data") / "environments" / file
    if not path.is_file():
        message = f"there is no environment {name!r}. Known: {', '.join(environment_names())}."
        raise ConfigError(message)
    return path.read_text(encoding="utf-8")


def environment_names() -> tuple[str, ...]:
    """Return the names of all environments that can be installed."""
    texts = (path.name for path in (files("celljury.data") / "environments").iterdir())
    return tuple(sorted(name.removesuffix(".txt") for name in texts if name.endswith(".txt") and name != "r-4.5.txt"))


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, whether it is there or not."""
    place = environments_folder() / name
    return place / "Scripts" / "python.exe" if os.name == "nt" else place / "bin" / "python"


def why_not_installed(name: str) -> str | None:
    """Say why an environment cannot serve, and what to do; None where it can."""
    if name == R_ENVIRONMENT and r_version() is None:
        return "R is not installed, or not on the PATH (Debian and Ubuntu: apt-get install r-base-core)"
    command = f"celljury members install {name}"
    try:
        made = json.loads((environments_folder() / name / "installed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"its environment {name!r} is not installed: {command}"
    if made.get("requirements") != _fingerprint(requirements_of(name)):
        return f"its environment {name!r} was made from other requirements than today's: {command}"
    if not python_of(name).exists():
        return f"its environment {name!r} has lost its Python (was the one it was made with removed?): {command}"
    return None


def pinned_version(name: str, distribution: str) -> str | None:
    """Return the version of a distribution that an environment's requirements pin."""
    wanted = distribution.lower().replace("_", "-")
    for line in requirements_of(name).splitlines():
        found = re.match(r"([A-Za-z0-9_.-]+)(?:\[.*\])?==([^\s;]+)", line.strip())
        if found and found[1].lower().replace("_", "-") == wanted:
            return found[2]
    return None


def install(name: str, *, python: Path | None = None, say: Callable[[str], None] = print) -> Path:
    """Make an environment (anew, if there is one) and return its folder. This needs the network.

    Parameters
    ----------
    name
        One of `environment_names`.
    python
        Interpreter to make it with; None = the first that fits of the one that runs this and those on the PATH.
    say
        Gets one line a step.

    Raises
    ------
    MemberUnavailableError
        If no Python fits, or R is missing, or pip fails.
    OutputError
        If the folder cannot be written.
    """
    text = requirements_of(name)
    if name == R_ENVIRONMENT and r_version() is None:
        raise MemberUnavailableError(str(why_not_installed(name)))
    chosen = _fitting_python(name, text, python)
    place = environments_folder() / name
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    except OSError as error:
        raise OutputError.for_path(place, str(error.strerror), option=FOLDER_VARIABLE) from error
    say(f"{name}: making {place} with {chosen}")
    log = place / "install.log"
    requirements = place / "requirements.txt"
    requirements.write_text(text, encoding="utf-8")
    _run([str(chosen), "-m", "venv", str(place)], log, name, {})
    say(f"{name}: installing {sum('==' in line for line in text.splitlines())} packages; this can take minutes")
    pip = [str(python_of(name)), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    variables = dict(line.split("=", 1) for line in _header(text, "with"))
    _run([*pip, *_header(text, "pip"), "--requirement", str(requirements)], log, name, variables)
    made = {"requirements": _fingerprint(text), "python": str(chosen)}
    (place / "installed.json").write_text(json.dumps(made), encoding="utf-8")
    say(f"{name}: ready")
    return place


def r_version() -> tuple[int, int, int] | None:
    """Return the version of the R on the PATH, None where there is none."""
    if not (command := shutil.which("R")):
        return None
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"R version (\d+)\.(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _fitting_python(name: str, text: str, given: Path | None) -> Path:
    told = re.fullmatch(r"3\.(\d+)-3\.(\d+)", "".join(_header(text, "python")))
    low, high = (int(told[1]), int(told[2])) if told else (9, 13)
    names = [f"python3.{minor}" for minor in range(high, low - 1, -1)]
    candidates = [str(given)] if given else [sys.executable, *(path for one in names if (path := shutil.which(one)))]
    seen = []
    for candidate in candidates:
        version = _minor_of(candidate)
        if version is not None and low <= version <= high:
            return Path(candidate)
        seen.append(f"{candidate} ({'does not run' if version is None else f'3.{version}'})")
    message = (
        f"environment {name!r} needs Python 3.{low} to 3.{high} for its pinned libraries. Found: {', '.join(seen)}. Install"
        " one, or name it with --python."
    )
    raise MemberUnavailableError(message)


def _header(text: str, name: str) -> list[str]:
    """Return the words of the comments ``# name: ...``."""
    found = re.findall(rf"^# {name}: (.*)$", text, re.MULTILINE)
    return [word for line in found for word in line.split()]


def _minor_of(python: str) -> int | None:
    try:
        done = subprocess.run(
            [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    words = done.stdout.split()
    return int(words[1]) if done.returncode == 0 and len(words) == 2 and words[0] == "3" else None


def _run(command: list[str], log: Path, name: str, variables: dict[str, str]) -> None:
    with log.open("ab") as file:
        status = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False, env=os.environ | variables
        ).returncode
    if status:
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-3:]
        shown = "\n".join(f"  {line}" for line in last)
        message = (
            f"environment {name!r} could not be installed; {Path(command[0]).name} ended with status {status}:\n{shown}\n"
            f"Everything it said is in {log}. Try again with: celljury members install {name}"
        )
        raise MemberUnavailableError(message)


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
