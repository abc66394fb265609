"""Cells per term of a level, overall or by group: every cell is counted once, and that is checked each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.ontology.graph import CellOntology
    from celljury.report.counted import Counted, Groups
    from celljury.report.levels import Level

OTHER, UNRESOLVED, UNSEEN, UNSEEN_UNDER = -1, -2, -3, -4
"""Places that are no term; `UNSEEN_UNDER` - i and not below it is unseen under the term i."""

LABELS: Final = {
    OTHER: "(other: no term of this level above it)",
    UNRESOLVED: "(unresolved)",
    UNSEEN: "(unseen: does not belong to the reference)",
}

STATUSES: Final = ("resolved", "backed_off", "unresolved", "unseen")

_COUNTS: Final = ("n_cells", "n_standing", "n_review", "n_reviewed")
_SUMS: Final = ("depth", "agreement", "support")


@dataclass(frozen=True, slots=True)
class Tally:
    """Cells of a level.

    Attributes
    ----------
    level, groups, and_groups
        What was counted; None = all cells are one group, whose name is empty.
    rows
        A row a group and place with a cell or more; by group, in each by cells, places that are no term last.
        ``group``, ``and_group`` (with two groupings only); ``place`` (index of a term, or see `OTHER`), ``term``,
        ``label``; ``n_cells``, ``fraction`` (of the group's cells); ``mean_depth`` (of the counted term, 0 where there is
        none); ``mean_agreement`` and ``mean_support`` (of the run's call, over the cells whose call stands: NaN where a
        curator decided all otherwise, and where an older celljury did not write it); ``n_resolved``, ``n_backed_off``,
        ``n_unresolved``, ``n_unseen``; ``n_review`` (a curator should see them) and ``n_reviewed`` (a curator decided them)
        with their shares of the row's cells; ``n_standing``, the cells whose call stands.
    """

    level: Level
    groups: Groups | None
    and_groups: Groups | None
    rows: pd.DataFrame


def tally(counted: Counted, level: Level, groups: Groups | None = None, *, and_groups: Groups | None = None) -> Tally:
    """Count the cells of each term of a level, in each group, or in each pair of groups.

    Unseen cells are never counted as cells of the node that they are new under: at the level of a slim they are one row,
    at that of called terms one a node.

    Raises
    ------
    ValueError
        If a grouping is none of ``counted``.
    RuntimeError
        If the rows do not add up to the cells, overall and of each group: a defect of ours.
    """
    by = [(name, one) for name, one in (("group", groups), ("and_group", and_groups)) if one is not None]
    keys = [name for name, _ in by]
    found = _counts(counted, tuple(_index(counted, one) for _, one in by))
    place = places(found["term"], found["status"], level, counted.ontology)
    grouped = found.assign(place=place).groupby([*keys, "place"], sort=True)
    # A sum of nothing known is not known.
    rows = grouped[[*_COUNTS, *STATUSES]].sum().join(grouped[list(_SUMS)].sum(min_count=1)).reset_index()
    _check(rows, counted.n_cells, level, by)
    return Tally(level, groups, and_groups, _finished(rows, counted, by))


def places(term: pd.Series, status: pd.Series, level: Level, ontology: CellOntology) -> NDArray[np.int64]:
    """Return where cells with a term (its id, empty = none) and a status are counted, int64: see `Tally`."""
    ids, code = np.unique(term.to_numpy(dtype=str), return_inverse=True)
    index = np.array([ontology.index(i) if i else -1 for i in ids.tolist()], np.int64)[code.ravel()]
    said = status.to_numpy(dtype=object)
    place = np.append(level.rollup(ontology), UNRESOLVED).astype(np.int64)[index]  # -1 finds the last
    place[said == "unresolved"] = UNRESOLVED
    under = np.where(index >= 0, UNSEEN_UNDER - index, UNSEEN) if level.slim is None else UNSEEN
    return np.where(said == "unseen", under, place)


def place_label(place: int, ontology: CellOntology) -> tuple[str, str]:
    """Return id and label of a place; the id is empty where it is no term, and ``unseen@ID`` under a node."""
    if place >= 0:
        return ontology.ids[place], ontology.labels[place]
    if place <= UNSEEN_UNDER:
        node = UNSEEN_UNDER - place
        return f"unseen@{ontology.ids[node]}", f"unseen, under {ontology.labels[node]}"
    return "", LABELS[place]


def _counts(counted: Counted, by: tuple[int, ...]) -> pd.DataFrame:
    """Return cells and sums by group, term and status, read from disk once: thousands of rows at most, whatever the cells.

    Levels are made from them, since a level is nothing but a place for every term and status.
    """
    if by not in counted.counts:
        keys = [f"group_{i} AS {name}" for i, name in zip(by, ("group", "and_group"), strict=False)]
        # The run's agreement and support say nothing of a term that a curator put in its place.
        stands = "coalesce(counted_term, '') = coalesce(term, '') AND (counted_status = 'unseen') = (status = 'unseen')"
        found = counted.query(
            f"SELECT {''.join(f'{key}, ' for key in keys)} coalesce(counted_term, '')::VARCHAR AS term,"
            " counted_status::VARCHAR AS status, count(*) AS n_cells, sum(counted_depth)::DOUBLE AS depth,"
            f" count(*) FILTER ({stands}) AS n_standing, fsum(agreement::DOUBLE) FILTER ({stands}) AS agreement,"
            f" fsum(support::DOUBLE) FILTER ({stands}) AS support, count(*) FILTER (needs_review) AS n_review,"
            " count(*) FILTER (reviewed) AS n_reviewed FROM cells GROUP BY ALL"
        ).astype(dict.fromkeys(_COUNTS, np.int64) | dict.fromkeys(_SUMS, np.float64))
        for status in STATUSES:
            found[status] = found["n_cells"].where(found["status"] == status, 0)
        counted.counts[by] = found
    return counted.counts[by]


def _check(rows: pd.DataFrame, n_cells: int, level: Level, by: list[tuple[str, Groups]]) -> None:
    """Raise RuntimeError unless every cell is counted once, overall, in each group, and in each status."""
    where = f"level {level.name!r}"
    total = int(rows["n_cells"].sum())
    if total != n_cells:
        message = f"{where}: {total:,} cells are counted, the run has {n_cells:,}"
        raise RuntimeError(message)
    for name, groups in by:
        counts = rows.groupby(name)["n_cells"].sum()
        size = np.bincount(groups.code, minlength=len(groups.values))
        own = counts.reindex(range(len(size)), fill_value=0).to_numpy()
        if not np.array_equal(own, size):
            at = int(np.flatnonzero(own != size)[0])
            of = f"{groups.name} {groups.values[at]!r}"
            message = f"{where}, {of}: {int(own[at]):,} cells are counted, it has {int(size[at]):,}"
            raise RuntimeError(message)
    if not np.array_equal(rows[list(STATUSES)].sum(axis=1), rows["n_cells"]):
        message = f"{where}: cells have a status that is none of {', '.join(STATUSES)}"
        raise RuntimeError(message)


def _finished(rows: pd.DataFrame, counted: Counted, by: list[tuple[str, Groups]]) -> pd.DataFrame:
    """Return the rows with names, shares and means, in the order of readers."""
    keys = [name for name, _ in by]
    size = rows.groupby(keys)["n_cells"].transform("sum") if keys else counted.n_cells
    named = [place_label(place, counted.ontology) for place in rows["place"].tolist()]
    n = rows["n_cells"]
    frame = pd.DataFrame({"group": ""}, index=rows.index)
    frame["place"] = rows["place"].astype(np.int64)
    frame["term"], frame["label"] = [term for term, _ in named], [label for _, label in named]
    frame["n_cells"], frame["fraction"] = n.astype(np.int64), n / size
    standing = rows["n_standing"].where(rows["n_standing"] > 0)
    for value, of in (("depth", n), ("agreement", standing), ("support", standing)):
        frame[f"mean_{value}"] = rows[value] / of
    for status in STATUSES:
        frame[f"n_{status}"] = rows[status].astype(np.int64)
    for name in ("review", "reviewed"):
        frame[f"n_{name}"] = rows[f"n_{name}"].astype(np.int64)
        frame[f"{name}_share"] = rows[f"n_{name}"] / n
    frame["n_standing"] = rows["n_standing"].astype(np.int64)
    codes = [rows[key] for key in keys]
    order = np.lexsort((frame["label"], -n, frame["place"] < 0, *codes[::-1]))
    for name, groups in by:
        frame[name] = np.array(groups.values, dtype=object)[rows[name].to_numpy()]
    first = ["group", *(["and_group"] if "and_group" in keys else [])]
    return frame[[*first, *(c for c in frame if c not in first)]].iloc[order].reset_index(drop=True)


def _index(counted: Counted, groups: Groups) -> int:
    for i, one in enumerate(counted.groups):
        if one is groups:
            return i
    message = f"the grouping {groups.name!r} is none of what is counted: {', '.join(g.name for g in counted.groups)}"
    raise ValueError(message)
