"""`celljury members` and `celljury doctor`: every member is told of truly, and one that is ill is noticed."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import pytest
import typer.testing

from celljury import doctor as doctor_module
from celljury import roster as roster_module
from celljury.cli import app
from celljury.config import DEFAULT_MEMBERS, Config
from celljury.doctor import check_up
from celljury.errors import ConfigError
from celljury.members.also_known import REFUSED, SAME_AS
from celljury.members.environments import FOLDER_VARIABLE
from celljury.members.logistic import Logistic
from celljury.progress import silent
from celljury.roster import entry_of, roster

NAMES = {
    "logistic", "celltypist", "symphony", "singler", "scvi_knn", "scanvi", "svm", "random_forest", "xgboost",
    "harmony_knn", "bbknn", "scanorama_knn", "totalvi_knn", "foundation", "scpoli", "schpl", "seurat_transfer",
    "symphony_r", "panhuman_azimuth",
}  # fmt: skip


def run(*arguments: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})


# list ---------------------------------------------------------------------------------------------------------------


def test_every_member_of_the_field_is_listed_or_refused_with_a_reason() -> None:
    entries = {entry.name: entry for entry in roster()}
    assert set(entries) >= NAMES
    assert tuple(entries)[:6] == DEFAULT_MEMBERS
    assert set(REFUSED) >= {"onclass"}
    assert set(SAME_AS.values()) <= NAMES
    done = run("members", "list")
    assert done.exit_code == 0, done.output
    for name in NAMES | {"onclass"}:
        assert name in done.output
    told = json.loads(run("members", "list", "--json").output)
    assert {member["name"] for member in told["members"]} == set(entries)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_says_what_it_is_what_its_score_means_and_when_it_fails(name) -> None:
    entry = entry_of(name)
    assert not isinstance(entry, str)
    about = entry.about
    assert about is not None, entry.why_not
    for sentence in (about.what, about.score, about.right, about.fails):
        assert len(sentence.split()) >= 5
        assert sentence.endswith((".", ")")) or sentence[-1].isalnum()
    assert about.licence
    assert about.cite
    shown = " ".join(run("members", "describe", name).output.split())
    for sentence in (about.what, about.score, about.fails, about.licence):
        assert " ".join(sentence.split()) in shown


def test_what_was_measured_is_that_of_the_shipped_table() -> None:
    entry = entry_of("logistic")
    assert not isinstance(entry, str)
    assert entry.measured is not None
    assert 0.9 < entry.measured.accuracy <= 1
    assert len(entry.measured.auroc) == 5
    assert f"{entry.measured.cpu_fit:.1f}" in run("members", "list").output


def test_page_on_members_holds_the_shipped_table_and_every_member(root) -> None:
    from members_bench import BEGIN, END, TABLE, page_table

    rows = [tuple(line.split("\t")) for line in TABLE.read_text().splitlines()[2:]]
    page = (root / "docs" / "members.md").read_text()
    assert page.split(BEGIN)[1].split(END)[0] == page_table(rows)
    described = {line.split("`")[1] for line in page.split("## Measured")[0].splitlines() if line.startswith("| `")}
    assert described == NAMES


@pytest.mark.parametrize(
    ("asked", "found"), [("Geneformer", "foundation"), ("Azimuth", "seurat_transfer"), ("tree-arches", None)]
)
def test_names_of_other_tools_are_understood(asked, found) -> None:
    if found is None:
        with pytest.raises(ConfigError, match=r"no member 'tree-arches'\. Did you mean treearches\?"):
            entry_of(asked)
    else:
        entry = entry_of(asked)
        assert not isinstance(entry, str)
        assert entry.name == found


def test_what_is_not_here_gives_its_reason() -> None:
    assert "155 MB" in run("members", "describe", "OnClass").output.replace("\n", " ")


def test_member_that_cannot_be_imported_is_listed_as_absent(monkeypatch) -> None:
    def points(group: str) -> list[object]:
        class Broken:
            name, value = "broken", "no_such_module:Member"

            def load(self) -> None:
                raise ImportError("no module named no_such_module")  # noqa: EM101

        return [*entry_points(group=group), Broken()]

    monkeypatch.setattr(roster_module, "entry_points", points)
    monkeypatch.setattr("celljury.engine.entry_points", points)
    entry = next(entry for entry in roster() if entry.name == "broken")
    assert "no_such_module" in str(entry.why_not)
    assert "broken" in run("members", "list").output


# install ------------------------------------------------------------------------------------------------------------


def test_install_of_a_member_that_lives_here_names_the_pip_command() -> None:
    done = run("members", "install", "scanvi")
    assert done.exit_code == 1
    assert "lives in this Python: pip install 'celljury[scvi]'" in done.output


def test_install_without_a_name_or_with_a_wrong_one_says_which_there_are() -> None:
    assert "say what to install" in run("members", "install").output
    done = run("members", "install", "scpolo")
    assert done.exit_code == 1
    assert "there is no member 'scpolo'" in done.output


def test_member_and_environment_name_the_same_interpreter(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    made: list[str] = []
    monkeypatch.setattr("celljury.members.environments.install", lambda name, **_: made.append(name))
    assert run("members", "install", "scpoli", "scarches", "schpl").exit_code == 0
    assert made == ["scarches", "schpl"]


# doctor -------------------------------------------------------------------------------------------------------------


def test_doctor_tries_members_and_says_that_all_is_well() -> None:
    done = run("doctor", "--members", "logistic,singler")
    assert done.exit_code == 0, done.output
    assert "works" in done.output
    assert "All is well" in done.output
    for word in ("python", "memory", "disk", "R ", "scikit-learn"):
        assert word in done.output


def test_doctor_notices_a_member_that_learns_nothing(monkeypatch) -> None:
    def predict(self, block):
        votes = real(self, block)
        return type(votes)(votes.mass[:, ::-1], votes.strange, votes.signals)

    real = Logistic._predict
    monkeypatch.setattr(Logistic, "_predict", predict)
    found = check_up(Config(engine="local"), silent, members=("logistic",))
    ((_, tried),) = found.members
    assert tried is not None
    assert "of easily told cells right" in str(tried.failed)
    assert found.ill == ["logistic"]


def test_doctor_ends_with_status_3_where_a_default_member_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(Logistic, "modules", ("no_such_module",))
    done = run("doctor", "--no-trial")
    assert done.exit_code == 3
    assert "no_such_module" in done.output
    assert "1 to be mended: logistic" in done.output


def test_doctor_json_holds_what_it_shows() -> None:
    told = json.loads(run("doctor", "--no-trial", "--json").output)
    assert set(told) == {"machine", "libraries", "environments", "members", "ill"}
    assert {member["name"] for member in told["members"]} >= NAMES


def test_doctor_of_an_unknown_member_says_which_there_are() -> None:
    done = run("doctor", "--members", "logistics")
    assert done.exit_code == 1
    assert "there is no member 'logistics'" in done.output


def test_trial_leaves_no_file_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(doctor_module.tempfile, "tempdir", str(tmp_path))
    check_up(Config(engine="local"), silent, members=("logistic",))
    assert list(tmp_path.iterdir()) == []
