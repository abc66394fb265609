"""What members said of reference cells that they were not trained on: the evidence behind every calibrated number."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from celljury.errors import UnreadableFileError
from celljury.members.arrays import load_arrays, save_arrays
from celljury.run import append_columns, write_part
from celljury.votes import Votes, votes_from_table, votes_to_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

Unit = Literal["donor", "batch"]
_CODES = ("truth", "donor", "fold", "heavy_fold")
REVIEWED = "reviewed.npz"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Items that curators decided, one observation each: their cells have the same votes and are not independent.

    They weigh members (`celljury.reliability`) and calibrate nothing: what is reviewed is what was in doubt, and no
    sample of any donor.

    Attributes
    ----------
    members
        Names (n_members,).
    terms
        Vote of each member, int32 (n_items, n_members), -1 = it gave none.
    truth
        The curators' term, int32 (n_items,).
    run
        Which reviewed run each comes from, str (n_items,): hash of its calls, as in ``jury.json``.
    item_ids
        Items and parts of items (n_items,).
    n_cells
        Their cells, int64 (n_items,); kept for people, it weighs nothing.
    """

    members: tuple[str, ...]
    terms: NDArray[np.int32]
    truth: NDArray[np.int32]
    run: NDArray[np.str_]
    item_ids: NDArray[np.str_]
    n_cells: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    def of(self, members: tuple[str, ...]) -> Reviewed:
        """Return the same items with these members in this order; one that is not among them gave no vote."""
        place = {name: j for j, name in enumerate(self.members)}
        silent = np.full(len(self), -1, np.int32)
        columns = [self.terms[:, place[name]] if name in place else silent for name in members]
        return replace(self, members=members, terms=np.stack(columns, axis=1) if columns else self.terms[:, :0])

    def take(self, rows: NDArray[np.bool_]) -> Reviewed:
        """Return some of the items."""
        return Reviewed(
            self.members, self.terms[rows], self.truth[rows], self.run[rows], self.item_ids[rows], self.n_cells[rows]
        )

    def with_more(self, other: Reviewed) -> Reviewed:
        """Return these items and the other's, which have the same members in any order."""
        same = other.of(self.members)
        return Reviewed(
            self.members, *(np.concatenate([getattr(self, name), getattr(same, name)]) for name in self.__slots__[1:])
        )

    def save(self, path: Path, ontology: CellOntology) -> None:
        """Write terms as ids, so that the file can be read without the jury's index."""
        ids = np.array([*ontology.ids, ""], dtype=np.str_)
        save_arrays(
            path, members=np.array(self.members, np.str_), vote=ids[self.terms], truth=ids[self.truth], run=self.run,
            item_id=self.item_ids, n_cells=self.n_cells,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path, ontology: CellOntology) -> Self:
        """Read what `save` wrote; raises UnreadableFileError where it is not that."""
        found = load_arrays(path)
        try:
            vote = found["vote"]
            index = {
                name: ontology.index(name) if name else -1
                for name in {*vote.ravel().tolist(), *found["truth"].tolist()}
            }
            return cls(
                tuple(str(name) for name in found["members"].tolist()),
                np.array([index[name] for name in vote.ravel().tolist()], np.int32).reshape(vote.shape),
                np.array([index[name] for name in found["truth"].tolist()], np.int32),
                found["run"].astype(np.str_), found["item_id"].astype(np.str_), found["n_cells"].astype(np.int64),
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            message = f"{path} cannot be read: {error}. The jury is damaged; make it again with celljury apply."
            raise UnreadableFileError(message) from error


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Votes on held-out reference cells.

    Attributes
    ----------
    votes
        Votes of members that were trained without the cell's fold, with their signals.
    truth
        Ontology index of the cell's label, int32 (n_cells,).
    donor
        Index into ``donors``, int32 (n_cells,).
    donors
        Names of the held-out units.
    unit
        Whether the units are donors or batches; None = cells of one donor were held out at random.
    fold, heavy_fold
        Fold of each cell for light and for heavy members, int32 (n_cells,).
    heavy
        Names of the heavy members.
    known
        Whether the training cells of both its folds had cells of its type, bool (n_cells,): the others cannot be
        labelled right, and serve as cells of an unseen type instead.
    points
        Coordinates in the space shared by all cells, float32 (n_cells, n_dims).
    log_counts
        log10 of 1 + counts, float32 (n_cells,).
    reviewed
        What curators said of other cells; None = nothing.
    """

    votes: Votes
    truth: NDArray[np.int32]
    donor: NDArray[np.int32]
    donors: tuple[str, ...]
    unit: Unit | None
    fold: NDArray[np.int32]
    heavy_fold: NDArray[np.int32]
    heavy: tuple[str, ...]
    known: NDArray[np.bool_]
    points: NDArray[np.float32]
    log_counts: NDArray[np.float32]
    reviewed: Reviewed | None = None

    @property
    def n_cells(self) -> int:
        """Number of held-out cells."""
        return self.votes.n_cells

    def fold_of(self, member: str) -> NDArray[np.int32]:
        """Return the folds that one member was trained by."""
        return self.heavy_fold if member in self.heavy else self.fold

    def donor_codes(self) -> NDArray[np.int32] | None:
        """Return the units as `celljury.calibrate` takes them: None where cells, not donors, were held out."""
        return self.donor if self.unit is not None else None

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> HeldOut:
        """Return some of the cells."""
        return HeldOut(
            self.votes.rows(rows), self.truth[rows], self.donor[rows], self.donors, self.unit, self.fold[rows],
            self.heavy_fold[rows], self.heavy, self.known[rows], self.points[rows], self.log_counts[rows], self.reviewed,
        )  # fmt: skip

    def with_votes(self, votes: Votes, log_counts: NDArray[np.float32]) -> HeldOut:
        """Return the same cells with votes on another view of them, such as fewer genes and counts."""
        return replace(self, votes=votes, log_counts=log_counts)

    def restricted(self, members: tuple[str, ...], absent: tuple[str, ...]) -> HeldOut:
        """Return the same evidence with the members of a run: in its order, the absent ones silent."""
        votes = self.votes
        place = [votes.members.index(name) for name in members]
        kept = Votes(
            votes.cell_ids, members, votes.terms[:, place], votes.mass and tuple(votes.mass[j] for j in place),
            votes.strange[:, place], {key: values for key, values in votes.signals.items() if key[1] in members},
        )  # fmt: skip
        reviewed = self.reviewed
        if reviewed is not None:
            reviewed = reviewed.of(tuple(name for name in members if name not in absent)).of(members)
        return replace(self, votes=kept.without(absent), reviewed=reviewed)

    def save(self, folder: Path, ontology: CellOntology) -> None:
        """Write ``votes.parquet`` and ``heldout.json``, and ``reviewed.npz`` where something was reviewed."""
        import pyarrow as pa

        extra = {f"_{name}": pa.array(getattr(self, name)) for name in (*_CODES, "known", "log_counts")}
        points = pa.array(self.points.ravel())
        extra["_points"] = pa.FixedSizeListArray.from_arrays(points, self.points.shape[1])
        folder.mkdir(parents=True, exist_ok=True)
        write_part(append_columns(votes_to_table(self.votes, ontology), pa.table(extra)), folder / "votes.parquet")
        text = {"donors": self.donors, "unit": self.unit, "heavy": self.heavy}
        if self.reviewed is not None:
            self.reviewed.save(folder / REVIEWED, ontology)
        (folder / "heldout.json").write_text(json.dumps(text), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, ontology: CellOntology) -> Self:
        """Read what `save` wrote; raises UnreadableFileError where it is not that."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(folder / "votes.parquet")
            text = json.loads((folder / "heldout.json").read_text(encoding="utf-8"))
            codes = {name: table[f"_{name}"].to_numpy().astype(np.int32) for name in _CODES}
            points = table["_points"].combine_chunks()
            reviewed = Reviewed.load(folder / REVIEWED, ontology) if (folder / REVIEWED).is_file() else None
            return cls(
                votes_from_table(table, ontology),
                codes["truth"], codes["donor"], tuple(text["donors"]), text["unit"], codes["fold"], codes["heavy_fold"],
                tuple(text["heavy"]), table["_known"].to_numpy().astype(bool),
                points.values.to_numpy().reshape(len(table), -1).astype(np.float32),
                table["_log_counts"].to_numpy().astype(np.float32), reviewed,
            )  # fmt: skip
        except UnreadableFileError:
            raise
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            message = f"the calibration in {folder} cannot be read: {error}. The jury is damaged; fit it again."
            raise UnreadableFileError(message) from error
