"""panhumanpy's part of `panhuman_azimuth`: take the user's network over, and let it vote."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from panhuman_network import Network
from scipy.sparse import csr_matrix, hstack

if TYPE_CHECKING:
    from numpy.typing import NDArray

_kept: dict[str, Network] = {}  # by the state's token: blocks of one run share it


def versions() -> dict[str, str]:
    """Return the versions of the libraries that do the work."""
    found = {"panhumanpy": version("panhumanpy"), "keras": version("keras")}
    for name in ("tensorflow-cpu", "tensorflow"):
        with suppress(PackageNotFoundError):
            return found | {name: version(name)}
    return found


def fit(cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the network's file, what fills genes that a query lacks, and the terms of its classes.

    ``terms`` are the reference's and behind them the network's own; ``place`` is the term of each class, -1 = none.
    """
    path = Path(options["settings"]["weights"])
    file = path.read_bytes()
    network = Network.of(file, name=str(path), threads=options["threads"])
    known = np.isin(cells["genes"], network.panel)
    if not known.any():
        message = (
            f"the network takes genes such as {', '.join(network.panel[:3])}, and none of them is among the reference's"
            f" {known.size:,}, such as {', '.join(cells['genes'][:3])}"
        )
        raise ValueError(message)
    reference = cells["terms"]
    terms = [*reference, *sorted({term for term in network.terms if term is not None} - set(reference))]
    position = {term: i for i, term in enumerate(terms)}
    place = np.array([-1 if term is None else position[term] for term in network.terms], np.int32)
    return {
        "network": np.frombuffer(file, np.uint8), "name": path.name, "terms": terms, "place": place,
        "mean": np.asarray(logged(cells).mean(axis=0), np.float32).ravel(),
        "n_known": int(known.sum()), "n_panel": len(network.panel),
    }  # fmt: skip


def predict(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return each cell's probabilities over the terms.

    A cell abstains that is likelier of no type (a doublet, unassigned) than of any, or that has no count of a gene that
    the network takes.
    """
    network = _network(state, options)
    expression = on_panel(logged(cells), cells["genes"], cells["present"], state["mean"], network.panel)
    known = np.isin(cells["genes"], network.panel)
    counted = np.flatnonzero(np.asarray(cells["counts"][:, known].sum(axis=1)).ravel() > 0)
    mass = np.zeros((expression.shape[0], len(state["terms"])), np.float64)
    if counted.size:
        mass[counted] = over_terms(network.probabilities(expression[counted]), state["place"], mass.shape[1])
    return {"mass": mass.astype(np.float32)}


def logged(cells: dict[str, Any]) -> csr_matrix:
    """Return log1p counts per 10,000, CSR float32: of the jury's genes, as if a query had all of them."""
    counts = cells["counts"]
    total = np.asarray(counts.sum(axis=1), np.float64).ravel()
    share = float(cells["share"][cells["present"]].sum())
    scale = np.divide(1e4 * share, total, out=np.zeros_like(total), where=total > 0)
    values = np.log1p(counts.data * np.repeat(scale, np.diff(counts.indptr)))
    return csr_matrix((values.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def on_panel(
    expression: csr_matrix,
    genes: list[str],
    present: NDArray[np.bool_],
    mean: NDArray[np.float32],
    panel: list[str],
) -> csr_matrix:
    """Return the network's input, CSR float32 (n_cells, n_panel).

    Genes that the jury has and the query lacks are at the reference's mean; those that the jury does not have are 0, as
    panhumanpy fills them.
    """
    n_cells = expression.shape[0]
    filled = np.where(present, 0.0, mean).astype(np.float32)
    lacking = np.flatnonzero(filled)
    rows = np.repeat(np.arange(n_cells), lacking.size)
    constant = csr_matrix(
        (np.tile(filled[lacking], n_cells), (rows, np.tile(lacking, n_cells))), shape=expression.shape, dtype=np.float32
    )
    place = {gene: column for column, gene in enumerate(genes)}
    column = np.array([place.get(gene, len(genes)) for gene in panel], np.intp)
    return csr_matrix(
        hstack([expression + constant, csr_matrix((n_cells, 1), dtype=np.float32)], format="csr")[:, column]
    )


def over_terms(probability: NDArray[np.float64], place: NDArray[np.int32], n_terms: int) -> NDArray[np.float64]:
    """Return probabilities of classes as those of terms, rescaled without what is no type; see `predict`."""
    into = csr_matrix(
        (np.ones((place >= 0).sum()), (np.flatnonzero(place >= 0), place[place >= 0])), shape=(place.size, n_terms)
    )
    found = np.asarray(probability @ into, np.float64)
    none = probability[:, place < 0].sum(axis=1)
    found[none >= found.max(axis=1)] = 0.0
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)


def _network(state: dict[str, Any], options: dict[str, Any]) -> Network:
    token = state["token"]
    if token not in _kept:
        _kept.clear()
        _kept[token] = Network.of(state["network"].tobytes(), name=state["name"], threads=options["threads"])
    return _kept[token]
