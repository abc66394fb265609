"""Cells among the prototypes of scPoli's latent space, by arrays alone: no torch, nothing sampled, double precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    Doubles = NDArray[np.float64]

WEIGHT = "weight_"  # before the name of an array of the network
NORM_EPS = 1e-5  # torch.nn.LayerNorm's
RIDGE = 1e-3  # of the mean variance, so that types of few cells leave an inverse
CHUNK = 4_096  # cells made dense at a time

# Accuracy with half and a fifth of the genes of two pairs (P1; 3' v2 from the other two technologies), drawn at random:
# with the counts that scVI's members expect of missing genes .765, .544, .856, .852; zeros .942, .930, .894, .858; the
# mean of log1p counts .956, .793, .833, .838; 10 components .958, .956, .890, .856; 30 components .940, .956, .904, .900.
FILL_COMPONENTS = 30


# Genes that a query lacks -----------------------------------------------------------------------------------------


def fill_of(counts: csr_matrix) -> dict[str, Doubles]:
    """Return mean, principal axes and their variances of log1p counts, and the mean variance beside them."""
    from sklearn.utils.extmath import randomized_svd

    log = np.log1p(counts.toarray().astype(np.float32))
    mean = log.mean(axis=0, dtype=np.float64)
    log -= mean.astype(np.float32)
    rank = max(1, min(FILL_COMPONENTS, min(log.shape) - 1))
    _, size, axes = randomized_svd(log, n_components=rank, random_state=0)
    variance = np.maximum(size.astype(np.float64) ** 2 / log.shape[0], 1e-9)
    rest = float(np.square(log).sum(dtype=np.float64)) / log.shape[0] - float(variance.sum())
    return {
        "fill_mean": mean,
        "fill_axes": axes.astype(np.float64),
        "fill_variance": variance,
        "fill_rest": np.array(max(rest / log.shape[1], 1e-6)),
    }


def filled(state: Mapping[str, Any], log: Doubles, present: NDArray[np.bool_]) -> Doubles:
    """Return log1p counts with the genes that the query lacks at what the others make likely.

    That is the posterior mean of a probabilistic PCA of the reference (Tipping 1999, doi:10.1111/1467-9868.00196).
    """
    if present.all():
        return log
    axes, mean = state["fill_axes"], state["fill_mean"]
    seen = axes[:, present]
    precision = seen @ seen.T / state["fill_rest"] + np.diag(1 / state["fill_variance"])
    points = np.linalg.solve(precision, seen @ (log[:, present] - mean[present]).T / state["fill_rest"]).T
    found = log.copy()
    found[:, ~present] = np.maximum(mean[~present] + points @ axes[:, ~present], 0.0)
    return found


# Latent space -----------------------------------------------------------------------------------------------------


def latents(state: Mapping[str, Any], counts: csr_matrix, rows: Doubles, *, present: NDArray[np.bool_]) -> Doubles:
    """Return the mean latent of each cell, (n_cells, n_latent).

    Parameters
    ----------
    state
        Weights of the network by name, and what `fill_of` gave.
    counts
        Raw counts, CSR (n_cells, n_genes).
    rows
        Each cell's condition embedding, (n_cells, n_dims).
    present
        Which genes were measured, bool (n_genes,).
    """
    found = np.zeros((counts.shape[0], state["shape"]["latent"]))
    for start in range(0, len(found), CHUNK):
        some = slice(start, start + CHUNK)
        log = np.log1p(counts[some].toarray().astype(np.float64))
        found[some] = encoded(state, filled(state, log, present), rows[some])
    return found


def encoded(state: Mapping[str, Any], log: Doubles, rows: Doubles) -> Doubles:
    """Return what scPoli's encoder makes of log1p counts: a layer with the condition, layer norm, ReLU, a layer."""
    weight = {name: state[WEIGHT + "encoder." + name] for name in ENCODER}
    hidden = log @ weight["FC.L0.expr_L.weight"].T.astype(np.float64) + weight["FC.L0.expr_L.bias"]
    hidden += rows @ weight["FC.L0.cond_L.weight"].T.astype(np.float64)
    hidden -= hidden.mean(axis=1, keepdims=True)
    hidden /= np.sqrt((hidden**2).mean(axis=1, keepdims=True) + NORM_EPS)
    mean = np.maximum(hidden, 0.0) @ weight["mean_encoder.weight"].T.astype(np.float64) + weight["mean_encoder.bias"]
    return np.asarray(mean, np.float64)


ENCODER = (
    "FC.L0.expr_L.weight",
    "FC.L0.expr_L.bias",
    "FC.L0.cond_L.weight",
    "mean_encoder.weight",
    "mean_encoder.bias",
)


# Prototypes -------------------------------------------------------------------------------------------------------


def whitening(rest: Doubles) -> Doubles:
    """Return the matrix that gives ``rest``, how far cells lie from their own prototypes, unit covariance."""
    covariance = rest.T @ rest / len(rest)
    covariance += np.eye(len(covariance)) * max(RIDGE * float(np.trace(covariance)) / len(covariance), 1e-12)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(covariance)), np.float64)


def distances(state: Mapping[str, Any], latent: Doubles) -> Doubles:
    """Return the distance of each cell to each type's prototype, (n_cells, n_terms)."""
    points, prototypes = latent @ state["whiten"], state["prototypes"] @ state["whiten"]
    return np.stack([np.sqrt(((points - one) ** 2).sum(axis=1)) for one in prototypes], axis=1)


def closeness(distance: Doubles) -> Doubles:
    """Return a softmax over minus the distances, as scPoli's own ``get_prob`` does; rows sum to 1."""
    found = np.exp(distance.min(axis=1, keepdims=True) - distance)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float64)
