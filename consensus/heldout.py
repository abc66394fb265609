"""What members said of reference cells that they were not trained on: the evidence behind every calibrated number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from celljury.errors import UnreadableFileError
from celljury.run import append_columns, write_part
from celljury.votes import Votes, votes_from_table, votes_to_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology

Unit = Literal["donor", "batch"]
_CODES = ("truth", "donor", "fold", "heavy_fold")


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
            self.heavy_fold[rows], self.heavy, self.known[rows], self.points[rows], self.log_counts[rows],
        )  # fmt: skip

    def with_votes(self, votes: Votes, log_counts: NDArray[np.float32]) -> HeldOut:
        """Return the same cells with votes on another view of them, such as fewer genes and counts."""
        return HeldOut(
            votes, self.truth, self.donor, self.donors, self.unit, self.fold, self.heavy_fold, self.heavy, self.known,
            self.points, log_counts,
        )  # fmt: skip

    def restricted(self, members: tuple[str, ...], absent: tuple[str, ...]) -> HeldOut:
        """Return the same evidence with the members of a run: in its order, the absent ones silent."""
        votes = self.votes
        place = [votes.members.index(name) for name in members]
        kept = Votes(
            votes.cell_ids, members, votes.terms[:, place], votes.mass and tuple(votes.mass[j] for j in place),
            votes.strange[:, place], {key: values for key, values in votes.signals.items() if key[1] in members},
        )  # fmt: skip
        return self.with_votes(kept.without(absent), self.log_counts)

    def save(self, folder: Path, ontology: CellOntology) -> None:
        """Write ``votes.parquet`` and ``heldout.json``."""
        import pyarrow as pa

        extra = {f"_{name}": pa.array(getattr(self, name)) for name in (*_CODES, "known", "log_counts")}
        points = pa.array(self.points.ravel())
        extra["_points"] = pa.FixedSizeListArray.from_arrays(points, self.points.shape[1])
        folder.mkdir(parents=True, exist_ok=True)
        write_part(append_columns(votes_to_table(self.votes, ontology), pa.table(extra)), folder / "votes.parquet")
        text = {"donors": self.donors, "unit": self.unit, "heavy": self.heavy}
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
            return cls(
                votes_from_table(table, ontology),
                codes["truth"], codes["donor"], tuple(text["donors"]), text["unit"], codes["fold"], codes["heavy_fold"],
                tuple(text["heavy"]), table["_known"].to_numpy().astype(bool),
                points.values.to_numpy().reshape(len(table), -1).astype(np.float32),
                table["_log_counts"].to_numpy().astype(np.float32),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            message = f"the calibration in {folder} cannot be read: {error}. The jury is damaged; fit it again."
            raise UnreadableFileError(message) from error
