"""Fractions within donors, averaged over them: donors, and not their cells, are what a study repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from celljury.report.fraction_tables import share_digits
from celljury.report.groups import NONE, group_stems
from celljury.report.levels import level_file_stem
from celljury.report.table import Table, TableColumn
from celljury.report.tally import tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celljury.report.counted import Counted, Groups
    from celljury.report.levels import Level

LEVEL: Final = 0.95
"""Share of intervals that hold the true mean, if fractions of donors are normally distributed."""

FEWEST: Final = 3
"""With two donors a t interval is 12.7 standard errors to each side, and says nothing; it needs three."""

SUMS_TO_ONE: Final = 1e-9


def donor_tables(counted: Counted, levels: Sequence[Level]) -> list[Table]:
    """Return ``donors_LEVEL`` for every level, and ``donors_LEVEL_by_NAME`` where there are conditions.

    There are none where no column of donors was named, or it names one donor.

    Raises
    ------
    RuntimeError
        If the mean fractions of a level do not add up to 1: a defect of ours.
    """
    return list(_tables(counted, levels))


def mean_interval(fractions: np.ndarray[Any, Any], *, level: float = LEVEL) -> tuple[np.ndarray[Any, Any], ...]:
    """Return mean, lower and upper end of its interval, and standard deviation of fractions, over donors.

    The interval is mean -/+ t(n - 1) x sd / sqrt(n) (Student 1908, doi:10.1093/biomet/6.1.1), cut to 0 to 1; donors
    count the same, however many cells they have. It takes fractions as about normal, which those of rare types are not.

    Parameters
    ----------
    fractions
        float64 (n_donors, n_places); 0 where a donor has no cell of a place.

    Returns
    -------
    Four float64 (n_places,); no interval (NaN) below `FEWEST` donors, no standard deviation below two.
    """
    from scipy.stats import t

    n = len(fractions)
    mean = fractions.mean(axis=0)
    none = np.full(mean.shape, np.nan)
    sd = fractions.std(axis=0, ddof=1) if n > 1 else none
    if n < FEWEST:
        return mean, none, none, sd
    half = t.ppf((1 + level) / 2, n - 1) * sd / np.sqrt(n)
    return mean, np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1), sd


def _tables(counted: Counted, levels: Sequence[Level]) -> Iterator[Table]:
    donors = next((groups for groups in counted.groups if groups.role == "donor"), None)
    if donors is None or sum(name != NONE for name in donors.values) < 2:
        return
    stems = dict(zip([id(groups) for groups in counted.groups], group_stems(counted.groups), strict=True))
    conditions = [groups for groups in counted.groups if groups.role == "condition"]
    for level in levels:
        yield _table(counted, level, donors, None, "")
        for condition in conditions:
            yield _table(counted, level, donors, condition, stems[id(condition)])


def _table(counted: Counted, level: Level, donors: Groups, condition: Groups | None, stem: str) -> Table:
    rows = tally(counted, level, donors, and_groups=condition).rows
    known = rows[rows["group"] != NONE]
    names = [""] if condition is None else [name for name in condition.values if (known["and_group"] == name).any()]
    parts = [known] if condition is None else [known[known["and_group"] == name] for name in names]
    # The same terms in the same order in every condition, which stand below each other: they are read against each other.
    order = _order(known)
    blocks = [_block(part, order, level).assign(group=name) for name, part in zip(names, parts, strict=True)]
    made = pd.concat(blocks, ignore_index=True).sort_values("at", kind="stable", ignore_index=True)
    by = "" if condition is None else f", by {condition.name}"
    notes = [_method(donors, parts), *_left_out(rows, donors)]
    if condition is not None:
        notes += _several(known, donors, condition)
    few = [name for name, part in zip(names, parts, strict=True) if part["group"].nunique() < FEWEST]
    if few:
        where = "" if condition is None else f" in {', '.join(few)}"
        notes.append(f"No interval{where}: fewer than {FEWEST} donors.")
    digits = share_digits(counted)
    grouped = () if condition is None else (TableColumn("group", condition.name),)
    return Table(
        name=f"donors_{level_file_stem(level)}" + (f"_by_{stem}" if condition is not None else ""),
        title=f"Fractions of cell types over donors{by}: {level.title}",
        about=(
            f"A row is a term: the share of it among a donor's cells{'' if condition is None else ' of that condition'}, over"
            f" donors ({donors.name}). A donor without a cell of a term counts as 0."
        ),
        columns=(
            TableColumn("label", "cell type"),
            TableColumn("term", "CL id", "Cell Ontology id; unseen@ = new, under that term", "id"),
            *grouped,
            TableColumn("n_donors", "donors", "", "count"),
            TableColumn("n_with", "with cells", "donors with a cell of it or more", "count"),
            TableColumn("n_cells", "cells", "of all these donors", "count"),
            TableColumn("mean", "mean", "mean of the donors' fractions", "share", digits),
            TableColumn("low", "from", f"lower end of the {100 * LEVEL:.0f} % interval of the mean", "share", digits),
            TableColumn("high", "to", "its upper end", "share", digits),
            TableColumn("sd", "SD", "standard deviation between donors", "share", digits),
            TableColumn("median", "median", "of the donors' fractions", "share", digits),
            TableColumn("min", "least", "of the donors' fractions", "share", digits),
            TableColumn("max", "most", "of the donors' fractions", "share", digits),
        ),
        rows=made,
        n_last=len(names),
        notes=tuple(notes),
    )  # fmt: skip


def _order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return places with id and label, by their mean fraction over donors and conditions, what is no term last."""
    mean = rows.groupby("place")["fraction"].sum()
    named = rows.drop_duplicates("place").set_index("place")[["term", "label"]].assign(mean=mean)
    order = np.lexsort((named["label"], -named["mean"], named.index.to_numpy() < 0))
    return named[["term", "label"]].iloc[order]


def _block(rows: pd.DataFrame, order: pd.DataFrame, level: Level) -> pd.DataFrame:
    """Return the fractions of donors, a row a place, and their total; ``at`` = place in the order."""
    table = rows.pivot_table(
        index="group", columns="place", values="n_cells", aggfunc="sum", fill_value=0, observed=True
    )
    counts = table.reindex(columns=order.index, fill_value=0).to_numpy(np.int64)
    # Of the donor's cells as they were counted, not of those in this table: what it lost would be seen.
    size = rows.groupby("group")["n_cells"].sum().reindex(table.index).to_numpy()
    fractions = counts / size[:, None]
    mean, low, high, sd = mean_interval(fractions)
    if abs(float(mean.sum()) - 1) > SUMS_TO_ONE:
        message = f"level {level.name!r}: mean fractions of donors add up to {float(mean.sum())!r}, not to 1"
        raise RuntimeError(message)
    frame = pd.DataFrame(
        {
            "label": [*order["label"], "all cells"], "term": [*order["term"], ""], "n_donors": len(counts),
            "n_with": [*(counts > 0).sum(axis=0), len(counts)], "n_cells": [*counts.sum(axis=0), counts.sum()],
            "mean": [*mean, mean.sum()],
        }
    )  # fmt: skip
    spread = {"low": low, "high": high, "sd": sd, "median": np.median(fractions, axis=0), "min": fractions.min(axis=0),
              "max": fractions.max(axis=0)}  # fmt: skip
    return frame.assign(**{name: np.append(values, np.nan) for name, values in spread.items()}, at=range(len(frame)))


def _method(donors: Groups, parts: Sequence[pd.DataFrame]) -> str:
    size = pd.concat([part.groupby("group")["n_cells"].sum() for part in parts if len(part)])
    return (
        f"Donors count the same, however many cells they have (here {int(size.min()):,} to {int(size.max()):,}). The interval"
        f" is mean -/+ t x SD / sqrt(n) with n - 1 degrees of freedom (Student 1908, doi:10.1093/biomet/6.1.1), cut to 0 to"
        " 100 %: approximate for rare types and few donors, and of each term alone. It is no test between conditions."
    )


def _left_out(rows: pd.DataFrame, donors: Groups) -> list[str]:
    n = int(rows.loc[rows["group"] == NONE, "n_cells"].sum())
    return [f"Left out: {n:,} cells whose donor is not known (no value in {donors.name})."] if n else []


def _several(known: pd.DataFrame, donors: Groups, condition: Groups) -> list[str]:
    """Return what to say of donors that occur in several conditions."""
    n = int((known.groupby("group")["and_group"].nunique() > 1).sum())
    if not n:
        return []
    which = f"One donor ({donors.name}) has" if n == 1 else f"{n} donors ({donors.name}) have"
    return [
        f"{which} cells in several groups of {condition.name}, and one fraction in each: these groups are not independent."
    ]
