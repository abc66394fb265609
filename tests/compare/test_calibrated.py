"""Calibrated runs of real members on the demo's cells: causes by replay of the whole decision, or by evidence."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.compare import compare_runs
from celljury.config import Config
from celljury.demo import LABELS, demo_halves, demo_map
from celljury.jury import Jury
from celljury.provenance import write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celljury.compare import Comparison

pytestmark = pytest.mark.slow

Annotated = "Callable[..., Path]"


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Annotates the demo's query with two members or one; every run is made once."""
    base = tmp_path_factory.mktemp("calibrated")
    reference, query = demo_halves()
    juries: dict[tuple[str, ...], Jury] = {}

    def make(
        name: str, *, members: tuple[str, ...] = ("logistic", "singler"), thin: float = 1.0, **settings: Any
    ) -> Path:
        folder = base / name
        if (folder / "run.json").is_file():
            return folder
        if members not in juries:
            config = Config.read(None, members=members, engine="local")
            juries[members] = Jury.fit(
                reference, labels=LABELS, label_map=demo_map(), out=base / f"jury-{len(members)}", config=config
            )
        cells = query.copy()
        if thin < 1:
            counts = np.random.default_rng(0).binomial(cells.X.data.astype(int), thin)
            cells.X.data[:] = np.maximum(counts, 1)
        jury = juries[members]
        run = jury.annotate(cells, out=folder, config=Config.read(None, base=jury.config, **settings))
        return run.folder

    return make


def compared(a: Path, b: Path, **options: Any) -> Comparison:
    return compare_runs(a, b, write=False, **options)


def causes(found: Comparison) -> set[str]:
    return {name for name, n in found.n_by_cause.items() if n}


def test_other_alpha_is_all_the_threshold_s_doing(annotated: Callable[..., Path]) -> None:
    a, b = annotated("plain"), annotated("ten", calibration__alpha=0.1)
    found = compared(a, b)
    assert found.n_by_change["more_specific"] > 20
    assert causes(found) == {"threshold"}
    assert found.n_by_how == {"replay": found.n_changed, "evidence": 0, "not_explained": 0}
    back = compared(b, a)
    assert back.n_by_change["more_general"] == found.n_by_change["more_specific"]
    assert causes(back) == {"threshold"}


def test_other_eps_makes_cells_unseen(annotated: Callable[..., Path]) -> None:
    found = compared(annotated("plain"), annotated("strict", calibration__eps=0.2))
    assert found.n_by_change["newly_unseen"] > 20
    assert causes(found) == {"eps"}
    assert found.n_by_how["replay"] == found.n_changed
    off = compared(annotated("plain"), annotated("untested", calibration__unseen=False))
    assert set(np.unique(off.transitions["status_b"])) <= {"resolved", "backed_off", "unresolved"}
    assert causes(off) == {"eps"}


def test_alpha_and_eps_at_once(annotated: Callable[..., Path]) -> None:
    found = compared(annotated("plain"), annotated("both", calibration__eps=0.2, calibration__alpha=0.1))
    assert causes(found) == {"threshold", "eps"}
    assert found.n_by_how["replay"] == found.n_changed


def test_other_rule_on_the_same_votes(annotated: Callable[..., Path]) -> None:
    lca = annotated("lca", reduce__rule="lca")
    found = compared(annotated("plain"), lca)
    assert causes(found) == {"rule"}
    assert found.n_by_how["replay"] == found.n_changed
    mass = annotated("mass", reduce__rule="quorum", reduce__on="mass")
    assert causes(compared(lca, mass)) == {"rule"}


def test_other_pool_is_the_evidence_s_doing(annotated: Callable[..., Path]) -> None:
    found = compared(annotated("plain"), annotated("equal", calibration__pool="equal"))
    assert found.n_changed > 20
    assert "evidence" in causes(found)
    assert causes(found) <= {"evidence", "belonging", "review", "not_explained"}
    assert found.n_by_how["replay"] == found.n_changed


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["member_left_out", "member_added"])
def test_member_that_only_one_jury_has(annotated: Callable[..., Path], order: tuple[int, int]) -> None:
    runs = annotated("plain"), annotated("alone", members=("logistic",))
    found = compared(runs[order[0]], runs[order[1]])
    assert found.n_by_change["more_general"] > 0
    assert causes(found) == {"members"}
    assert list(found.members_by_cause["members"]) == ["singler"]
    assert found.n_by_how["replay"] == found.n_changed
    assert found.jury.startswith("Another jury")


def test_thinned_cells_change_through_the_members_votes(annotated: Callable[..., Path]) -> None:
    found = compared(annotated("plain"), annotated("thin", thin=0.8))
    assert "votes" in causes(found)
    assert set(found.members_by_cause["votes"]) == {"logistic", "singler"}
    assert found.n_by_how["not_explained"] == 0
    assert found.n_by_how["replay"] == found.n_changed
    assert [row[0] for row in found.differences["query"]] == ["sha256"]


def test_without_the_jury_causes_are_read_off_the_evidence(annotated: Callable[..., Path], tmp_path: Path) -> None:
    a, b = (tmp_path / name for name in "ab")
    shutil.copytree(annotated("plain"), a)
    shutil.copytree(annotated("both", calibration__eps=0.2, calibration__alpha=0.1), b)
    replayed = compared(a, b)
    for folder in (a, b):
        record = pd.read_json(folder / "run.json", typ="series").to_dict()
        record["jury"]["folder"] = "/nowhere/jury"
        write_json(folder / "run.json", record)
    found = compared(a, b)
    assert found.n_by_change == replayed.n_by_change
    assert found.n_by_how == {"replay": 0, "evidence": found.n_changed, "not_explained": 0}
    assert "is not there, or was fitted anew since" in found.replay_note
    # A cell that became unseen is put down to eps alone: only a replay sees that its threshold counted too.
    assert found.n_by_cause["eps"] == replayed.n_by_cause["eps"]
    assert found.n_by_cause["threshold"] <= replayed.n_by_cause["threshold"]
