"""Calls into an h5ad beside the query's own: everything it held stays, columns are added."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celljury.errors import CelljuryError, OutputError
from celljury.provenance import written_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from celljury.run import Run

PREFIX = "celljury_"


def write_h5ad(run: Run, query: Any) -> Path:
    """Write ``query.celljury.h5ad`` into the run's folder: the query with the columns of its calls, and return its path.

    An h5ad is copied byte for byte and only its ``obs`` is written anew; other inputs are written as anndata writes
    them. The caller's object and file stay as they are.

    Raises
    ------
    OutputError
        If the file cannot be written, or the query holds what anndata cannot write. Nothing stands under its name then.
    """
    to = run.folder / "query.celljury.h5ad"
    columns = call_columns(run)
    voted = frozenset(str(member["name"]) for member in run.record["members"])
    with writing(to) as partial:
        if not hasattr(query, "obs") and _is_h5ad(Path(query)):
            shutil.copyfile(query, partial)
            _replace_obs(partial, lambda obs: _joined(obs, columns, voted))
        else:
            _write(_with_columns(_rna(query), columns, voted), partial, to=to)
    return to


@contextmanager
def writing(to: Path) -> Iterator[Path]:
    """Give a file to write beside ``to``; it takes that name if all goes well, and goes if not.

    Raises
    ------
    OutputError
        If the disk is full, or the place cannot be written.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(to) as partial:
            yield partial
    except CelljuryError:
        raise
    except OSError as error:
        raise OutputError.for_path(to, error.strerror or str(error)) from error


FINAL = ("term", "label", "status", "source", "reviewers")


def write_final_h5ad(run: Run, final: Path) -> Path | None:
    """Add what curators decided to ``query.celljury.h5ad`` and return its path; None where the run has none.

    Only ``obs`` is written anew, beside the file and renamed; columns ``celljury_final_*`` of an earlier call are replaced.

    Parameters
    ----------
    final
        Table of all cells in the run's order, as in ``final.parquet``.

    Raises
    ------
    OutputError
        If the file cannot be written, or its cells are not the run's. It stays as it was then.
    """
    import pyarrow.parquet as pq

    to = run.folder / "query.celljury.h5ad"
    if not to.is_file():
        return None
    table = pq.read_table(final, columns=["cell_id", *FINAL]).to_pandas().set_index("cell_id")
    with writing(to) as partial:
        shutil.copyfile(to, partial)
        _replace_obs(partial, lambda obs: _with_final(obs, table.add_prefix(f"{PREFIX}final_")))
    return to


def _with_final(obs: pd.DataFrame, columns: pd.DataFrame) -> pd.DataFrame:
    if obs.index.astype(str).tolist() != columns.index.tolist():
        message = "the cells of query.celljury.h5ad are not the run's: other names, or another order. Annotate it anew."
        raise OutputError(message)
    kept = obs.drop(columns=[name for name in columns.columns if name in obs.columns])
    return kept.join(columns.set_axis(kept.index))


def _write(adata: Any, partial: Path, *, to: Path) -> None:
    try:
        adata.write_h5ad(partial)
    except OSError:
        raise
    except Exception as error:  # anndata's own has no public name; its notes say where in the object it happened
        why = "; ".join([str(error), *getattr(error, "__notes__", ())])
        message = (
            f"cannot write {to}: the query holds what an h5ad cannot ({why}). Remove that, or leave this file out with"
            " --no-h5ad (h5ad=False). All other files of the run are there."
        )
        raise OutputError(message) from error


def _is_h5ad(path: Path) -> bool:
    """Whether a file holds one AnnData, by what is in it; its name may end in anything."""
    import h5py

    if not path.is_file():
        return False
    with h5py.File(path, "r") as file:
        return "mod" not in file


def call_columns(run: Run) -> pd.DataFrame:
    """Return the calls as columns for ``obs``, named with the prefix ``celljury_``."""
    return run.calls.astype({"p_seen": "float32"}).add_prefix(PREFIX)


def _rna(query: Any) -> Any:
    """Return the query's AnnData, read into memory where it is a file."""
    import anndata as ad

    if hasattr(query, "mod"):
        return query.mod["rna"]
    if hasattr(query, "obs"):
        return query
    path = Path(query)
    if path.is_file():
        import h5py

        with h5py.File(path, "r") as file:
            return ad.io.read_elem(file["mod"]["rna"])
    import zarr

    store = zarr.open_group(path, mode="r")
    return ad.io.read_elem(store["mod"]["rna"]) if "mod" in store else ad.io.read_zarr(path)


def _with_columns(adata: Any, columns: pd.DataFrame, voted: frozenset[str]) -> Any:
    # An object that is backed by a file is read: its copy would have to name a file of its own.
    copy = adata.to_memory() if adata.isbacked else adata.copy()
    copy.obs = _joined(copy.obs, columns, voted)
    return copy


def _joined(obs: pd.DataFrame, columns: pd.DataFrame, voted: frozenset[str]) -> pd.DataFrame:
    """Add the columns; those of an earlier run go, but for the ones that were voted on."""
    if obs.index.astype(str).tolist() != columns.index.tolist():
        message = "the query's cells are not the run's: other names, or another order. Annotate this query anew."
        raise OutputError(message)
    earlier = [name for name in obs.columns if str(name).startswith(PREFIX)]
    kept = obs.drop(columns=[name for name in earlier if name in columns.columns or name not in voted])
    return kept.join(columns.set_axis(kept.index))


def _replace_obs(path: Path, changed: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    import h5py
    from anndata.io import read_elem, write_elem

    with h5py.File(path, "r+") as file:
        obs = changed(read_elem(file["obs"]))
        del file["obs"]
        write_elem(file, "obs", obs)
