"""Settings: what is refused and how it is said, what wins over what, and that TOML goes round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from celljury.config import DEFAULT_MEMBERS, Config
from celljury.errors import ConfigError


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "celljury.toml"
    path.write_text(text, encoding=encoding)
    return path


def test_nothing_given_is_the_defaults() -> None:
    config = Config.read()
    assert config == Config()
    assert config.member_names == DEFAULT_MEMBERS
    assert not config.all_required


def test_all_required_names_the_default_members() -> None:
    config = Config.read(members="all-required")
    assert config.member_names == DEFAULT_MEMBERS
    assert config.all_required


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "blocksize = 3", r"blocksize: there is no such setting\. Did you mean block_size\?", id="unknown_key"
        ),
        pytest.param(
            "[reduce]\nquorums = 0.5",
            r"reduce\.quorums: there is no such setting\. Did you mean quorum\? Known here: rule, quorum, on, tail\.",
            id="unknown_key_of_a_section_names_those_of_the_section",
        ),
        pytest.param(
            "[reducer]\nrule = 'lca'", r"reducer: there is no such setting\. Did you mean reduce\?", id="section"
        ),
        pytest.param('threads = "two"', r"threads: expected a valid integer.*got 'two'", id="wrong_type"),
        pytest.param("seed = 1.5", r"seed: expected a valid integer.*got 1\.5", id="a_fraction_is_no_integer"),
        pytest.param("seed = -1", r"seed: expected greater than or equal to 0, got -1", id="below_its_range"),
        pytest.param(
            "[reduce]\nquorum = 0.4", r"reduce\.quorum: expected greater than or equal to 0\.5", id="quorum_low"
        ),
        pytest.param("[reduce]\nquorum = 1.1", r"reduce\.quorum: expected less than or equal to 1", id="quorum_high"),
        pytest.param(
            "[reduce]\nrule = 'most'",
            r"reduce\.rule: expected 'auto', 'calibrated', 'lca' or 'quorum', got 'most'",
            id="choice",
        ),
        pytest.param("engine = 'dask'", r"engine: expected 'local' or 'processes', got 'dask'", id="engine"),
        pytest.param("block_size = 0", r"block_size: expected greater than or equal to 1, got 0", id="block_size"),
        pytest.param(
            "reduce = 'lca'", r"reduce: expected a section of settings, \[reduce\], got 'lca'", id="no_section"
        ),
        pytest.param(
            "members = 'logistic'", r'members: expected "default", .*a list of names', id="member_not_in_a_list"
        ),
        pytest.param("members = []", r"members: expected at least one member, got \[\]", id="no_member"),
        pytest.param("members = ['a', 'a']", r"members: expected every member once", id="member_named_twice"),
        pytest.param("members = ['a', 3]", r"members: expected .*a list of names", id="member_that_is_a_number"),
        pytest.param(
            "[settings]\nlogistic = 3", r"settings\.logistic: expected a section of settings", id="member_section"
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_rule(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        Config.read(path)
    assert str(caught.value).startswith(f"{path}: 1 setting(s) do not fit:\n")
    assert "docs/configuration.md" in str(caught.value)


def test_everything_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "seed = -1\nthreads = 0\n[genes]\nmin_shared = 1")
    with pytest.raises(ConfigError, match=r"3 setting\(s\)(.|\n)*seed(.|\n)*threads(.|\n)*genes\.min_shared"):
        Config.read(path)


def test_an_option_does_not_hide_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "reduce = 'lca'")
    with pytest.raises(ConfigError, match=r"celljury\.toml: .*\n.*reduce: expected a section"):
        Config.read(path, reduce__rule="quorum")
    with pytest.raises(ConfigError, match=r"^the options: .*\n.*reduce\.quorum"):
        Config.read(write(tmp_path, "seed = 1"), reduce__quorum=2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda f: f / "nowhere.toml", r"cannot be read: No such file or directory", id="missing"),
        pytest.param(lambda f: f, r"cannot be read: Is a directory", id="directory"),
        pytest.param(lambda f: write(f, "seed ="), r"cannot be read as TOML: Invalid value", id="syntax"),
        pytest.param(lambda f: write(f, "seed: 1"), r"Expected lines such as: seed = 1", id="yaml"),
        pytest.param(lambda f: write(f, "counts = 'é'", encoding="latin-1"), r"cannot be read as TOML", id="latin_1"),
    ],
)
def test_a_file_that_is_no_toml(make: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        Config.read(make(tmp_path))


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert Config.read(write(tmp_path, "seed = 7", encoding="utf-8-sig")).seed == 7


def test_options_win_over_the_file_and_the_file_over_the_base(tmp_path: Path) -> None:
    base = Config.read(seed=1, threads=2, slim="depth:2", reduce__rule="quorum", reduce__quorum=0.8,
                       settings={"logistic": {"a": 1, "b": 2}}, members=("logistic",))  # fmt: skip
    path = write(tmp_path, "threads = 3\nslim = 'depth:3'\n[reduce]\nquorum = 0.6\n[settings.logistic]\nb = 3")
    config = Config.read(path, base=base, slim="depth:4", reduce__on="mass", settings__logistic__c=4, seed=None)
    assert (config.seed, config.threads, config.slim) == (1, 3, "depth:4")
    assert (config.reduce.rule, config.reduce.quorum, config.reduce.on) == ("quorum", 0.6, "mass")
    assert config.settings == {"logistic": {"a": 1, "b": 3, "c": 4}}
    assert config.members == ("logistic",)


def test_reading_leaves_its_base_as_it_was() -> None:
    base = Config.read(settings={"logistic": {"a": 1}})
    Config.read(base=base, settings__logistic__a=2, reduce__quorum=0.9)
    assert base == Config.read(settings={"logistic": {"a": 1}})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


@hypothesis_settings(deadline=None)
@given(
    seed=st.integers(0, 2**31),
    members=st.one_of(
        st.sampled_from(["default", "all-required"]),
        st.lists(st.sampled_from(DEFAULT_MEMBERS), min_size=1, unique=True).map(tuple),
    ),
    time_limit=st.one_of(st.none(), st.floats(0.5, 1e6)),
    quorum=st.floats(0.5, 1),
    source=st.one_of(st.none(), st.just(Path("my ontology.obo"))),
    terms=st.one_of(st.none(), st.lists(st.sampled_from(["CL:0000000", "CL:0000548"])).map(tuple)),
    settings=st.dictionaries(
        st.sampled_from(["logistic", "singler"]), st.dictionaries(st.sampled_from("ab"), st.integers())
    ),
)
def test_toml_goes_round(tmp_path_factory: Any, settings: Any, **given: Any) -> None:
    config = Config.read(
        seed=given["seed"], members=given["members"], time_limit=given["time_limit"], reduce__quorum=given["quorum"],
        ontology__source=given["source"], too_general__terms=given["terms"], settings=settings,
    )  # fmt: skip
    path = write(tmp_path_factory.mktemp("toml"), config.to_toml())
    assert Config.read(path) == config
