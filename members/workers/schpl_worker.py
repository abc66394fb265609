"""scHPL's part of `schpl`: linear SVMs along a tree of terms, trained by the library and walked for all cells at once."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

TARGET = 1e4
CLIP = 10.0  # scaled values beyond it say "rare gene", not "how much"
CHUNK = 4_096  # cells made dense at a time
FOLDS = 5
ROOT = "root"  # the name that the library looks for
TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(5.0), 60))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that do the work."""
    return {"scHPL": version("scHPL"), "scikit-learn": version("scikit-learn")}


def fit(cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return components, one SVM a node, a temperature, and the residual that rejects, learned from a reference.

    ``options["tree"]`` holds ``parents`` (of each node, -1 first) and ``columns`` (each node's term among the member's
    terms, the reference's first; -1 = the root stands for none).
    """
    settings, seed = options["settings"], options["seed"]
    parents, columns = np.array(options["tree"]["parents"]), np.array(options["tree"]["columns"])
    expression = log1p_cp10k(cells["counts"], share=1.0)
    space = components(expression, n_components=settings["components"], seed=seed)
    state = {**space, "parents": parents, "columns": columns, "n_known": len(cells["terms"])}
    every = np.ones(len(cells["genes"]), np.bool_)
    points, _ = placed(state, expression, every)
    of_reference = (columns >= 0) & (columns < len(cells["terms"]))
    node_of_term = np.empty(len(cells["terms"]), np.intp)
    node_of_term[columns[of_reference]] = np.flatnonzero(of_reference)
    node = node_of_term[cells["label"]]
    state["coef"], state["intercept"] = trained(points, node, parents)
    fold = folds(node, seed=seed)
    state["temperature"] = temperature(state, points, node, fold=fold)
    if settings["reject_share"] is not None:
        state["residual"] = largest_residual(
            expression, fold, share=settings["reject_share"], n_components=settings["components"], seed=seed
        )
    return state


def predict(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the distribution over the member's terms, and how much of a cell the components leave unexplained."""
    share = float(cells["share"][cells["present"]].sum())
    points, residual = placed(state, log1p_cp10k(cells["counts"], share=share), cells["present"])
    margins = points @ state["coef"].T + state["intercept"]
    mass = spread(margins, walk(margins, state["parents"]), state)
    if options["settings"]["reject_share"] is not None:
        mass[residual > state["residual"]] = 0.0
    return {"mass": mass, "strange": residual, "signal_residual": np.log(residual + 1e-9)}


# Cells in the reference's components ------------------------------------------------------------------------------


def log1p_cp10k(counts: csr_matrix, *, share: float) -> csr_matrix:
    """Return log1p of counts per 10,000 times the share of a reference cell's counts that the measured genes have."""
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    factor = np.divide(TARGET * share, total, out=np.zeros_like(total), where=total > 0)
    found = counts.astype(np.float64)
    found.data = np.log1p(found.data * np.repeat(factor, np.diff(found.indptr)))
    return found


def components(expression: csr_matrix, *, n_components: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Return mean, scale (root of the standard deviation) and principal axes of log expression."""
    from sklearn.utils.extmath import randomized_svd

    mean = np.asarray(expression.mean(axis=0)).ravel()
    variance = np.asarray(expression.multiply(expression).mean(axis=0)).ravel() - mean**2
    scale = np.maximum(variance, 0.0) ** 0.25
    scale[scale <= 1e-6] = 1.0
    z = scaled(expression, mean, scale)
    rank = max(1, min(n_components, min(z.shape) - 1))
    _, _, axes = randomized_svd(z, n_components=rank, random_state=seed)
    return {"mean": mean, "scale": scale, "axes": np.asarray(axes, np.float64)}


def placed(
    state: dict[str, Any], expression: csr_matrix, present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates, genes that are not present counting as average, and the root mean square that is left of a cell.

    What is left is taken over present genes, beside the coordinates that fit them best.
    """
    axes = np.ascontiguousarray(state["axes"][:, present].T)
    basis = np.linalg.qr(axes)[0]
    points = np.zeros((expression.shape[0], axes.shape[1]))
    residual = np.full(expression.shape[0], np.nan)
    for start in range(0, expression.shape[0] if present.any() else 0, CHUNK):
        rows = slice(start, start + CHUNK)
        z = scaled(expression[rows], state["mean"], state["scale"])[:, present]
        points[rows] = z @ axes
        residual[rows] = np.sqrt(np.mean((z - (z @ basis) @ basis.T) ** 2, axis=1))
    return points, residual


def scaled(expression: csr_matrix, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centred and scaled values, dense, clipped at `CLIP`."""
    return np.clip((expression.toarray() - mean) / scale, -CLIP, CLIP)


def largest_residual(
    expression: csr_matrix, fold: NDArray[np.intp], *, share: float, n_components: int, seed: int
) -> float:
    """Return the residual that ``share`` of held-out cells exceed, the median over folds, as scHPL sets its own bound."""
    every = np.ones(expression.shape[1], np.bool_)
    found = []
    for one in np.unique(fold[fold >= 0]):
        held = np.flatnonzero(fold == one)
        space = components(expression[np.flatnonzero(fold != one)], n_components=n_components, seed=seed)
        found.append(np.quantile(placed(space, expression[held], every)[1], 1 - share))
    return float(np.median(found)) if found else float("inf")


# The tree ---------------------------------------------------------------------------------------------------------


def trained(
    points: NDArray[np.float64], node: NDArray[np.intp], parents: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the SVM of each node, (n_nodes, n_dims) and (n_nodes,): positive where it accepts a cell; 0 for the root."""
    coef, intercept = np.zeros((parents.size, points.shape[1])), np.zeros(parents.size)
    for i, one in enumerate(library_tree(points, node, parents)):
        if i:
            # The library numbers a node's cells 1 and the others 2, and an SVM's sign is that of the larger number.
            classifier = one.get_classifier()
            coef[i], intercept[i] = -classifier.coef_[0], -classifier.intercept_[0]
    return coef, intercept


def library_tree(points: NDArray[np.float64], node: NDArray[np.intp], parents: NDArray[np.intp]) -> list[Any]:
    """Return scHPL's own nodes after it trained them, the root first."""
    from scHPL.train import train_tree
    from scHPL.utils import TreeNode

    names = [ROOT, *(f"node{i}" for i in range(1, parents.size))]
    nodes = [TreeNode(name=[name]) for name in names]
    for i in range(1, parents.size):
        nodes[parents[i]].add_descendant(nodes[i])
    train_tree(points, np.array(names)[node], nodes[:1], classifier="svm", dimred=False, useRE=False)
    return nodes


def below(parents: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield every node that has children, with them, parents before their children."""
    for node in range(parents.size):
        children = np.flatnonzero(parents == node)
        if children.size:
            yield node, children


def walk(margins: NDArray[np.float64], parents: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the node at which each cell's way down ends, (n_cells,): the last one whose SVM accepted it.

    As the library does, it follows the accepting child that is nearest to its own boundary.
    """
    at = np.zeros(margins.shape[0], np.intp)
    for node, children in below(parents):
        here = np.flatnonzero(at == node)
        margin = margins[np.ix_(here, children)]
        accepted = margin >= 0
        chosen = children[np.where(accepted, margin, np.inf).argmin(axis=1)]
        further = accepted.any(axis=1)
        at[here[further]] = chosen[further]
    return at


def descent(
    margins: NDArray[np.float64], state: dict[str, Any], *, at: NDArray[np.intp] | None = None
) -> NDArray[np.float64]:
    """Return how much of each cell ends at each node, (n_cells, n_nodes); rows sum to 1.

    At each node the children share what arrives there by a softmax of their margins over the temperature. A cell can
    stay, as if with a margin of 0, at a term of the reference and at the node ``at`` where its own walk ended.
    """
    parents, columns = state["parents"], state["columns"]
    n_cells = margins.shape[0]
    arrived, ends = np.zeros((2, n_cells, parents.size))
    arrived[:, 0] = 1.0
    leaf = np.ones(parents.size, np.bool_)
    for node, children in below(parents):
        leaf[node] = False
        of_reference = 0 <= columns[node] < state["n_known"]
        stays = np.full(n_cells, of_reference) if at is None else of_reference | (at == node)
        scores = np.column_stack([margins[:, children], np.where(stays, 0.0, -np.inf)]) / state["temperature"]
        parts = np.exp(scores - scores.max(axis=1, keepdims=True))
        parts *= arrived[:, [node]] / parts.sum(axis=1, keepdims=True)
        arrived[:, children], ends[:, node] = parts[:, :-1], parts[:, -1]
    ends[:, leaf] = arrived[:, leaf]
    return ends


def spread(margins: NDArray[np.float64], at: NDArray[np.intp], state: dict[str, Any]) -> NDArray[np.float64]:
    """Return `descent` by the member's terms, (n_cells, n_terms), its largest part where the cell's walk ended.

    A cell whose walk ended at a root that stands for no term has no mass.
    """
    columns = state["columns"]
    ends = descent(margins, state, at=at)
    rows, top = np.arange(at.size), ends.argmax(axis=1)
    ends[rows, at], ends[rows, top] = ends[rows, top], ends[rows, at]
    mass = np.zeros((at.size, int(columns.max()) + 1))
    mass[:, columns[columns >= 0]] = ends[:, columns >= 0]
    if columns[0] < 0:
        mass[at == 0] = 0.0
    return mass


# How sure ---------------------------------------------------------------------------------------------------------


def folds(node: NDArray[np.intp], *, seed: int) -> NDArray[np.intp]:
    """Return the fold that holds each cell out, 0 to 4, at random within a term; -1 for the only cell of a term."""
    order = np.lexsort((np.random.default_rng(seed).random(node.size), node))
    sizes = np.bincount(node)
    place = np.empty(node.size, np.intp)
    place[order] = np.arange(node.size) - (np.cumsum(sizes) - sizes)[node[order]]
    return np.where(sizes[node] > 1, place % FOLDS, -1)


def temperature(
    state: dict[str, Any], points: NDArray[np.float64], node: NDArray[np.intp], *, fold: NDArray[np.intp]
) -> float:
    """Return what margins are divided by: it makes the true terms of held-out cells most likely."""
    parents = state["parents"]
    known = fold >= 0
    if not known.any():
        return 1.0
    margins = np.empty((points.shape[0], parents.size))
    for one in np.unique(fold[known]):
        held = fold == one
        coef, intercept = trained(points[~held], node[~held], parents)
        margins[held] = points[held] @ coef.T + intercept
    rows = np.arange(int(known.sum()))

    def loss(value: float) -> float:
        own = descent(margins[known], state | {"temperature": value})[rows, node[known]]
        return float(-np.log(np.maximum(own, 1e-4)).mean())

    return float(min(TEMPERATURES, key=loss))
