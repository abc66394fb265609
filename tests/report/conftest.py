"""A factory of runs on disk, made from votes alone: no member is fitted for a report."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
    from pathlib import Path

    from celljury.ontology.graph import CellOntology


class WriteRun(Protocol):
    """Writes a run whose calls are as given."""

    def __call__(
        self,
        cells: pd.DataFrame,
        *,
        final: pd.DataFrame | None = ...,
        batch: Sequence[int] = ...,
        folder: Path | None = ...,
        **record: Any,
    ) -> Run: ...


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


@pytest.fixture(scope="session")
def write_run(tmp_path_factory: pytest.TempPathFactory) -> WriteRun:
    """Factory of runs from a frame of calls, of any status; ``final`` has the decided ``term``, ``status``, ``reviewed``.

    ``cells`` needs ``term`` (None = none) and ``status``; other columns of calls are filled in.
    """
    base, numbers = tmp_path_factory.mktemp("written"), count()

    def write(
        cells: pd.DataFrame,
        *,
        final: pd.DataFrame | None = None,
        batch: Sequence[int] = (),
        folder: Path | None = None,
        **record: Any,
    ) -> Run:
        folder = folder or base / f"run{next(numbers)}"
        folder.mkdir(parents=True)
        n = len(cells)
        filled = pd.DataFrame({"cell_id": [f"cell{i}" for i in range(n)]}).assign(
            label=None, depth=0, agreement=1.0, support=1.0, needs_review=False
        )
        calls = filled.assign(**{name: cells[name].to_numpy() for name in cells})
        types = {"depth": pa.int32(), "agreement": pa.float32(), "support": pa.float32(), "needs_review": pa.bool_()}
        pq.write_table(_table(calls, types), folder / "calls.parquet")
        if final is not None:
            decided = pd.DataFrame({"cell_id": calls["cell_id"], "label": None, "depth": calls["depth"]}).assign(
                **{name: final[name].to_numpy() for name in final}, call_term=calls["term"], call_status=calls["status"]
            )
            pq.write_table(_table(decided, {"depth": pa.int32(), "reviewed": pa.bool_()}), folder / "final.parquet")
        if len(batch):
            write_part(pa.table({"_batch": pa.array(batch, pa.int32())}), folder / "votes" / part_name(0))
        told = {"members": [], "tier": "none", "promise": "No error rate is promised."} | record
        write_text(folder / "run.json", json.dumps(told))
        return Run.open(folder)

    return write


def _table(frame: pd.DataFrame, types: dict[str, pa.DataType]) -> pa.Table:
    """Return an arrow table as `celljury annotate` writes it: texts as dictionaries, names of cells as text."""
    text = pa.dictionary(pa.int32(), pa.string())
    columns = {
        name: pa.array(frame[name].astype(object).where(frame[name].notna(), None), types.get(name, pa.string()))
        for name in frame
    }
    return pa.table({k: v if k in types or k == "cell_id" else v.cast(text) for k, v in columns.items()})
