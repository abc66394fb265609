"""A factory of runs on disk, made from votes alone: no member is fitted for a report."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pytest

from celljury.calls import make_calls
from celljury.config import ReduceSettings
from celljury.ontology.general import too_general
from celljury.ontology.load import load_ontology
from celljury.provenance import write_text
from celljury.reasons import Background
from celljury.report.summary import summarize
from celljury.run import Run, append_columns, join_calls, part_name, write_part
from celljury.votes import Votes, votes_to_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celljury.ontology.graph import CellOntology


class MakeRun(Protocol):
    """Writes a run from rows of term ids, empty = abstained."""

    def __call__(
        self,
        rows: Sequence[Sequence[str]],
        *,
        members: Sequence[str] = ...,
        absent: dict[str, str] = ...,
        space: int = ...,
        block: int = ...,
        **settings: Any,
    ) -> Run: ...


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, also not in a process that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLJURY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def cl() -> CellOntology:
    """CL 2026-03-26 from the installed guide."""
    return load_ontology(release="2026-03-26", cache=False)


@pytest.fixture(scope="session")
def make_run(cl: CellOntology, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Factory of runs; ``space`` is the number of coordinates that its cells have, 0 = labels without a place."""
    base, numbers = tmp_path_factory.mktemp("runs"), count()

    def make(
        rows: Sequence[Sequence[str]],
        *,
        members: Sequence[str] = ("a", "b", "c"),
        absent: dict[str, str] | None = None,
        space: int = 0,
        block: int = 1000,
        **settings: Any,
    ) -> Run:
        folder, n = base / f"run{next(numbers)}", len(rows)
        terms = np.array([[cl.index(i) if i else -1 for i in row] for row in rows], np.int32).reshape(n, len(members))
        names = np.array([f"cell{i}" for i in range(n)], dtype=str)
        votes = Votes(names, tuple(members), terms, None, np.full(terms.shape, np.nan, np.float32))
        none = np.zeros(n, bool)
        points = np.random.default_rng(0).normal(size=(n, max(space, 1))).astype(np.float32)
        for i, start in enumerate(range(0, n, block)):
            cut = slice(start, start + block)
            some = votes.rows(cut)
            calls = make_calls(
                some, cl, settings=ReduceSettings(**settings), too_general=too_general(cl),
                background=Background(tuple(members), absent or {}), max_conflict=0.25, broad=none[cut],
                obsolete=none[cut],
            )  # fmt: skip
            table = votes_to_table(some, cl)
            if space:
                coordinates = pa.FixedSizeListArray.from_arrays(pa.array(points[cut].ravel()), space)
                table = append_columns(table, pa.table({"_space": coordinates}))
            write_part(table, folder / "votes" / part_name(i))
            write_part(append_columns(calls.to_table(), calls.evidence()), folder / "calls" / part_name(i))
        join_calls(folder)
        record = {
            "members": [
                {"name": name, "absent": (absent or {}).get(name), "version": "" if name in (absent or {}) else "lib 1.0",
                 "cpu_seconds": {"adapt": 1.0, "predict": 0.5}}
                for name in members
            ],
            "ontology": {"release": cl.source.release},
            "tier": "none",
            "promise": "No error rate is promised.",
        }  # fmt: skip
        write_text(folder / "run.json", json.dumps(record))
        run = Run.open(folder)
        (folder / "tables").mkdir()
        terms_table = summarize(run, cl, None)
        write_text(folder / "tables" / "terms.tsv", terms_table.to_csv(sep="\t", index=False, lineterminator="\n"))
        return run

    return make
