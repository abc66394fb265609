"""What the review screen needs of a run, computed once: ``RUN/review/pack``, memory-mapped where it is large."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pandas as pd

from celljury.errors import CelljuryError, InputError, UnreadableFileError
from celljury.ontology.cache import read_index, write_index
from celljury.provenance import sha256, write_json
from celljury.review.events import PART, item_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

PACK_FORMAT: Final = 1
"""Raised with every change of what the files hold: a pack of another format is made anew."""

CLUSTER: Final = "cluster"

# Seconds within which every save writes a file; it takes seconds to minutes in all.
_LONGEST_SAVE: Final = 3600.0

_ALWAYS = ("row", "batch", "support", "half", "item_share", "item_mean", "term_share", "term_mean", "term_cells")
_WHERE_DRAWN = ("xy", "drawn_xy", "drawn_term")


class UnknownItemError(CelljuryError, KeyError):
    """An id names no item of the queue, and no part of one."""

    @classmethod
    def for_id(cls, part_id: str, why: str) -> Self:
        """Build the error for ``part_id``."""
        return cls(f"{part_id!r} is no item of this queue: {why}. Take an id from queue.tsv or from the queue's page.")


class StalePackError(CelljuryError, ValueError):
    """A pack is of another run, or of another format, than its folder says."""

    @classmethod
    def for_folder(cls, folder: Path, why: str) -> Self:
        """Build the error for the run in ``folder``."""
        return cls(f"{folder / 'review' / 'pack'} {why}. Make it anew with: celljury review {folder}.")


@dataclass(frozen=True)
class Pack:
    """The review queue of one run with all that its screen shows; the cells of an item stand together.

    Attributes
    ----------
    folder
        The run's folder.
    about
        ``format``; ``run`` (sha256 of ``calls.parquet``); ``n_cells``, ``n_review``, ``n_items``; ``members`` that took
        part, in order; ``samples``, the names behind ``batch``; ``embedding``, None or ``{"name", "n_drawn"}``;
        ``drawn_terms``, ids behind ``drawn_term``; ``release``, ``promise``, ``tier``, ``alpha``; ``no_genes``, why
        ``item_share`` holds nothing, "" where it does.
    items
        One row an item in the order of the queue: the columns of ``queue.tsv``, and ``start``, ``stop`` (int64; its cells
        are rows ``start:stop`` of the arrays of cells), ``ic`` (float32, bits of its call), ``support`` (float32, mean
        over its cells), ``p_seen`` (float32, median, NaN = not tested), ``top_term``, ``camp_a``, ``camp_b`` (ids, "" =
        none), ``size_a``, ``size_b`` (float32, shares of the cast votes), ``n_votes`` (int32).
    row
        Row in ``calls.parquet`` of each cell that needs review, int64 (n_review,); by name within an item.
    xy
        Its place in the run's embedding, float32 (n_review, 2); None = the run has no embedding.
    batch
        Its sample, int32 (n_review,).
    support
        Each member's own probability at or below the call, float32 (n_review, n_members), 0-1, NaN = no call or no vote.
    half
        Which half of its item it lies in, int8 (n_review,), 0 or 1 (`celljury.review.placing.halves`).
    drawn_xy
        Background cells of the embedding, float32 (n_drawn, 2); None where ``xy`` is.
    drawn_term
        Their calls, int16 (n_drawn,), index into ``about["drawn_terms"]``, -1 = no term; None where ``xy`` is.
    genes
        Marker genes (n_genes,): the union of all terms'.
    item_share
        Share of an item's cells that express a gene, float32 (n_items, n_genes), 0-1, NaN = the query lacks the gene, or
        ``about["no_genes"]``.
    item_mean
        Mean log1p counts per 10,000 of the jury's genes, float32 (n_items, n_genes), NaN likewise.
    terms
        Terms of the reference (n_terms,), ids.
    term_share, term_mean
        The same of the reference's cells of each term, float32 (n_terms, n_genes), NaN = the jury kept no profiles.
    term_cells
        Cells of each term in the reference, int64 (n_terms,).
    term_genes
        Marker genes of each term, best first.
    """

    folder: Path
    about: dict[str, Any]
    items: pd.DataFrame
    row: NDArray[np.int64]
    xy: NDArray[np.float32] | None
    batch: NDArray[np.int32]
    support: NDArray[np.float32]
    half: NDArray[np.int8]
    drawn_xy: NDArray[np.float32] | None
    drawn_term: NDArray[np.int16] | None
    genes: tuple[str, ...]
    item_share: NDArray[np.float32]
    item_mean: NDArray[np.float32]
    terms: tuple[str, ...]
    term_share: NDArray[np.float32]
    term_mean: NDArray[np.float32]
    term_cells: NDArray[np.int64]
    term_genes: dict[str, tuple[str, ...]]

    # Keeping --------------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, folder: Path) -> Pack:
        """Open the pack of the run in ``folder``.

        Raises
        ------
        UnreadableFileError
            If there is none, or a file of it is damaged.
        StalePackError
            If it was made of other calls than the folder holds now, or in another format.
        """
        home = pack_folder(folder)
        if not (home / "pack.json").is_file():
            message = f"{folder} holds nothing for review yet (no {home}). Make it with: celljury review {folder}."
            raise UnreadableFileError(message)
        try:
            about = json.loads((home / "pack.json").read_text(encoding="utf-8"))
            if about["format"] != PACK_FORMAT:
                why = f"is of format {about['format']!r}, this version reads {PACK_FORMAT}"
                raise StalePackError.for_folder(folder, why)
            if about["run"] != sha256(folder / "calls.parquet"):
                raise StalePackError.for_folder(folder, "was made of other calls than this run has")
            names = json.loads((home / "names.json").read_text(encoding="utf-8"))
            drawn = _WHERE_DRAWN if about["embedding"] else ()
            arrays = {
                name: np.load(home / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*_ALWAYS, *drawn)
            }
            pack = cls(
                folder=folder, about=about, items=pd.read_parquet(home / "items.parquet"),
                **(dict.fromkeys(_WHERE_DRAWN) | arrays),
                genes=tuple(names["genes"]), terms=tuple(names["terms"]),
                term_genes={term: tuple(genes) for term, genes in names["term_genes"].items()},
            )  # fmt: skip
            pack.check()
        except StalePackError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError, AssertionError) as error:
            message = f"{home} cannot be read: {error!r}. It is damaged; make it anew with: celljury review {folder}."
            raise UnreadableFileError(message) from error
        return pack

    def save(self, ontology: CellOntology) -> None:
        """Write into ``RUN/review/pack``, beside and renamed; an earlier pack there is replaced, nothing else touched."""
        self.check()
        home = pack_folder(self.folder)
        # Two processes may make the pack of one run at once: each in a folder of its own, and the last one stays.
        partial, old = (home.with_name(f"{home.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
        for left in (partial, old, *_left(home)):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in (*_ALWAYS, *(_WHERE_DRAWN if self.about["embedding"] else ())):
            np.save(partial / f"{name}.npy", getattr(self, name), allow_pickle=False)
        self.items.to_parquet(partial / "items.parquet", index=False)
        write_index(ontology, partial / "ontology.npz")
        write_json(
            partial / "names.json", {"genes": self.genes, "terms": self.terms, "term_genes": self.term_genes}
        )  # fmt: skip
        write_json(partial / "pack.json", self.about)
        _put(partial, home, old)

    def check(self) -> None:
        """Raise AssertionError where the parts do not fit together: a defect of ours, or a damaged file."""
        n, n_items = len(self.row), len(self.items)
        assert self.items["item_id"].is_unique, "two items of one name"
        start, stop = (self.items[name].to_numpy() for name in ("start", "stop"))
        assert np.array_equal(start, np.concatenate([[0], stop])[:-1]), "items do not follow each other"
        assert (stop[-1] if n_items else 0) == n == self.about["n_review"], "cells outside every item"
        assert self.support.shape == (n, len(self.about["members"])), "support of other members"
        assert len(self.batch) == len(self.half) == n, "cells without a sample or half"
        for table, rows in (("item", n_items), ("term", len(self.terms))):
            shapes = {getattr(self, f"{table}_{kind}").shape for kind in ("share", "mean")}
            assert shapes == {(rows, len(self.genes))}, f"genes of other {table}s"
        assert len(self.term_cells) == len(self.terms), "cells of other terms"
        if self.xy is not None and self.drawn_xy is not None and self.drawn_term is not None:
            assert self.xy.shape == (n, 2), "cells without a place"
            assert self.drawn_xy.shape == (len(self.drawn_term), 2), "background of another size"

    # Reading --------------------------------------------------------------------------------------------------------

    @cached_property
    def ontology(self) -> CellOntology:
        """The ontology that the run used; no jury is needed."""
        return read_index(pack_folder(self.folder) / "ontology.npz")

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each item's id."""
        return {item_id: i for i, item_id in enumerate(self.items["item_id"].tolist())}

    def _at(self, part_id: str) -> int:
        """Return the row of an item, or of what a part is of; raises UnknownItemError."""
        item_id = item_of(part_id)
        if item_id not in self.position:
            raise UnknownItemError.for_id(part_id, "no item has this id")
        return self.position[item_id]

    @cached_property
    def _names(self) -> pa.ChunkedArray:
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "calls.parquet", columns=["cell_id"])["cell_id"]

    def rows_of(self, part_id: str) -> NDArray[np.int64]:
        """Return which of the cells an item or part has, int64, ascending: indices into ``row`` and the arrays beside it.

        A part is what `sides` tells of its parent; it may be empty.

        Raises
        ------
        UnknownItemError
            If there is no such item, or its parts name no side of a known split.
        """
        at = self._at(part_id)
        try:
            steps = steps_of(part_id)
        except ValueError as error:
            raise UnknownItemError.for_id(part_id, f"expected ITEM{PART}BY{PART}SIDE") from error
        start, stop = (int(self.items[name].to_numpy()[at]) for name in ("start", "stop"))
        rows = np.arange(start, stop)
        for by, side in steps:
            if side not in ("0", "1"):
                raise UnknownItemError.for_id(part_id, f"expected side 0 or 1, got {side!r}")
            if by != CLUSTER and by not in self.about["members"]:
                raise UnknownItemError.for_id(part_id, f"{by!r} is neither {CLUSTER!r} nor a member of this run")
            rows = rows[self.sides(rows, by) == int(side)]
        return rows

    def sides(self, rows: NDArray[np.int64], by: str) -> NDArray[np.int8]:
        """Return on which side of a split each cell is, int8 (n_rows,).

        ``cluster`` splits into the item's halves; a member into those of which it is surer than it is of all these on
        average (1) and the others, and those without its support (0).
        """
        if by == CLUSTER:
            return np.asarray(self.half[rows])
        found = self.support[rows, self.about["members"].index(by)].astype(np.float64)
        said = found[~np.isnan(found)]
        if not len(said):
            return np.zeros(len(rows), np.int8)
        # The mean of equal numbers may be off by a rounding, and they must stay together.
        return np.asarray(found > np.clip(said.mean(), said.min(), said.max()), np.int8)

    def splits(self, part_id: str) -> tuple[str, ...]:
        """Return what would split an item or part into two that both hold cells: ``cluster``, names of members."""
        rows = self.rows_of(part_id)
        ways = dict.fromkeys((CLUSTER, *self.about["members"]))
        return tuple(by for by in ways if len(np.unique(self.sides(rows, by))) == 2)

    def cell_ids(self, part_id: str) -> NDArray[np.str_]:
        """Return the names of an item's or part's cells, in order of name."""
        return np.asarray(self._names.take(self.row[self.rows_of(part_id)]).to_numpy(), dtype=str)

    def evidence_of(self, part_id: str) -> str:
        """Return what a decision on an item or part rests on, 16 hex digits.

        An item's is that of the queue. A part's depends on its own cells too: after another run the same item may be cut
        elsewhere, since halves and supports are no part of an item's evidence.
        """
        evidence = str(self.items["evidence"].iat[self._at(part_id)])
        if PART not in part_id:
            return evidence
        return hashlib.sha256("\n".join((evidence, *self.cell_ids(part_id))).encode()).hexdigest()[:16]

    @cached_property
    def evidence(self) -> Mapping[str, str]:
        """`evidence_of` every item, and of parts when they are asked for; what a ledger is replayed against."""
        return _Evidence(self)


class _Evidence(Mapping[str, str]):
    """Evidence by item and part; only items are counted and listed."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._known: dict[str, str] = dict(zip(pack.items["item_id"], pack.items["evidence"], strict=True))
        self._n_items = len(self._known)

    def __getitem__(self, part_id: str) -> str:
        if part_id not in self._known:  # UnknownItemError is a KeyError
            self._known[part_id] = self._pack.evidence_of(part_id)
        return self._known[part_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pack.position)

    def __len__(self) -> int:
        return self._n_items


def pack_folder(folder: Path) -> Path:
    """Return where the pack of the run in ``folder`` is."""
    return folder / "review" / "pack"


def _left(home: Path) -> Iterator[Path]:
    """Yield what processes that were killed left beside a pack; other machines' cannot be told but by their age."""
    for path in home.parent.glob(f"{home.name}.[0-9]*.*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _LONGEST_SAVE:
                yield path


def _put(partial: Path, home: Path, old: Path) -> None:
    """Put a finished folder in the place of another one, which another process may be replacing too."""
    placed = False
    while not placed:
        with suppress(FileNotFoundError):
            home.replace(old)
        try:
            partial.replace(home)
            placed = True
        except OSError as error:
            # Another process put its own there in this moment.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(old, ignore_errors=True)


# What a member's name must not hold, and what that character does.
_TAKEN: Final = {
    PART: "the parts of review items",
    ";": "members' votes in the review queue",
    "=": "a member from its vote in the review queue",
}


def check_member_names(names: Iterable[str]) -> None:
    """Refuse a member's name that a part's id or the queue's votes could not hold; raises InputError."""
    for name in names:
        if held := next((mark for mark in _TAKEN if mark in name), None):
            message = (
                f"member {name!r}: a name must not hold {held!r}, which separates {_TAKEN[held]}. Rename the column or the"
                " member."
            )
            raise InputError(message)
