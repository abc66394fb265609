"""The autoencoders behind `scvi_knn`, `scanvi` and `totalvi_knn` as plain arrays, rebuilt from them without pickles."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.scvi_cells import UNKNOWN, cells_table, filled
from celljury.members.torch_session import session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.members.base import Proteins

# What lets surgery touch the weights of a new batch only (Lotfollahi 2022, doi:10.1038/s41587-021-01001-7): the batch
# enters the first layers alone, and layer norm, unlike batch norm, has no state that new cells could move.
SURGERY_READY = {
    "encode_covariates": True,
    "deeply_inject_covariates": False,
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "gene_likelihood": "nb",
}
# The same for totalVI, whose covariates enter every layer. Which proteins a batch lacks is told by hand: scvi-tools takes
# a protein without counts in a small sample for one that was not measured. The prior of the background is drawn anew
# from the cells only where it is learned.
TOTALVI_READY = {
    "encode_covariates": True,
    "use_layer_norm": "both",
    "use_batch_norm": "none",
    "gene_likelihood": "nb",
    "override_missing_proteins": True,
    "empirical_protein_background_prior": False,
}
# totalVI's parameters with a column a batch, also where there is one batch only.
PER_BATCH = ("background_pro_alpha", "background_pro_log_beta", "log_per_batch_efficiency")
ENCODE_ROWS = 2_048  # cells made dense at a time


@dataclass(frozen=True, slots=True)
class Network:
    """A trained SCVI, SCANVI or TOTALVI model.

    Attributes
    ----------
    kind
        Class of scvi-tools.
    n_genes, n_terms
        Genes it reads; terms its classifier knows (0 for SCVI).
    n_batches
        Batches it knows: one column each in the first layers, unless there is one batch only.
    shape
        ``n_latent``, ``n_hidden`` and ``n_layers``.
    state
        Weights by the name of their parameter.
    n_proteins
        Proteins it reads, TOTALVI only.
    """

    kind: Literal["SCVI", "SCANVI", "TOTALVI"]
    n_genes: int
    n_terms: int
    n_batches: int
    shape: dict[str, int]
    state: Mapping[str, NDArray[np.float32]]
    n_proteins: int = 0

    def batch_columns(self, name: str) -> int:
        """Return how many of the last columns of weight ``name`` belong to batches."""
        if name in PER_BATCH:
            return self.n_batches
        layer, _, rest = name.rpartition(".fc_layers.Layer ")[2].partition(".")
        first_layer = rest == "0.weight" and (layer == "0" or self.kind == "TOTALVI")
        in_reach = name.startswith(("z_encoder.", "l_encoder.", "encoder.", "decoder."))
        # scvi-tools leaves the covariate out where it has a single category.
        return self.n_batches if first_layer and in_reach and self.n_batches > 1 else 0

    def first_layers(self) -> tuple[str, ...]:
        """Return the names of the weights that take batches in."""
        wider = replace(self, n_batches=2)
        return tuple(name for name in self.state if wider.batch_columns(name))

    def typical_batch(self) -> dict[str, NDArray[np.float32]]:
        """Return the column of a batch like the reference's in every first layer, float32 (n_hidden, 1): their mean.

        The only batch of a reference has no column, since its effect is in the bias: there the column is zero.
        """
        columns = {}
        for name in self.first_layers():
            weight = self.state[name]
            n_columns = self.batch_columns(name)
            mean = weight[:, -n_columns:].mean(axis=1, keepdims=True) if n_columns else np.zeros((weight.shape[0], 1))
            columns[name] = mean.astype(np.float32)
        return columns

    def save(self, folder: Path) -> None:
        """Write the network into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        names = list(self.state)
        plan = {"kind": self.kind, "n_genes": self.n_genes, "n_terms": self.n_terms, "n_batches": self.n_batches,
                "n_proteins": self.n_proteins}  # fmt: skip
        text = json.dumps({**plan, "shape": self.shape, "state": names}, indent=1)
        (folder / "network.json").write_text(text, encoding="utf-8")
        save_arrays(folder / "network.npz", **{f"w{i}": self.state[name] for i, name in enumerate(names)})

    @classmethod
    def load(cls, folder: Path) -> Network:
        """Read what `save` wrote."""
        plan = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        arrays = load_arrays(folder / "network.npz")
        plan["state"] = {name: arrays[f"w{i}"] for i, name in enumerate(plan["state"])}
        return cls(**plan)


def widen(network: Network, columns: Mapping[str, NDArray[np.float32]]) -> Network:
    """Return the network with new batches appended.

    Parameters
    ----------
    network
        A trained network.
    columns
        For every weight of `Network.first_layers`, one column a new batch, float32 (n_hidden, n_new).
    """
    state = dict(network.state)
    n_new = 0
    for name, new in columns.items():
        n_new = new.shape[1]
        old = state[name]
        # The only batch of a reference has no column: its effect is in the bias, so its column is zero.
        lone = np.zeros((old.shape[0], 0 if network.batch_columns(name) else 1), np.float32)
        state[name] = np.concatenate([old, lone, new.astype(np.float32)], axis=1)
    return replace(network, n_batches=network.n_batches + n_new, state=state)


def build(network: Network) -> Any:
    """Return the scvi-tools model of ``network``, set up on made cells that show it every batch and term.

    Call it inside `session`: making a module draws random weights before they are replaced.
    """
    import scvi
    import torch
    from scipy.sparse import csr_matrix

    n = max(network.n_batches, network.n_terms, 2)  # TOTALVI cannot be set up on a single cell
    made = csr_matrix(np.ones((n, network.n_genes), np.float32))
    label = np.arange(n) % max(network.n_terms, 1) if network.n_terms else np.full(n, -1)
    table = cells_table(
        made, batch=np.arange(n) % network.n_batches, n_batches=network.n_batches, label=label, n_terms=network.n_terms,
        proteins=np.ones((n, network.n_proteins), np.float32) if network.n_proteins else None,
    )  # fmt: skip
    if network.kind == "SCVI":
        scvi.model.SCVI.setup_anndata(table, batch_key="batch")
        model = scvi.model.SCVI(table, **network.shape, **SURGERY_READY)
    elif network.kind == "TOTALVI":
        scvi.model.TOTALVI.setup_anndata(table, protein_expression_obsm_key="proteins", batch_key="batch")
        model = scvi.model.TOTALVI(table, **network.shape, **TOTALVI_READY)
    else:
        scvi.model.SCANVI.setup_anndata(table, labels_key="label", unlabeled_category=UNKNOWN, batch_key="batch")
        model = scvi.model.SCANVI(table, **network.shape, **SURGERY_READY)
    model.module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in network.state.items()})
    model.module.eval()
    model.is_trained_ = True
    return model


def release(*models: Any) -> None:
    """Let go of the cells of models: scvi-tools keeps them registered with the class for as long as the process."""
    for model in models:
        model.deregister_manager(model.adata)


def state_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a scvi-tools model as arrays."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.module.state_dict().items()}


class Encoder:
    """A network ready to place cells; it reads the mean of the posterior and never samples.

    Parameters
    ----------
    network
        The network, with a column for every batch it will meet.
    threads
        Threads torch may use.
    """

    def __init__(self, network: Network, *, threads: int) -> None:
        self.threads = threads
        with session(seed=0, threads=threads):
            model = build(network)
            self.module = model.module
            release(model)

    def latent(
        self,
        counts: csr_matrix,
        batch: NDArray[np.integer[Any]],
        *,
        present: NDArray[np.bool_],
        share: NDArray[np.float64],
        proteins: Proteins | None = None,
    ) -> NDArray[np.float32]:
        """Return posterior means, float32 (n_cells, n_latent), of cells in batches ``batch``; see `filled`.

        ``proteins`` are read by TOTALVI only, which needs them without gaps.
        """
        import torch

        parts = []
        with session(seed=0, threads=self.threads), torch.inference_mode():
            for start in range(0, counts.shape[0], ENCODE_ROWS):
                rows = slice(start, start + ENCODE_ROWS)
                expression = torch.from_numpy(filled(counts[rows], present=present, share=share))
                code = torch.from_numpy(batch[rows].astype(np.int64).reshape(-1, 1))
                if proteins is None:
                    parts.append(self.module.z_encoder(torch.log1p(expression), code)[0].loc.numpy())
                else:
                    tags = torch.from_numpy(proteins.counts[rows])
                    # As TOTALVAE prepares its input: genes and proteins, each over the cell's mean.
                    read = [torch.log1p(values / (1 + values.mean(1, keepdim=True))) for values in (expression, tags)]
                    hidden = self.module.encoder.encoder(torch.cat(read, dim=-1), code)
                    parts.append(self.module.encoder.z_mean_encoder(hidden).numpy())
        return np.concatenate(parts)

    def probabilities(self, latent: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return SCANVI's probabilities, float32 (n_cells, n_terms), of cells at ``latent``."""
        import torch

        with session(seed=0, threads=self.threads), torch.inference_mode():
            return np.asarray(torch.softmax(self.module.classifier(torch.from_numpy(latent)), dim=-1).numpy())
