"""Columns put into an ``obs`` on disk: what stood there stays byte for byte, columns of an earlier run are replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.write import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import h5py
    from numpy.typing import NDArray

    from celljury.export.run_columns import RunColumns


def modern_obs(parent: h5py.Group) -> h5py.Group:
    """Return ``obs`` in the encoding of anndata 0.8 and later; an older one is written anew."""
    from anndata.io import read_elem, write_elem

    obs = parent["obs"]
    if str(obs.attrs.get("encoding-version", "")) != "0.2.0":
        table = read_elem(obs)
        del parent["obs"]
        write_elem(parent, "obs", table)
    return parent["obs"]


def column_order(obs: h5py.Group) -> list[str]:
    """Return the names of an obs's columns, in their order."""
    return [str(name) for name in np.asarray(obs.attrs["column-order"]).ravel()]


def set_order(obs: h5py.Group, names: Iterable[str]) -> None:
    """Say which columns an obs has."""
    import h5py

    listed = list(names)
    obs.attrs["column-order"] = np.array(listed, dtype=h5py.string_dtype()) if listed else np.array([], np.float64)


def drop_earlier(obs: h5py.Group, *, prefix: str, keep: frozenset[str], new: Iterable[str]) -> None:
    """Remove columns of an earlier run of celljury, but for those that were voted on.

    Parameters
    ----------
    prefix
        What such columns start with.
    keep
        Names that stay unless a new column has the same.
    new
        Names that are about to be written.
    """
    new, order = frozenset(new), column_order(obs)
    gone = {name for name in order if name in new or (name.startswith(prefix) and name not in keep)}
    for name in gone:
        del obs[name]
    set_order(obs, (name for name in order if name not in gone))


def add_columns(obs: h5py.Group, columns: Mapping[str, Any]) -> None:
    """Write columns at the right; each is one of `plain_values`."""
    from anndata.io import write_elem

    order = column_order(obs)
    for name, values in columns.items():
        write_elem(obs, name, values)
    set_order(obs, [*(name for name in order if name not in columns), *columns])


def add_calls(
    obs: h5py.Group, columns: RunColumns, rows: NDArray[np.int64], *, prefix: str = "", drop: bool = True
) -> None:
    """Write all columns of a run's calls, one in memory at a time.

    Parameters
    ----------
    rows
        As in `RunColumns.values`.
    prefix
        Stands before each name, such as ``rna:``.
    drop
        Whether columns of an earlier run go.
    """
    from anndata.io import write_elem

    sources = {f"{prefix}{name}": where for name, where in columns.obs_names().items()}
    if drop:
        voted = frozenset(f"{prefix}{member['name']}" for member in columns.run.record["members"])
        drop_earlier(obs, prefix=f"{prefix}{PREFIX}", keep=voted, new=sources)
    for name, (path, column) in sources.items():
        write_elem(obs, name, columns.values(path, column, rows))
    order = column_order(obs)
    set_order(obs, [*order, *sources])
