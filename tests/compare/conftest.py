"""Two releases of a toy ontology, sides of a comparison in memory through the real reducer, and runs on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pytest

from celljury.api import vote
from celljury.calls import make_calls
from celljury.compare.sides import Calls, Side
from celljury.config import Config
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology, ontology_from_edges
from celljury.reasons import Background
from celljury.run import Run
from celljury.votes import Votes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celljury.ontology.graph import CellOntology


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, also not in a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLJURY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy() -> CellOntology:
    r"""The first release.

    ::

                 cell T:0
                /        \
         blood T:1      motile T:7
        /   |    \       /
     T T:2  B T:6  mono T:8
     /    \
    CD4 T:3  memory T:4
     \    /
    CD4 memory T:5
    """
    return ontology_from_edges(
        {
            "T:0": "cell", "T:1": "blood cell", "T:2": "T cell", "T:3": "CD4-positive T cell", "T:4": "memory T cell",
            "T:5": "CD4-positive memory T cell", "T:6": "B cell", "T:7": "motile cell", "T:8": "monocyte",
        },
        {"T:1": ["T:0"], "T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:2"], "T:5": ["T:3", "T:4"], "T:6": ["T:1"],
         "T:7": ["T:0"], "T:8": ["T:1", "T:7"]},
        release="first",
    )  # fmt: skip


@pytest.fixture(scope="session")
def later() -> CellOntology:
    """The second release.

    T:5 is obsolete without a successor; T:6 was replaced by T:60; T:61 is new under it, and T:62 under T:3; T:8 has another
    label and is no longer motile; memory T:4 moved out of the T cells.
    """
    return ontology_from_edges(
        {
            "T:0": "cell", "T:1": "blood cell", "T:2": "T cell", "T:3": "CD4-positive T cell", "T:4": "memory T cell",
            "T:60": "B lymphocyte", "T:61": "plasma cell", "T:62": "resting CD4 cell",
            "T:7": "motile cell", "T:8": "mononuclear monocyte",
        },
        {"T:1": ["T:0"], "T:2": ["T:1"], "T:3": ["T:2"], "T:4": ["T:1"], "T:60": ["T:1"], "T:61": ["T:60"],
         "T:62": ["T:3"],
         "T:7": ["T:0"], "T:8": ["T:1"]},
        replaced={"T:6": "T:60"},
        obsolete={"T:5": "obsolete CD4-positive memory T cell", "T:6": "obsolete B cell"},
        release="second",
    )  # fmt: skip


class MakeSide(Protocol):
    """Makes a run in memory, see `_side_of`."""

    def __call__(self, ontology: CellOntology, votes: Sequence[Sequence[str]], **settings: Any) -> Side: ...


def _side_of(
    ontology: CellOntology,
    votes: Sequence[Sequence[str]],
    *,
    members: Sequence[str] = ("a", "b", "c"),
    absent: Sequence[str] = (),
    decided: dict[int, tuple[str, str]] | None = None,
    **settings: Any,
) -> Side:
    """A run in memory: rows of term ids by member, called by the real reducer.

    ``decided`` has term and status by cell; ``settings`` are those of a config, as ``reduce__quorum``.
    """
    config = Config.read(None, **settings)
    n = len(votes)
    terms = np.array([[ontology.index(t) if t else -1 for t in row] for row in votes], np.int32).reshape(
        n, len(members)
    )
    terms[:, [name in absent for name in members]] = -1
    names = np.array([f"cell{i}" for i in range(n)])
    no = np.zeros(n, bool)
    calls = make_calls(
        Votes(names, tuple(members), terms, None, np.full(terms.shape, np.nan, np.float32)), ontology,
        settings=config.reduce, too_general=too_general(ontology, **config.too_general.model_dump()),
        background=Background(tuple(members), dict.fromkeys(absent, "gone")), max_conflict=config.review.max_conflict,
        broad=no, obsolete=no,
    )  # fmt: skip
    decided = decided or {}
    rows = list(decided)
    what_term, what_status, who = np.full(n, -1, np.int32), np.full(n, -1, np.int8), no.copy()
    statuses = ["resolved", "backed_off", "unresolved", "unseen"]
    for row in rows:
        term, status = decided[row]
        what_term[row], what_status[row], who[row] = ontology.index(term) if term else -1, statuses.index(status), True
    reduced = calls.reduced
    said = Calls(
        reduced.term, reduced.status, reduced.support, reduced.conflict, np.full(n, np.nan, np.float32),
        calls.needs_review, no, terms, who, what_term, what_status,
    )  # fmt: skip
    run = Run(Path("nowhere"))
    vars(run)["record"] = {
        "members": [{"name": name, "absent": "gone" if name in absent else None} for name in members],
        "config": config.model_dump(mode="json"), "rule": config.reduce.effective(calibrated=False),
        "ontology": {"release": ontology.source.release},
    }  # fmt: skip
    return Side(run, ontology, "final" if decided else "calls", tuple(members), said)


@pytest.fixture(scope="session")
def side_of() -> MakeSide:
    """Factory of sides in memory."""
    return _side_of


class MakeRun(Protocol):
    """Writes a run of labels with the real command."""

    def __call__(self, rows: dict[str, Sequence[str]], **settings: Any) -> Path: ...


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Factory of runs on disk: rows of CL ids or labels by cell name, empty = abstained; ``name`` is the folder's."""

    def make(
        rows: dict[str, Sequence[str]], *, name: str = "run", members: Sequence[str] = ("a", "b", "c"), **settings: Any
    ) -> Path:
        table = pd.DataFrame.from_dict(rows, orient="index", columns=list(members), dtype=str).rename_axis("cell_id")
        path = tmp_path / f"{name}.tsv"
        table.to_csv(path, sep="\t")
        config = Config.read(None, **settings)
        return vote(path, tuple(members), out=tmp_path / name, config=config).folder

    return make


@pytest.fixture(scope="session")
def cl_old() -> CellOntology:
    """CL 2025-02-13 from the installed guide."""
    return load_ontology(release="2025-02-13", cache=False)


@pytest.fixture(scope="session")
def cl_new() -> CellOntology:
    """CL 2026-03-26 from the installed guide."""
    return load_ontology(release="2026-03-26", cache=False)
