"""The tables of a comparison: one row a cell, one a transition, one a term; their sums are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.calls import STATUS_NAMES
from celljury.compare.causes import How, why
from celljury.compare.kinds import Change
from celljury.ontology.patterns import distinct_rows
from celljury.provenance import written_beside
from celljury.votes import name_column

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.compare.carry import TermChange
    from celljury.compare.inputs import Both
    from celljury.compare.kinds import Changes, Said

    Rows = NDArray[np.int64]

ONLY_A, ONLY_B = "only_in_a", "only_in_b"
"""Values of the column ``change`` for cells that the other run does not have."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Common cells with what changed and why; every field is (n_common,).

    Attributes
    ----------
    a, b
        What each run says, terms in its own ontology.
    changes
        What changed.
    why
        Bits of `celljury.compare.causes.Cause`, int32.
    members
        Bit j for each of the runs' members behind it, int64.
    alone
        Whether each of them changes the call by itself, bool.
    how
        `How`, int8, 0 = nothing changed.
    """

    a: Said
    b: Said
    changes: Changes
    why: NDArray[np.int32]
    members: NDArray[np.int64]
    alone: NDArray[np.bool_]
    how: NDArray[np.int8]


def write_cells(path: Path, both: Both, judged: Judged) -> int:
    """Write ``cells.parquet``, a row for each cell of either run, and return how many rows it has.

    Common cells stand first, in the order of A; then those that only A has, then those that only B has.
    """
    import pyarrow.parquet as pq

    step, n = 131_072, 0
    names_a, names_b = (_cell_names(side.run.calls_path) for side in (both.a, both.b))
    with written_beside(path) as partial, pq.ParquetWriter(partial, _schema(), compression="zstd") as writer:
        for start in range(0, both.pairs.n_common, step):
            table = _common_cells(both, judged, slice(start, start + step), names_a)
            writer.write_table(table)
            n += len(table)
        lone = (
            (both.a, both.pairs.only_a, ONLY_A, names_a),
            (both.b, both.pairs.only_b, ONLY_B, names_b),
        )
        for side, rows, change, names in lone:
            for start in range(0, len(rows), step):
                table = _lone_cells(side, rows[start : start + step], change, names)
                writer.write_table(table)
                n += len(table)
    return n


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [("cell_id", pa.string()), ("term_a", text), ("label_a", text), ("status_a", text), ("support_a", pa.float32()),
         ("term_b", text), ("label_b", text), ("status_b", text), ("support_b", pa.float32()), ("change", text),
         ("lca", text), ("bits", pa.float32()), ("moved", pa.bool_()), ("needs_review_a", pa.bool_()),
         ("needs_review_b", pa.bool_()), ("decided_a", pa.bool_()), ("decided_b", pa.bool_()), ("why", text),
         ("how", text), ("members", text), ("alone", pa.bool_())]
    )  # fmt: skip


def _cell_names(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=["cell_id"])["cell_id"].combine_chunks()


def _words(side: Any, said: Said, letter: str) -> dict[str, Any]:
    import pyarrow as pa

    status = pa.DictionaryArray.from_arrays(pa.array(said.status.astype(np.int32)), pa.array(STATUS_NAMES))
    return {
        f"term_{letter}": name_column(said.term, side.ontology.ids),
        f"label_{letter}": name_column(said.term, side.ontology.labels), f"status_{letter}": status,
        f"support_{letter}": pa.array(said.support), f"needs_review_{letter}": pa.array(said.needs_review),
        f"decided_{letter}": pa.array(said.decided),
    }  # fmt: skip


def _common_cells(both: Both, judged: Judged, rows: slice, names: Any) -> pa.Table:
    import pyarrow as pa

    at = np.arange(both.pairs.n_common)[rows]
    a, b, changes = judged.a.take(at), judged.b.take(at), judged.changes
    columns = {"cell_id": names.take(pa.array(both.pairs.a[rows]))} | _words(both.a, a, "a") | _words(both.b, b, "b")
    columns |= {
        "change": _texts(changes.kind[rows], lambda code: Change(code).code),
        "lca": name_column(changes.lca[rows], both.b.ontology.ids),
        "bits": pa.array(changes.bits[rows]), "moved": pa.array(changes.moved[rows]),
        "why": _texts(judged.why[rows], why), "how": _texts(judged.how[rows], how_code),
        "members": _texts(judged.members[rows], lambda mask: member_names(mask, both.members)),
        "alone": pa.array(judged.alone[rows]),
    }  # fmt: skip
    return _as_schema(columns, len(at))


def _lone_cells(side: Any, rows: Rows, change: str, names: Any) -> pa.Table:
    import pyarrow as pa

    letter = "a" if change == ONLY_A else "b"
    columns = {"cell_id": names.take(pa.array(rows))} | _words(side, said_of(side, rows), letter)
    columns["change"] = pa.array([change]).dictionary_encode().take(pa.array(np.zeros(len(rows), np.int32)))
    return _as_schema(columns, len(rows))


def _as_schema(columns: dict[str, Any], n: int) -> pa.Table:
    import pyarrow as pa

    schema = _schema()
    made = {field.name: columns.get(field.name, pa.nulls(n, field.type)) for field in schema}
    return pa.table([made[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def said_of(side: Any, rows: Rows) -> Said:
    """Return what a run says of some of its cells: its calls, and curators' decisions over them."""
    from celljury.compare.kinds import Said

    calls = side.calls
    decided = calls.decided[rows]
    return Said(
        np.where(decided, calls.decided_term[rows], calls.term[rows]).astype(np.int32),
        np.where(decided, calls.decided_status[rows], calls.status[rows]).astype(np.int8),
        calls.support[rows], calls.needs_review[rows], decided,
    )  # fmt: skip


def how_code(code: int) -> str:
    """Return how a cause was found; empty where there is none."""
    return How(code).code if code else ""


def member_names(mask: int, members: tuple[str, ...]) -> str:
    """Return the names of some members, joined by ``;``."""
    return ";".join(name for j, name in enumerate(members) if mask >> j & 1)


def _texts(codes: NDArray[Any], text: Any) -> pa.DictionaryArray:
    import pyarrow as pa

    distinct, which = np.unique(codes, return_inverse=True)
    names = pa.array([text(int(code)) for code in distinct.tolist()], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(which.ravel().astype(np.int32)), names)


def transitions(both: Both, judged: Judged) -> pd.DataFrame:
    """Return common cells by what each run says, what changed and why; cells descending.

    Columns: ``term_a, label_a, status_a, term_b, label_b, status_b, n_cells, share`` (of the common cells)``, change,
    lca, bits, moved, why, how, members, alone``.
    """
    import pandas as pd

    a, b, changes = judged.a, judged.b, judged.changes
    # Member masks are wider than the codes that are packed together.
    masks, mask = np.unique(judged.members, return_inverse=True)
    rows = np.stack(
        [a.term, a.status, b.term, b.status, changes.kind, judged.why, judged.how, mask.ravel(), judged.alone], axis=1
    ).astype(np.int32)
    first, which = distinct_rows(rows)
    n = np.bincount(which, minlength=len(first))
    picked, own, other = rows[first], both.a.ontology, both.b.ontology

    def names(terms: NDArray[np.int32], of: tuple[str, ...]) -> list[str]:
        return [of[i] if i >= 0 else "" for i in terms.tolist()]

    table = pd.DataFrame(
        {
            "term_a": names(picked[:, 0], own.ids), "label_a": names(picked[:, 0], own.labels),
            "status_a": [STATUS_NAMES[i] for i in picked[:, 1].tolist()],
            "term_b": names(picked[:, 2], other.ids), "label_b": names(picked[:, 2], other.labels),
            "status_b": [STATUS_NAMES[i] for i in picked[:, 3].tolist()],
            "n_cells": n, "share": np.round(n / max(len(which), 1), 6),
            "change": [Change(i).code for i in picked[:, 4].tolist()],
            "lca": names(changes.lca[first], other.ids), "bits": np.round(changes.bits[first], 4),
            "moved": changes.moved[first], "why": [why(i) for i in picked[:, 5].tolist()],
            "how": [how_code(i) for i in picked[:, 6].tolist()],
            "members": [member_names(int(masks[i]), both.members) for i in picked[:, 7].tolist()],
            "alone": picked[:, 8] > 0,
        }
    )  # fmt: skip
    order = ["n_cells", "term_a", "status_a", "term_b", "status_b", "change", "why", "members"]
    return table.sort_values(order, ascending=[False] + [True] * (len(order) - 1), kind="stable", ignore_index=True)


def term_counts(both: Both, changed: tuple[TermChange, ...]) -> pd.DataFrame:
    """Return cells per term in each run, all cells of either counted once; cells in B descending.

    Columns: ``term`` (empty: no term)``, label, status`` (empty, ``unresolved`` or ``unseen``)``, n_cells_a, n_cells_b,
    net, ontology`` (what the release changed about the term)``. Unseen cells count by their node, apart from calls.
    """
    import pandas as pd

    counts: dict[tuple[str, str], list[int]] = {}
    for at, side in enumerate((both.a, both.b)):
        said = said_of(side, np.arange(len(side)))
        apart = np.where(said.status >= STATUS_NAMES.index("unresolved"), said.status, -1).astype(np.int32)
        first, which = distinct_rows(np.stack([said.term, apart], axis=1))
        for row, n in zip(first.tolist(), np.bincount(which, minlength=len(first)).tolist(), strict=True):
            term = side.ontology.ids[said.term[row]] if said.term[row] >= 0 else ""
            status = STATUS_NAMES[apart[row]] if apart[row] >= 0 else ""
            counts.setdefault((term, status), [0, 0])[at] += n
    about = {row.term: row for row in changed}
    old, new = (side.ontology for side in (both.a, both.b))
    label = dict(zip(old.ids, old.labels, strict=True)) | dict(zip(new.ids, new.labels, strict=True))
    releases = f"CL {old.source.release}", f"CL {new.source.release}"
    rows = [
        (
            term,
            label.get(term, ""),
            status,
            n_a,
            n_b,
            n_b - n_a,
            about[term].sentence(*releases) if term in about else "",
        )
        for (term, status), (n_a, n_b) in sorted(counts.items(), key=lambda row: (-row[1][1], -row[1][0], row[0]))
    ]
    columns = ["term", "label", "status", "n_cells_a", "n_cells_b", "net", "ontology"]
    return pd.DataFrame(rows, columns=columns)
