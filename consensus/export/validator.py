"""The archives' own validators, run as programs of their own: they pin libraries that ours does not work with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from celljury.errors import InputError, OutputError

Archive = Literal["cellxgene", "cas"]

PACKAGE: Final[dict[Archive, str]] = {"cellxgene": "cellxgene-schema", "cas": "cell-annotation-schema"}
# cell-annotation-schema installs no program; it ships its schemas beside its code.
_CAS: Final = """
import contextlib, importlib.resources, io, json, pathlib, sys
from cas_schema.schema_validator import get_validator
folder = importlib.resources.files("cas_schema") / "schemas"
found = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
status = 0
for name in sys.argv[2:]:
    schema = json.loads((folder / f"{name}_schema.json").read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(io.StringIO()):
        validator = get_validator(schema, name)
    errors = list(validator.iter_errors(found))
    for error in errors[:20]:
        print(f"ERROR: {name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    print(f"{name}: {'valid' if not errors else 'not valid'}")
    status |= bool(errors)
sys.exit(status)
"""
ALIKE: Final = 12
_QUOTED: Final = re.compile(r"'[^']*'")
# How logging begins a line of cellxgene-schema, which says its level once more.
_LOGGED: Final = re.compile(r"^(WARNING|ERROR):cellxgene_schema[.\w]*:")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a validator said.

    Attributes
    ----------
    by
        The validator.
    valid
        Whether it takes the file.
    lines
        What it printed, without how it went about it.
    """

    by: str
    valid: bool
    lines: tuple[str, ...]


def find_validator(archive: Archive, named: Path | None) -> Path | None:
    """Return the program to run, or None where there is none.

    Parameters
    ----------
    named
        The program, or the folder of the virtual environment that it is installed in. For ``cas`` the program is the Python
        of such an environment. None = look for ``cellxgene-schema`` on PATH.

    Raises
    ------
    InputError
        If what is named is not there.
    """
    program = "cellxgene-schema" if archive == "cellxgene" else "python"
    if named is None:
        found = shutil.which(program) if archive == "cellxgene" else None
        return Path(found) if found else None
    inside = named / ("Scripts" if sys.platform == "win32" else "bin") / program
    path = inside if named.is_dir() else named
    if not path.is_file():
        message = f"--validator {named}: there is no {path}. {how_to_get(archive)}"
        raise InputError(message)
    return path


def how_to_get(archive: Archive) -> str:
    """Return how to install a validator beside celljury."""
    return (
        f"Get the validator, in an environment of its own: python -m venv validators && validators/bin/pip install"
        f" {PACKAGE[archive]}; then pass --validator validators."
    )


def shown_lines(verdict: Verdict) -> list[str]:
    """Return what a validator said, a dozen at most of lines that differ only in the names they quote."""
    seen: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    for line in verdict.lines:
        shape = _QUOTED.sub("''", line)
        seen[shape] += 1
        if seen[shape] <= ALIKE:
            shown.setdefault(shape, []).append(line)
    for shape, lines in shown.items():
        if seen[shape] > ALIKE:
            lines.append(f"... and {seen[shape] - ALIKE:,} more like it (all with --json)")
    return [line for lines in shown.values() for line in lines]


def run_validator(archive: Archive, program: Path, file: Path, *, schemas: tuple[str, ...] = ()) -> Verdict:
    """Run a validator on a file and return what it said.

    Parameters
    ----------
    schemas
        For ``cas``: which of the package's schemas to hold the file against (``general``, ``BICAN``, ``CAP``).

    Raises
    ------
    OutputError
        If it cannot be started, or ends without a verdict.
    """
    arguments = ["validate", str(file)] if archive == "cellxgene" else ["-c", _CAS, str(file), *schemas]
    try:
        # What Python warns its programmers of is not for its users.
        env = os.environ | {"PYTHONWARNINGS": "ignore"}
        done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, env=env)
    except OSError as error:
        message = f"cannot run {program}: {error.strerror or error}. {file} is written; check it by hand."
        raise OutputError(message) from error
    lines = tuple(line.rstrip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip())
    # Both end with a verdict; a program that fell over before has none.
    if not any("is_valid=" in line if archive == "cellxgene" else line.endswith("valid") for line in lines):
        said = "\n  ".join(lines[-5:])
        message = f"{program} failed with status {done.returncode}; {file} is written, but not checked by it. It said:\n  {said}"
        raise OutputError(message)
    told = tuple(_LOGGED.sub("", line) for line in lines if not line.startswith("INFO:"))
    return Verdict(PACKAGE[archive], done.returncode == 0, told)
