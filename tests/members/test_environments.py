"""Environments: made from pinned requirements, never half, and every refusal says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from celljury.errors import ConfigError, MemberUnavailableError, OutputError
from celljury.members import environments
from celljury.members.environments import (
    FOLDER_VARIABLE,
    environment_names,
    install,
    pinned_version,
    python_of,
    requirements_of,
    why_not_installed,
)


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """An environment "toy" whose only requirement is a package made here; nothing is fetched."""
    source = tmp_path / "toy_package"
    source.mkdir()
    (source / "toy_package.py").write_text("__version__ = '1.5'\n")
    info = source / "toy_package-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.5\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").write_text("")
    wheel = tmp_path / "toy_package-1.5-py3-none-any.whl"
    subprocess.run([sys.executable, "-m", "zipfile", "-c", str(wheel), *map(str, source.iterdir())], check=True)
    text = f"# python: 3.9-3.13\n--no-index\n--find-links {tmp_path}\ntoy-package==1.5\n"
    real = environments.requirements_of
    monkeypatch.setattr(environments, "requirements_of", lambda name: text if name == "toy" else real(name))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "environments"))
    return tmp_path


def test_installed_once_it_serves_until_its_requirements_change(toy, monkeypatch) -> None:
    assert why_not_installed("toy") == "its environment 'toy' is not installed: celljury members install toy"
    said: list[str] = []
    place = install("toy", say=said.append)
    assert [line.split(":")[0] for line in said] == ["toy"] * 3
    assert why_not_installed("toy") is None
    done = subprocess.run(
        [str(python_of("toy")), "-c", "import toy_package; print(toy_package.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "1.5"
    assert pinned_version("toy", "Toy_Package") == "1.5"
    monkeypatch.setattr(environments, "requirements_of", lambda name: "toy-package==1.6\n")
    assert "made from other requirements than today's" in str(why_not_installed("toy"))
    monkeypatch.undo()
    monkeypatch.setenv(FOLDER_VARIABLE, str(place.parent))
    assert json.loads((place / "installed.json").read_text())["python"]


def test_interrupted_it_counts_as_not_installed(toy) -> None:
    place = toy / "environments" / "toy"
    place.mkdir(parents=True)
    (place / "half").write_text("")
    assert "is not installed" in str(why_not_installed("toy"))


def test_what_pip_cannot_find_is_told_with_the_log(toy, monkeypatch) -> None:
    monkeypatch.setattr(environments, "requirements_of", lambda name: "--no-index\nno-such-package==1.0\n")
    with pytest.raises(
        MemberUnavailableError, match=r"(?s)'toy' could not be installed.*no-such-package.*install\.log"
    ):
        install("toy", say=lambda text: None)
    assert "is not installed" in str(why_not_installed("toy"))


def test_python_that_does_not_fit_is_refused_with_those_that_were_found(toy, monkeypatch) -> None:
    monkeypatch.setattr(environments, "requirements_of", lambda name: "# python: 3.1-3.2\n")
    with pytest.raises(MemberUnavailableError, match=r"needs Python 3\.1 to 3\.2.*--python"):
        install("toy", say=lambda text: None)
    with pytest.raises(MemberUnavailableError, match=r"/no/python \(does not run\)"):
        install("toy", python=Path("/no/python"), say=lambda text: None)


def test_folder_that_cannot_be_written_is_named(toy, monkeypatch) -> None:
    (toy / "file").write_text("")
    monkeypatch.setenv(FOLDER_VARIABLE, str(toy / "file"))
    with pytest.raises(OutputError, match="cannot write to"):
        install("toy", say=lambda text: None)


def test_without_r_its_environment_says_so(monkeypatch) -> None:
    monkeypatch.setattr(environments, "r_version", lambda: None)
    assert "R is not installed" in str(why_not_installed("r"))
    with pytest.raises(MemberUnavailableError, match="R is not installed"):
        install("r")


@pytest.mark.parametrize("version", [(4, 2, 2), (4, 4, 9), None])
def test_rpy2_fits_an_older_r(monkeypatch, version) -> None:
    monkeypatch.setattr(environments, "r_version", lambda: version)
    assert pinned_version("r", "rpy2-rinterface") == "3.6.5"


def test_rpy2_fits_a_newer_r(monkeypatch) -> None:
    monkeypatch.setattr(environments, "r_version", lambda: (4, 5, 0))
    newer = pinned_version("r", "rpy2-rinterface")
    assert newer is not None
    assert tuple(map(int, newer.split("."))) > (3, 6, 6)


def test_header_says_how_it_is_installed(toy, monkeypatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(environments, "_run", lambda command, log, name, variables: ran.append((command, variables)))
    text = "# python: 3.9-3.13\n# pip: --no-deps --pre\n# with: A_VARIABLE=x=y\ntoy-package==1.5\n"
    monkeypatch.setattr(environments, "requirements_of", lambda name: text)
    install("toy", say=lambda line: None)
    (_, none), (command, variables) = ran
    assert none == {}
    assert variables == {"A_VARIABLE": "x=y"}
    assert command[command.index("install") + 1 : -2] == ["--no-deps", "--pre"]


def test_every_requirement_is_pinned() -> None:
    for name in environment_names():
        lines = [line for line in requirements_of(name).splitlines() if line and not line.startswith(("#", "--"))]
        assert lines, name
        assert all("==" in line for line in lines), name


def test_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no environment 'scarchess'.*scarches"):
        requirements_of("scarchess")
