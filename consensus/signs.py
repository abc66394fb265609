"""What is known of a cell beyond its votes: strangeness, quality, doublets, markers, and what its threshold rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int32]
    Bools = NDArray[np.bool_]

TIERS: Final = ("none", "cell", "cluster-t", "exact-donor")
PREFIX: Final = "_sign_"


class LowQuality(IntFlag):
    """Bits of `Signs.low_quality`."""

    FEW_COUNTS = 1
    FEW_GENES = 2
    HIGH_MITO = 4


@dataclass(frozen=True, slots=True)
class Signs:
    """Facts about n cells beside their votes; every field is (n,). Where nothing is known each has the value named last.

    Attributes
    ----------
    p_seen
        Conformal p-value of belonging to the reference, float32 0-1; NaN = not tested.
    confidence
        Mean over the classifiers among the members of their largest probability, float32 0-1; NaN.
    p_symphony, p_scanvi
        Conformal p-value of that member's own distance alone, float32 0-1; NaN.
    strange_kind
        The kind of signal that is strangest, index into `celljury.members.strangeness.KINDS`, int8; -1.
    low_quality
        Bits of `LowQuality`, uint8; 0 = none, or not checked.
    counts, expected_counts
        Counts over the shared genes, and what is usual for such a cell, float32; NaN.
    genes, expected_genes
        Shared genes detected, and what is usual, float32; NaN.
    mito, expected_mito
        Mitochondrial share of all counts, and what is usual, float32 0-1; NaN.
    doublet
        Whether the doublet score passes its threshold, bool; False = no, or not scored.
    doublet_score
        float32 0-1; NaN.
    split_a, split_b
        Heaviest terms of two lineages that both hold much of the cell's probability, ontology indices, int32; -1 = the
        probability is on one, or unknown.
    marker
        The statement that the cell contradicts most, row of the run's table of them
        (`celljury.marker_ranges.MarkerRanges.statements`), int16; -1 = none, or not compared.
    marker_value
        The cell's expression of that gene, log1p of counts per 10,000, float32; NaN.
    tier
        What the cell's threshold rests on, index into `TIERS`, int8; -1 = the same as the whole run.
    unlike_batch
        Whether its batch was found unlike the held-out donors, bool; False = no, or not checked.
    """

    p_seen: Floats
    confidence: Floats
    p_symphony: Floats
    p_scanvi: Floats
    strange_kind: NDArray[np.int8]
    low_quality: NDArray[np.uint8]
    counts: Floats
    expected_counts: Floats
    genes: Floats
    expected_genes: Floats
    mito: Floats
    expected_mito: Floats
    doublet: Bools
    doublet_score: Floats
    split_a: Ints
    split_b: Ints
    marker: NDArray[np.int16]
    marker_value: Floats
    tier: NDArray[np.int8]
    unlike_batch: Bools

    def __post_init__(self) -> None:
        wrong = {
            name: (getattr(self, name).shape, getattr(self, name).dtype)
            for name in self.__slots__
            if getattr(self, name).shape != self.p_seen.shape or getattr(self, name).dtype != _UNKNOWN[name].dtype
        }
        if wrong or self.p_seen.ndim != 1:
            found = "; ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in wrong.items()) or self.p_seen.shape
            message = f"signs: expected one value a cell, as documented, for {len(self.p_seen)} cells; got {found}"
            raise ValueError(message)

    def __len__(self) -> int:
        return len(self.p_seen)

    @classmethod
    def unknown(cls, n_cells: int) -> Self:
        """Return the signs of cells of which nothing is known."""
        return cls(**{name: np.full(n_cells, value) for name, value in _UNKNOWN.items()})

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return these rows, in this order."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__slots__))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the fields by the names that they have in the parts of a run, ``_sign_`` before each."""
        return {f"{PREFIX}{name}": getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[Any]], *, n_cells: int) -> Self:
        """Read what `columns` gave; a column that a run does not have is not known, and other columns are passed over."""
        found = {name: columns.get(f"{PREFIX}{name}") for name in _UNKNOWN}
        return cls(
            **{
                name: np.full(n_cells, _UNKNOWN[name]) if column is None else np.asarray(column, _UNKNOWN[name].dtype)
                for name, column in found.items()
            }
        )


_NAN, _NO = np.float32(np.nan), np.bool_(False)  # noqa: FBT003 (a value, not a flag)
_UNKNOWN: Final[dict[str, Any]] = {
    "p_seen": _NAN, "confidence": _NAN, "p_symphony": _NAN, "p_scanvi": _NAN, "strange_kind": np.int8(-1),
    "low_quality": np.uint8(0), "counts": _NAN, "expected_counts": _NAN, "genes": _NAN, "expected_genes": _NAN,
    "mito": _NAN, "expected_mito": _NAN, "doublet": _NO, "doublet_score": _NAN, "split_a": np.int32(-1),
    "split_b": np.int32(-1), "marker": np.int16(-1), "marker_value": _NAN, "tier": np.int8(-1), "unlike_batch": _NO,
}  # fmt: skip
SIGN_COLUMNS: Final = tuple(f"{PREFIX}{name}" for name in _UNKNOWN)
