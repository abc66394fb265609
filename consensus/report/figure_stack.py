"""What stacked bars show: at most twelve terms, and apart from them all that is no term of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.report.figure_style import GREY, HATCH, INK, MUTED, STRANGE, TYPE_COLOURS
from celljury.report.tally import OTHER, UNRESOLVED, UNSEEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

MAX_TERMS: Final = 12

OTHER_TERMS: Final = 10**9
"""Place of the terms beyond `MAX_TERMS`; the others are those of `celljury.report.tally.Tally`."""
LABELS: Final = {
    OTHER_TERMS: "other terms",
    OTHER: "no term of this level above it",
    UNRESOLVED: "unresolved",
    UNSEEN: "unseen",
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a segment is filled, and the sign that names it in the key; empty = its hatch does."""

    face: str
    edge: str
    hatch: str | None = None
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """Cells by group and segment.

    Attributes
    ----------
    groups
        Names; one empty name where there is no grouping.
    places
        Of the segments, in the order of the stack: terms by their cells, then what is no term of its own.
    labels
        Of the segments.
    looks
        Of the segments.
    counts
        Cells, int64 (n_groups, n_segments).
    """

    groups: tuple[str, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]
    looks: tuple[Look, ...]
    counts: NDArray[np.int64]

    @property
    def totals(self) -> NDArray[np.int64]:
        """Cells of each segment over all groups."""
        return self.counts.sum(axis=0)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Cells of each group."""
        return self.counts.sum(axis=1)


def look_of(place: int, rank: int) -> Look:
    """Return the look of a segment; ``rank`` of a term among the terms, 0 = most cells."""
    return {
        OTHER_TERMS: Look(GREY, MUTED, HATCH["other"]),
        OTHER: Look("#f2f4f6", MUTED, HATCH["outside"]),
        UNRESOLVED: Look("white", INK, HATCH["unresolved"]),
        UNSEEN: Look("#fbe9e7", STRANGE, HATCH["unseen"]),
    }.get(place) or Look(TYPE_COLOURS[rank], "white", None, str(rank + 1))


def counts_by_place(rows: pd.DataFrame) -> dict[int, int]:
    """Return the cells of each place over all groups, of the rows of a `celljury.report.tally.Tally`."""
    found = rows.groupby("place")["n_cells"].sum()
    return {int(place): int(n) for place, n in zip(found.index, found, strict=True) if n}


def stack_of(rows: pd.DataFrame, groups: tuple[str, ...], *, max_terms: int = MAX_TERMS) -> Stack:
    """Return what bars of a `celljury.report.tally.Tally` show; cells are neither lost nor counted twice.

    Parameters
    ----------
    rows
        ``group``, ``place``, ``label`` and ``n_cells``.
    groups
        Names of the groups in their order; ``("",)`` = all cells are one.
    """
    terms, labels = _terms(rows)
    named = terms[:max_terms]
    place = rows["place"].to_numpy(np.int64)
    segment = np.where(place <= UNSEEN, UNSEEN, np.where((place >= 0) & ~np.isin(place, named), OTHER_TERMS, place))
    used = [p for p in (OTHER_TERMS, OTHER, UNRESOLVED, UNSEEN) if (rows["n_cells"].to_numpy()[segment == p] > 0).any()]
    places = [*named, *used]
    counts = np.zeros((len(groups), len(places)), np.int64)
    i_group = {name: i for i, name in enumerate(groups)}
    i_segment = {p: j for j, p in enumerate(places)}
    kept = rows["n_cells"].to_numpy() > 0
    at = [i_group[str(name)] for name in rows["group"].to_numpy()[kept]], [i_segment[p] for p in segment[kept].tolist()]
    np.add.at(counts, at, rows["n_cells"].to_numpy(np.int64)[kept])
    n_other = len(terms) - len(named)
    said = {**LABELS, OTHER_TERMS: f"{n_other} other term{'s' * (n_other > 1)}"}
    texts = tuple(labels[p] if p in labels else said[p] for p in places)
    looks = tuple(look_of(p, rank) for rank, p in enumerate(places))
    return Stack(groups, tuple(places), texts, looks, counts)


def _terms(rows: pd.DataFrame) -> tuple[list[int], Mapping[int, str]]:
    """Return places of terms, most cells first, and their labels."""
    own = rows[(rows["place"] >= 0) & (rows["n_cells"] > 0)]
    total = own.groupby("place", sort=True)["n_cells"].sum().sort_values(ascending=False, kind="stable")
    labels = dict(zip(own["place"].tolist(), own["label"].astype(str).tolist(), strict=True))
    return [int(p) for p in total.index], labels


def segment_patch(x: float, y: float, width: float, height: float, look: Look, **more: Any) -> Any:
    """Return the rectangle of a segment."""
    from matplotlib.patches import Rectangle

    line = 0.5 if look.hatch else 0.7
    return Rectangle(
        (x, y), width, height, facecolor=look.face, edgecolor=look.edge, hatch=look.hatch, linewidth=line, **more
    )
