"""What a run's cells are grouped by: its samples, and columns of donors, conditions and others beside its cells."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.beside import cells_file, columns_beside
from celljury.errors import BatchError, ConfigError
from celljury.report.counted import Groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from celljury.report.counted import Role
    from celljury.run import Run

logger = logging.getLogger(__name__)

NONE: Final = "(none)"
"""The group of cells without a value."""

MOST_GROUPS: Final = 5_000
"""A column with more values names cells or measures them; the largest collection of samples that was annotated together
so far has some thousands."""

FEW_GROUPS: Final = 20
"""So many groups are never too many, however few the cells."""

_ORDER: Final = ("sample", "donor", "condition", "other")


def read_groups(
    run: Run,
    *,
    sample: str | None = None,
    donor: str | None = None,
    condition: str | None = None,
    by: Sequence[str] = (),
    query: Path | None = None,
) -> tuple[Groups, ...]:
    """Return groupings of a run's cells: samples, donors, conditions, then the others; a column makes one grouping.

    A column that is named twice has the first of the roles donor, condition, sample, other. Nothing is asked of how
    samples, donors and conditions lie in each other: a donor may have several samples, and samples of two conditions.

    Parameters
    ----------
    sample
        Column with samples; None = the batches that the run was made with, if there are several.
    donor, condition
        Columns with donors, whose fractions are averaged with an interval, and with what donors are compared by.
    by
        Further columns.
    query
        h5ad, h5mu, zarr, TSV, CSV or parquet with these columns, a row a cell; the run's own ``query.celljury.h5ad`` if
        None.

    Raises
    ------
    UnreadableFileError
        If there is no file to read.
    MissingColumnError
        If a column is not there.
    CellsError
        If the file does not hold the run's cells.
    BatchError
        If a column holds measures or names of cells, or no value at all.
    ConfigError
        If one column is to be donors and conditions.
    """
    if donor is not None and donor == condition:
        message = f"column {donor!r} is named as donors and as conditions: donors are compared by what they differ in."
        raise ConfigError(message)
    named: list[tuple[Role, str | None, str]] = [
        ("donor", donor, "--donor"), ("condition", condition, "--condition"), ("sample", sample, "--sample"),
        *(("other", name, "--by") for name in by),
    ]  # fmt: skip
    wanted: dict[str, tuple[Role, str]] = {}
    for role, name, option in named:
        if name is not None:
            wanted.setdefault(name, (role, option))
    own = _own_samples(run) if sample is None else None
    if own is not None and own.name in wanted:
        own = None
    if not wanted:
        return () if own is None else (own,)
    path = cells_file(run, query, holding=f"the column {' and '.join(map(repr, wanted))}")
    frame = columns_beside(run, path, {name: option for name, (_, option) in wanted.items()})
    found = [
        _checked(make_groups(frame[name], role, name=name), frame[name], path) for name, (role, _) in wanted.items()
    ]
    found += [] if own is None else [own]
    return tuple(sorted(found, key=lambda groups: _ORDER.index(groups.role)))


def group_stems(groups: Sequence[Groups]) -> tuple[str, ...]:
    """Return the names of groupings as parts of file names, each another one: letters, digits, hyphens, underscores."""
    stems: list[str] = []
    for one in groups:
        stem = re.sub(r"[^A-Za-z0-9-]+", "_", one.name).strip("_-") or "group"
        taken = {name.casefold() for name in stems}
        n = 2
        unique = stem
        while unique.casefold() in taken:
            unique, n = f"{stem}_{n}", n + 1
        stems.append(unique)
    return tuple(stems)


def make_groups(column: pd.Series, role: Role, *, name: str) -> Groups:
    """Return the grouping of a column, a value a cell.

    An ordered category keeps its order; else groups are sorted, numbers in them by value: D2 before D10.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        codes, found = column.cat.codes.to_numpy(), column.cat.categories
        ordered = bool(column.cat.ordered)
    else:
        codes, found = pd.factorize(column, use_na_sentinel=True)
        ordered = False
    texts = [_text(value) for value in found]
    # Values that read the same are one group, as 1 and 1.0; the last place is that of a missing value.
    used = np.bincount(codes[codes >= 0], minlength=len(texts)) > 0
    names = list(dict.fromkeys(text for text, is_used in zip(texts, used, strict=True) if is_used and text != NONE))
    if not ordered:
        names.sort(key=_natural)
    at = {text: i for i, text in enumerate(names)}
    place = np.array([at.get(text, len(names)) for text in texts] + [len(names)], np.int32)
    code = place[codes]
    values = (*names, NONE) if (code == len(names)).any() else tuple(names)
    return Groups(role, name, tuple(values), code)


def _checked(groups: Groups, column: pd.Series, path: Path) -> Groups:
    """Return the grouping; raises BatchError where its column is none to group by."""
    n_groups, n_cells = len(groups.values), len(groups.code)
    where = f"{path}: column {groups.name!r}"
    if groups.values == (NONE,):
        message = f"{where} has no value for any cell. Fill it in, or name another column."
        raise BatchError(message)
    numbers = column.dtype.kind == "f" and bool((column.dropna() % 1 != 0).any())
    if numbers:
        message = (
            f"{where} holds measures (e.g. {column.dropna().iloc[0]}), which make no groups. Name a column of names."
        )
        raise BatchError(message)
    if n_groups > MOST_GROUPS or n_groups > max(n_cells / 2, FEW_GROUPS):
        shown = ", ".join(map(repr, groups.values[:3]))
        message = (
            f"{where} has {n_groups:,} different values in {n_cells:,} cells (e.g. {shown}): it names or measures cells. Name"
            " a column that groups them."
        )
        raise BatchError(message)
    return groups


def _own_samples(run: Run) -> Groups | None:
    """Return the batches that a run was made with; None where there is one, or the parts that tell them are gone."""
    query: dict[str, Any] = run.record.get("query") or {}
    batches = [str(batch) for batch in query.get("batches") or ()]
    if len(batches) < 2:
        return None
    name = str(query.get("batch") or "sample")
    codes = [part["_batch"].to_numpy() for part in run.parts("votes", columns=["_batch"])]
    code = np.concatenate(codes) if codes else np.zeros(0, np.int32)
    n_cells = query.get("n_cells", len(code))
    if len(code) != n_cells or code.min(initial=0) < 0 or code.max(initial=0) >= len(batches):
        logger.warning(
            "%s: which cells are of which sample (%s) is not known: its votes/ are not whole. Name the column with --sample.",
            run.folder, name,
        )  # fmt: skip
        return None
    import pandas as pd

    return make_groups(pd.Series(np.array(batches, dtype=object)[code]), "sample", name=name)


def _text(value: Any) -> str:
    """Return a value as it is read, in one line without control characters; empty text is no value."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # whole numbers with a missing one among them are written as 1.0
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", str(value)).split()) or NONE


def _natural(text: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Return what texts are sorted by: digits by value, which is their length and then themselves."""
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    digits = [part.lstrip("0") if part[0] in "0123456789" else None for part in parts]
    return [
        (False, 0, part.casefold()) if own is None else (True, len(own), own)
        for part, own in zip(parts, digits, strict=True)
    ], text
