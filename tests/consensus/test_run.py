"""A run's folder: opened, or refused with the next step; parts in order; calls joined without their evidence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from celljury.errors import UnreadableFileError
from celljury.run import Run, append_columns, join_calls, part_name, write_part

if TYPE_CHECKING:
    from pathlib import Path


def part(names: list[str], labels: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "cell_id": names,
            "label": pa.array(labels, pa.string()).dictionary_encode(),
            "_end": pa.array(range(len(names)), pa.int32()),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of three parts, written out of order; the second has no cell with a label, the third is empty."""
    (tmp_path / "run.json").write_text(json.dumps({"tier": "none"}), encoding="utf-8")
    write_part(part(["c3"], [None]), tmp_path / "calls" / part_name(1))
    write_part(part([], []), tmp_path / "calls" / part_name(2))
    write_part(part(["c1", "c2"], ["B cell", "T cell"]), tmp_path / "calls" / part_name(0))
    return tmp_path


def test_folder_without_a_run_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableFileError, match=r"no run\.json\)\. Make one with: celljury annotate or celljury vote"
    ):
        Run.open(tmp_path)


def test_record_is_what_run_json_says(folder: Path) -> None:
    assert Run.open(folder).record == {"tier": "none"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"{", "Expecting property name", id="cut"),
        pytest.param(b"\xff", "utf-8", id="no_text"),
        pytest.param(b"[]", "expected an object, got list", id="no_object"),
        pytest.param(b"{}", "it has no 'query'", id="a_part_is_missing"),
    ],
)
def test_damaged_record_says_what_to_do(folder: Path, content: bytes, said: str) -> None:
    (folder / "run.json").write_bytes(content)
    with pytest.raises(
        UnreadableFileError, match=rf"run\.json cannot be read: .*{said}.*put a copy in its place"
    ) as caught:
        _ = Run.open(folder).record["query"]
    assert "decisions are kept" in str(caught.value)


def test_record_without_what_may_be_missing_is_fine(folder: Path) -> None:
    record = Run.open(folder).record
    assert "jury" not in record
    assert record.get("jury") is None
    assert json.loads(json.dumps(record | {"more": 1})) == {"tier": "none", "more": 1}


def test_parts_come_in_the_order_of_the_cells(folder: Path) -> None:
    names = [row for table in Run(folder).parts("calls") for row in table["cell_id"].to_pylist()]
    assert names == ["c1", "c2", "c3"]


def test_parts_beyond_ten_keep_their_order(tmp_path: Path) -> None:
    for i in reversed(range(12)):
        write_part(part([f"c{i}"], [None]), tmp_path / "votes" / part_name(i))
    names = [table["cell_id"][0].as_py() for table in Run(tmp_path).parts("votes")]
    assert names == [f"c{i}" for i in range(12)]


def test_parts_can_be_read_by_column(folder: Path) -> None:
    assert {tuple(table.column_names) for table in Run(folder).parts("calls", columns=["_end"])} == {("_end",)}


def test_joined_calls_hold_all_rows_and_no_evidence(folder: Path) -> None:
    join_calls(folder)
    calls = Run(folder).calls
    assert calls.index.tolist() == ["c1", "c2", "c3"]
    assert calls.columns.tolist() == ["label"]
    assert calls["label"].astype(object).tolist()[:2] == ["B cell", "T cell"]
    assert calls["label"].isna().tolist() == [False, False, True]


def test_nothing_half_written_is_left(folder: Path) -> None:
    join_calls(folder)
    assert list(folder.rglob("*.partial")) == []
    assert pq.read_schema(folder / "calls.parquet").names == ["cell_id", "label"]


def test_appended_columns_stand_at_the_right() -> None:
    table = append_columns(pa.table({"a": [1]}), pa.table({"b": [2], "c": [3]}))
    assert table.to_pydict() == {"a": [1], "b": [2], "c": [3]}
