"""scArches' part of `scpoli`: train scPoli on a reference, and the embedding of each query batch by surgery."""

from __future__ import annotations

import random
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import scpoli_space as space

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

BATCH, LABEL = "batch", "label"  # columns
NEW = "query"  # the query batch's condition; those of the reference are "0", "1", ...
ROWS = "embeddings.0.weight"
LEARNING_RATE = 3e-3
# The last tenth of the epochs pulls cells to their prototypes, as in scArches; all cells train, since a type of one cell
# would be lost to a validation set; prototypes of unlabelled cells are not needed.
PRETRAINING = 0.9
PLAIN: dict[str, Any] = {
    "use_early_stopping": False, "train_frac": 1.0, "unlabeled_prototype_training": False, "monitor": False,
}  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the libraries that do the work."""
    return {"scArches": version("scArches"), "torch": version("torch")}


def fit(cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the trained network, the types' prototypes, and what fills genes that a query lacks."""
    settings = options["settings"]
    counts, batch, label = with_counts(cells)
    shape = {name: settings[name] for name in ("hidden", "latent", "embedding")}
    epochs = settings["epochs"] or default_epochs(counts.shape[0])
    seed_all(options)
    model = network(table(dense(counts), batch.astype(str), label.astype(str)), shape, labels=LABEL)
    model.train(
        n_epochs=epochs, pretraining_epochs=int(epochs * PRETRAINING), eta=settings["prototype_weight"],
        lr=LEARNING_RATE, alpha_epoch_anneal=epochs, seed=options["seed"], **PLAIN,
    )  # fmt: skip
    weights = weights_of(model)
    order = np.argsort([int(name) for name in model.conditions_[BATCH]])
    weights[ROWS], weights["theta"] = weights[ROWS][order], weights["theta"][:, order]
    state: dict[str, Any] = {space.WEIGHT + name: array for name, array in weights.items()}
    rows = weights[ROWS].astype(np.float64)
    state |= {"shape": shape, "typical": rows.mean(axis=0), "batches": [], "embeddings": rows[:0]}
    state |= space.fill_of(counts)
    every = np.ones(counts.shape[1], np.bool_)
    latent = space.latents(state, counts, rows[batch], present=every)
    if settings["distance"] == "euclidean":
        own = model.prototypes_labeled_["mean"].numpy().astype(np.float64)
        state["prototypes"] = own[np.argsort([int(name) for name in model.model.cell_types])]
        state["whiten"] = np.eye(shape["latent"])
    else:
        means = np.array([latent[label == term].mean(axis=0) for term in range(len(cells["terms"]))])
        state["prototypes"], state["whiten"] = means, space.whitening(latent - means[label])
    return state


def adapt(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the embedding of each query batch that has cells with counts, each learned from its own cells alone."""
    settings = options["settings"]
    counts, present = cells["counts"], cells["present"]
    seen = np.asarray(counts.sum(axis=1)).ravel() > 0
    worth = float(cells["share"][present].sum()) >= settings["surgery_min_share"]
    used = np.unique(cells["batch"][seen]) if worth and settings["surgery_epochs"] else np.empty(0, np.int32)
    rows = np.empty((used.size, state["typical"].size))
    for place, i in enumerate(used):
        own = counts[np.flatnonzero(seen & (cells["batch"] == i))]
        own = own[content_order(own)[: settings["surgery_cells_per_batch"]]]
        log = space.filled(state, np.log1p(own.toarray().astype(np.float64)), present)
        rows[place] = operate(state, np.expm1(log).astype(np.float32), options)
    return {"embeddings": rows, "batches": [cells["batches"][i] for i in used]}


def predict(state: dict[str, Any], cells: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return closeness to the types' prototypes, and the distance to the nearest one.

    A batch that was not adapted to is read as the mean of the reference's batches.
    """
    rows = np.vstack([state["embeddings"], state["typical"]])
    place = {name: i for i, name in enumerate(state["batches"])}
    code = np.array([place.get(name, len(rows) - 1) for name in cells["batches"]], np.intp)
    latent = space.latents(state, cells["counts"], rows[code[cells["batch"]]], present=cells["present"])
    distance = space.distances(state, latent)
    near = distance.min(axis=1)
    return {"mass": space.closeness(distance), "strange": near, "signal_mahalanobis": 2 * np.log(near + 1e-9)}


# Cells ------------------------------------------------------------------------------------------------------------


def default_epochs(n_cells: int) -> int:
    """Return passes over ``n_cells`` reference cells: 200,000 cells in all, 15 to 100 passes.

    Accuracy with 50, 100 and 200 passes on P1 and two cross pairs (technologies, donors): .967, .974, .981; .885, .927,
    .923; .890, .912, .907.
    """
    return int(np.clip(round(200_000 / n_cells), 15, 100))


def with_counts(cells: dict[str, Any]) -> tuple[csr_matrix, NDArray[np.intp], NDArray[np.int32]]:
    """Return counts, batches (0, 1, ... of those in use) and labels of the cells that have any counts."""
    seen = np.flatnonzero(np.asarray(cells["counts"].sum(axis=1)).ravel() > 0)
    label = cells["label"][seen]
    empty = np.flatnonzero(np.bincount(label, minlength=len(cells["terms"])) == 0)
    if empty.size:
        names = ", ".join(cells["terms"][i] for i in empty[:5])
        message = f"no reference cell of {names} has any count. Leave these types out of the reference."
        raise ValueError(message)
    _, batch = np.unique(cells["batch"][seen], return_inverse=True)
    return cells["counts"][seen], batch, label


def dense(counts: csr_matrix) -> NDArray[np.float32]:
    """Return counts as scArches wants them: it makes each cell dense at each pass otherwise."""
    return np.asarray(counts.toarray(), np.float32)


def content_order(counts: csr_matrix) -> NDArray[np.intp]:
    """Return rows sorted by a hash of their counts: as good as a shuffle, and the same whatever order they came in."""
    weight = np.random.default_rng(0).integers(0, 2**64, size=counts.shape[1], dtype=np.uint64)
    mixed = counts.data.astype(np.float32).view(np.uint32).astype(np.uint64) * weight[counts.indices]
    mixed ^= mixed >> np.uint64(29)  # without it the hash would be linear in the counts
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return np.argsort(total[counts.indptr[1:]] - total[counts.indptr[:-1]], kind="stable")


def table(values: NDArray[np.float32], batch: NDArray[np.str_], label: NDArray[np.str_]) -> AnnData:
    """Return cells as scArches wants them."""
    import pandas as pd
    from anndata import AnnData

    return AnnData(values, obs=pd.DataFrame({BATCH: batch, LABEL: label}, index=[str(i) for i in range(len(values))]))


# The network ------------------------------------------------------------------------------------------------------


def seed_all(options: dict[str, Any]) -> None:
    """Seed every generator that the library draws from, and set its threads."""
    import torch

    torch.set_num_threads(options["threads"])
    torch.manual_seed(options["seed"])
    np.random.seed(options["seed"] % 2**32)
    random.seed(options["seed"])


def network(cells: AnnData, shape: dict[str, int], *, labels: str | None) -> Any:
    """Return an untrained scPoli with one condition a batch."""
    from scarches.models import scPoli

    return scPoli(
        cells, condition_keys=BATCH, cell_type_keys=labels, embedding_dims=shape["embedding"],
        latent_dim=shape["latent"], hidden_layer_sizes=[shape["hidden"]], recon_loss="nb",
    )  # fmt: skip


def weights_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """Return all weights; the conditions' rows as a look-up gives them, no longer than the model allows."""
    import torch

    net = model.model
    with torch.no_grad():
        net.embeddings[0](torch.arange(net.embeddings[0].num_embeddings))  # it shortens rows in place
    return {name: np.array(tensor.numpy()) for name, tensor in net.state_dict().items()}


def rebuilt(state: dict[str, Any]) -> Any:
    """Return the library's model with the reference's weights, without its cells and labels."""
    import torch

    weights = {name[len(space.WEIGHT) :]: x for name, x in state.items() if name.startswith(space.WEIGHT)}
    n_batches, n_genes = len(weights[ROWS]), len(weights["theta"])
    names = np.arange(n_batches).astype(str)
    model = network(table(np.zeros((n_batches, n_genes), np.float32), names, names), state["shape"], labels=None)
    model.model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return model


def operate(state: dict[str, Any], counts: NDArray[np.float32], options: dict[str, Any]) -> NDArray[np.float32]:
    """Return the condition embedding of one query batch, (n_dims,), learned from its cells (n_cells, n_genes).

    It starts at the mean of the reference's, as does the dispersion that each gene has in the new condition. All else
    stays as it was.

    Raises
    ------
    RuntimeError
        If any other weight moved.
    """
    import torch
    from scarches.models import scPoli

    seed_all(options)
    new = np.full(len(counts), NEW)
    model = scPoli.load_query_data(table(counts, new, new), reference_model=rebuilt(state))
    weights = dict(model.model.named_parameters())
    with torch.no_grad():
        weights[ROWS][-1] = torch.from_numpy(state["typical"])
        weights["theta"][:, -1] = weights["theta"][:, :-1].mean(dim=1)
    before = weights_of(model)
    epochs = options["settings"]["surgery_epochs"]
    model.train(
        n_epochs=epochs, pretraining_epochs=epochs, lr=LEARNING_RATE, alpha_epoch_anneal=None, weight_decay=0.0,
        seed=options["seed"], **PLAIN,
    )  # fmt: skip
    after = weights_of(model)
    for name, array in after.items():
        kept: Any = {ROWS: np.s_[:-1], "theta": np.s_[:, :-1]}.get(name, np.s_[...])
        if not np.array_equal(array[kept], before[name][kept]):
            message = f"surgery moved {name!r}, which belongs to the reference: another scArches than 0.6.1?"
            raise RuntimeError(message)
    return after[ROWS][-1]
