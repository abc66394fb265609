"""Every command of the README and the docs runs as it stands, in this order, on what the demo leaves."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib

import pandas as pd
import pytest

from celljury.config import Config
from celljury.reasons import Reason

PAGES = (
    "README.md", "docs/vote.md", "docs/configuration.md", "docs/ontology.md", "docs/evaluate.md", "docs/review.md",
    "docs/exports.md", "docs/compare.md", "docs/members.md", "docs/own-member.md",
)  # fmt: skip
# In this order: a later one goes on with what an earlier one leaves.
GUIDES = ("first-annotation", "high-stakes-atlas", "own-labels", "paper-table")
CLI = (sys.executable, "-c", "from celljury.cli import main; main()")


def blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def run_line(line: str, folder) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line, comments=True)
    assert words[0] == "celljury", line
    return subprocess.run([*CLI, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder in which the demo was run, and what it printed."""
    folder = tmp_path_factory.mktemp("docs")
    done = run_line("celljury demo --out demo", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_demo_lists_six_members_and_its_table_adds_up(demo):
    folder, printed = demo
    assert "6 of 6 members present" in printed
    assert len(re.findall(r"^  \w+ +present", printed, flags=re.MULTILINE)) == 6
    table = printed.split("to review\n")[1].split("\n\n")[0].splitlines()
    counts = [int(re.search(r" +([\d,]+) +\d+\.\d ", row).group(1).replace(",", "")) for row in table[:-1]]
    total = int(re.search(r"all cells +([\d,]+)", table[-1]).group(1).replace(",", ""))
    calls = pd.read_parquet(folder / "demo" / "run" / "calls.parquet")
    assert sum(counts) == total == len(calls) == 353
    assert "Walking up from the most voted term" in printed
    assert "<- the call" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "run.json", "calls.parquet", "queue.tsv", "query.celljury.h5ad", "tables/summary.tsv", "tables/terms.tsv",
        "figures/cells.png", "figures/cells.svg", "figures/member_agreement.png", "votes/part-00000.parquet",
        "calls/part-00000.parquet", "log.jsonl",
    ],
)  # fmt: skip
def test_demo_writes(demo, name):
    folder, _ = demo
    assert (folder / "demo" / "run" / name).stat().st_size > 100


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_run_as_they_stand(demo, root, page):
    folder, _ = demo
    text = (root / page).read_text()
    for toml in blocks(text, "toml"):
        name = re.match(r"# (\S+\.toml)", toml).group(1)
        (folder / name).write_text(toml)
    for name, tsv in re.findall(r"`(\w+\.tsv)`:\n\n```tsv\n(.*?)```", text, flags=re.DOTALL):
        (folder / name).write_text(tsv)
    lines = [
        line
        for block in blocks(text, "bash")
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert lines
    for line in lines:
        done = run_line(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line


@pytest.mark.slow
def test_guides_run_as_they_stand_and_say_what_they_show(demo, root):
    """Commands and Python of the four guides in turn; every line that a guide shows is printed, numbers aside."""
    folder, _ = demo
    for guide in GUIDES:
        text = (root / "docs" / "guides" / f"{guide}.md").read_text()
        printed, shown = "", []
        for language, block in re.findall(r"```(bash|python|text)\n(.*?)```", text, flags=re.DOTALL):
            if language == "text":
                shown += block.splitlines()
            elif language == "python":
                done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
                assert done.returncode == 0, f"{guide}\n{block}\n{done.stderr}"
                printed += done.stdout
            else:
                for line in block.splitlines():
                    done = run_line(line, folder)
                    assert done.returncode == 0, f"{guide}: {line}\n{done.stderr}"
                    printed += done.stdout
        assert shown, guide
        lines = {shape(line) for line in printed.splitlines()}
        for line in shown:
            assert shape(line) in lines, f"{guide} shows what is not printed: {line}"


def shape(line: str) -> str:
    """A line without its numbers and the width of its columns."""
    return re.sub(r"\s+", " ", re.sub(r"[\d,]*\d(\.\d+)?", "#", line)).strip()


@pytest.mark.slow
def test_python_example_runs(demo, root):
    folder, _ = demo
    (code,) = blocks((root / "README.md").read_text(), "python")
    env = os.environ | {"PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert (folder / "python-run" / "calls.parquet").exists()


def test_vote_page_shows_what_the_command_says(root, tmp_path):
    text = (root / "docs" / "vote.md").read_text()
    (tmp_path / "scpca.toml").write_text(blocks(text, "toml")[0])
    (tmp_path / "labels.tsv").write_text(blocks(text, "tsv")[0])
    (line,) = blocks(text, "bash")
    done = run_line(line.strip(), tmp_path)
    assert done.returncode == 0, done.stderr
    shown = next(block for block in blocks(text, "text") if "all cells" in block)
    printed = [row.strip() for row in done.stdout.splitlines()]
    for row in shown.strip().splitlines():
        assert row.strip() in printed
    calls = pd.read_parquet(tmp_path / "consensus" / "calls.parquet").set_index("cell_id")
    assert calls.loc["cell-1", "term"] == "CL:0000791"
    assert calls.loc["cell-3", "term"] == "CL:0000540"
    assert calls.loc["cell-4", "status"] == "unresolved"
    assert calls.loc["cell-5", ["term", "n_votes"]].tolist() == ["CL:0000236", 1]


def test_configuration_page_lists_every_key(root):
    text = (root / "docs" / "configuration.md").read_text()
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / "config-table.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in text


@pytest.mark.parametrize("page", PAGES)
def test_config_examples_are_valid(root, page):
    for toml in blocks((root / page).read_text(), "toml"):
        Config.checked(tomllib.loads(toml), where=page)


def test_rules_page_lists_every_reason(root):
    text = (root / "docs" / "rules.md").read_text()
    for reason in Reason:
        assert f"| `{reason.code}` |" in text


def test_pictures_and_links_of_the_docs_exist(root):
    for page in [root / "README.md", *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
