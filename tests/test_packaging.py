"""What is in the tree is in the wheel, starts quickly, and is what the metadata says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import zipfile
from importlib.metadata import entry_points

import celljury
from celljury.config import DEFAULT_MEMBERS

HOME = {
    "consensus": "celljury",
    "ontology": "celljury/ontology",
    "members": "celljury/members",
    "data": "celljury/data",
}


def test_wheel_holds_every_source_file_and_nothing_else(root, tmp_path):
    # The package list is written by hand: a folder it lacks still imports here, editable. From a copy, since a stale
    # build folder would ship deleted files.
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "demo", "*.egg-info", "tests")
    shutil.copytree(root, tree, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "-w", "-n", "-o", str(tmp_path / "dist"), str(tree)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        f"{HOME[path.relative_to(tree).parts[0]]}/{'/'.join(path.relative_to(tree).parts[1:])}"
        for top in HOME
        for path in (tree / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == wanted


def test_every_default_member_is_registered():
    registered = {point.name for point in entry_points(group="celljury.members")}
    assert set(DEFAULT_MEMBERS) <= registered


def test_public_names_are_there_and_imported_on_first_use():
    for name in celljury.__all__:
        assert getattr(celljury, name) is not None
    code = "import sys, celljury; print([m for m in ('pandas', 'torch', 'scipy', 'anndata') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_heavy_library():
    code = (
        "import sys; sys.argv = ['celljury', '--help']\n"
        "from celljury.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pandas', 'torch', 'scipy', 'anndata', 'numpy') if m in sys.modules], file=sys.stderr)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print(f"--help took {time.perf_counter() - started:.2f} s")  # shown, not asserted: the machine may be busy
    assert done.stderr.strip() == "[]"


def test_version_is_one(root):
    assert f'version = "{celljury.__version__}"' in (root / "pyproject.toml").read_text()
