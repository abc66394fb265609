"""Train SCVI on a reference, SCANVI from it, and the weights of a new batch of either."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from celljury.errors import MemberError
from celljury.members.base import MemberSettings
from celljury.members.scvi_cells import UNKNOWN, TrainingCells, cells_table
from celljury.members.scvi_model import SURGERY_READY, Network, build, release, state_of
from celljury.members.torch_session import session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from celljury.members.base import Proteins

MINIBATCH = 128  # scvi-tools' default
SILENT = {"enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False, "logger": False}

# With one batch there is nothing to tell apart, without held-out cells nothing to watch, and the weight of proteins and
# of the latent's prior, which totalVI raises over many steps from 0, is 1 at once, as training left it.
TOTALVI_SURGERY = {
    "adversarial_classifier": False,
    "reduce_lr_on_plateau": False,
    "early_stopping": False,
    "n_steps_kl_warmup": 1,
}

# Early stopping holds out a tenth of the reference. On 315 cells held-out likelihood stopped improving before the types
# had come apart (accuracy of scVI kNN 0.894 against 0.926 with all cells and epochs, two seeds): small references go
# without.
EARLY_STOPPING_FROM = 5_000
PATIENCE = 20


class NetworkSettings(MemberSettings):
    """Settings that `ScviKnn`, `Scanvi` and `TotalviKnn` share; where they agree, the first two use one trained SCVI.

    Attributes
    ----------
    latent, hidden, layers
        Sizes of the network. Small references want one layer: two gave scANVI 0.926 where one gave 0.965 on 770 cells.
    epochs
        Passes of SCVI (TOTALVI) over the reference; by default `default_epochs`.
    surgery_epochs
        Passes over the sample of a query batch. They start at the mean of the reference's batches, where ten do: on
        three pairs and four seeds, 0, 10 and 20 to 30 differed by less than a point.
    surgery_cells_per_batch
        Cells of a query batch that surgery sees. 2,000 of 4,000 cost nothing: scVI kNN 0.887 and 0.887, scANVI 0.899 and
        0.899 on the semi-synthetic atlas (three seeds, tests/benchmarks/surgery_bench.py), 1.9 and 0.8 % of the cells got
        another type (another seed alone: 0.3 and 0.1 %), for half of the time and none the more for larger batches. 400
        gave 0.882 and 0.894, 50 gave 0.879 and 0.892; on four real pairs of 296 to 480 cells any number from 50 on agreed
        with all to within a point. It is steps that count, not cells: 200 cells seen 100 times did what 2,000 do in ten
        (two seeds: 0.880 and 0.878), and more steps than the real pairs get took 0.4 to 1.3 points from one of them (two seeds).
    surgery_min_share
        Least share of the reference's counts on genes that the query has, below which no surgery is made: it would
        learn from filled genes. At 0.40 (symphony -> pbmc3k, four seeds) ten epochs took scVI kNN from 0.911 to 0.880
        and scANVI from 0.895 to 0.887; at 0.55 (half the genes of two pairs removed) they changed nothing.
    device
        Where training runs: ``cpu``, or ``auto`` for whatever Lightning finds.
    """

    latent: int = Field(default=30, ge=2)
    hidden: int = Field(default=128, ge=2)
    layers: int = Field(default=1, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    surgery_epochs: int = Field(default=10, ge=0)
    surgery_cells_per_batch: int = Field(default=2_000, ge=1)
    surgery_min_share: float = Field(default=0.5, ge=0, le=1)
    device: Literal["cpu", "auto"] = "cpu"


def default_epochs(n_cells: int) -> int:
    """Return passes of SCVI over ``n_cells`` reference cells: a million cells in all, 10 to 200 passes.

    scvi-tools' own rule, ``min(400, 20,000 / n * 400)``, with its cap halved (770 cells, four seeds: 0.962 with 200,
    0.963 with 400) and its decay from 5,000 cells on: about 6 minutes of one CPU at 4,000 genes, whatever n.
    """
    return int(np.clip(round(1_000_000 / n_cells), 10, 200))


def default_scanvi_epochs(n_cells: int) -> int:
    """Return passes of SCANVI, which starts from SCVI: 20, down to 10 from 20,000 cells on.

    Fifty gained nothing: 0.963 against 0.961 (770 cells, four seeds), 0.947 in both (315 cells, four seeds).
    """
    return int(np.clip(round(200_000 / n_cells), 10, 20))


def early_stopping(n_cells: int) -> dict[str, Any]:
    """Return options of a training on ``n_cells`` that ends it where held-out cells gain no more, if there are enough."""
    if n_cells < EARLY_STOPPING_FROM:
        return {"train_size": 1.0}
    from lightning.pytorch.callbacks import EarlyStopping

    # Lightning's own callback: scvi-tools' prints.
    callback = EarlyStopping(monitor="reconstruction_loss_validation", patience=PATIENCE, mode="min")
    return {"train_size": 0.9, "callbacks": [callback], "check_val_every_n_epoch": 1}


# One entry: the network that the other torch member of a jury is about to ask for.
_last_scvi: dict[str, Network] = {}


def trained_scvi(cells: TrainingCells, *, settings: NetworkSettings, seed: int, threads: int) -> Network:
    """Return SCVI trained on ``cells``; asked twice in a row for the same, it trains once."""
    plan = settings.model_dump(include={"latent", "hidden", "layers", "epochs", "device"})
    digest = hashlib.sha256(json.dumps([plan, seed, threads, cells.counts.shape, cells.n_batches]).encode())
    for array in (cells.counts.indptr, cells.counts.indices, cells.counts.data, cells.batch):
        digest.update(np.ascontiguousarray(array).tobytes())
    key = digest.hexdigest()
    if key not in _last_scvi:
        network = _train_scvi(cells, settings=settings, seed=seed, threads=threads)
        _last_scvi.clear()
        _last_scvi[key] = network
    return _last_scvi[key]


def _train_scvi(cells: TrainingCells, *, settings: NetworkSettings, seed: int, threads: int) -> Network:
    n_cells, n_genes = cells.counts.shape
    shape = {"n_latent": settings.latent, "n_hidden": settings.hidden, "n_layers": settings.layers}
    epochs = settings.epochs or default_epochs(n_cells)
    with session(seed=seed, threads=threads):
        import scvi

        table = cells_table(
            cells.counts, batch=cells.batch, n_batches=cells.n_batches, label=np.full(n_cells, -1), n_terms=0
        )
        scvi.model.SCVI.setup_anndata(table, batch_key="batch")
        model = scvi.model.SCVI(table, **shape, **SURGERY_READY)
        model.train(
            max_epochs=epochs,
            accelerator=settings.device,
            batch_size=MINIBATCH,
            shuffle_set_split=False,  # the cells' order is a shuffle already, and one that does not ask for scvi's seed
            # scvi-tools ramps the KL weight over 400 epochs; fewer epochs should end at the same weight, a half.
            plan_kwargs={"n_epochs_kl_warmup": 2 * epochs},
            **early_stopping(n_cells),
            **SILENT,
        )
        network = Network("SCVI", n_genes, 0, cells.n_batches, shape, state_of(model))
        release(model)
    return network


def train_scanvi(
    cells: TrainingCells,
    start: Network,
    *,
    epochs: int,
    cells_per_label: int,
    device: str,
    seed: int,
    threads: int,
) -> Network:
    """Return SCANVI trained on ``cells`` from the weights of ``start``, an SCVI of the same cells.

    Every cell is labelled and every cell trains: a term of one cell would be lost to a validation set.
    """
    with session(seed=seed, threads=threads):
        import scvi
        import torch

        table = cells_table(
            cells.counts, batch=cells.batch, n_batches=cells.n_batches, label=cells.label, n_terms=cells.n_terms
        )
        # What SCANVI.from_scvi_model does, without the second registration of all cells that it leaves behind.
        scvi.model.SCANVI.setup_anndata(table, labels_key="label", unlabeled_category=UNKNOWN, batch_key="batch")
        model = scvi.model.SCANVI(table, **start.shape, **SURGERY_READY)
        weights = {name: torch.from_numpy(np.array(array)) for name, array in start.state.items()}
        model.module.load_state_dict(weights, strict=False)
        model.train(
            max_epochs=epochs,
            n_samples_per_label=cells_per_label,
            accelerator=device,
            batch_size=MINIBATCH,
            train_size=1.0,
            shuffle_set_split=False,
            **SILENT,
        )
        network = Network("SCANVI", start.n_genes, cells.n_terms, cells.n_batches, start.shape, state_of(model))
        release(model)
    return network


def operate(
    network: Network,
    counts: csr_matrix | NDArray[np.float32],
    *,
    epochs: int,
    device: str,
    seed: int,
    threads: int,
    proteins: Proteins | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return a new batch's column in each of `Network.first_layers`, float32 (n_hidden, 1), learned from its cells.

    Surgery of Lotfollahi 2022 (doi:10.1038/s41587-021-01001-7): all else stays frozen. The column starts at
    `Network.typical_batch`.

    Parameters
    ----------
    network
        Trained on the reference.
    counts
        Raw counts of cells of one batch, CSR or dense (n_cells, n_genes); each has some.
    epochs
        Passes over them.
    proteins
        Their surface proteins, without gaps, for TOTALVI: what the batch lacks is read, yet nothing is learned from it.

    Raises
    ------
    MemberError
        If any other weight moved.
    """
    if counts.shape[0] == 1 and proteins is not None:  # TOTALVI cannot be set up on a single cell
        twice = np.zeros(2, np.intp)
        counts, proteins = counts[twice], proteins.take(twice)
    n_cells = counts.shape[0]
    with session(seed=seed, threads=threads):
        import torch

        reference = build(network)
        one_batch = np.zeros(n_cells, np.intp)
        table = cells_table(
            counts, batch=one_batch, n_batches=1, label=np.full(n_cells, -1), n_terms=network.n_terms,
            proteins=None if proteins is None else proteins.counts,
        )  # fmt: skip
        table.obs["batch"] = table.obs["batch"].cat.rename_categories(["query"])  # the reference's are all digits
        model = type(reference).load_query_data(
            table, reference_model=reference, accelerator=device, freeze_dropout=True
        )
        weights = dict(model.module.named_parameters())
        with torch.no_grad():
            for name, column in network.typical_batch().items():
                weights[name][:, -1:] = torch.from_numpy(column)
                if not network.batch_columns(name):
                    weights[name][:, -2] = 0.0  # the column that scvi-tools drew for the reference's only batch
        if proteins is not None:
            model.module.protein_batch_mask = {str(network.n_batches): proteins.present}
        before = state_of(model)
        if epochs:
            model.train(
                max_epochs=epochs,
                accelerator=device,
                batch_size=MINIBATCH,
                train_size=1.0,
                shuffle_set_split=False,
                plan_kwargs={"weight_decay": 0.0},
                **(TOTALVI_SURGERY if network.kind == "TOTALVI" else {}),
                **SILENT,
            )
        after = state_of(model)
        release(reference, model)
    columns = {name: after[name][:, -1:] for name in network.first_layers()}
    for name, weight in after.items():
        kept = slice(None, -1) if name in columns else slice(None)
        if not np.array_equal(weight[..., kept], before[name][..., kept]):
            message = (
                f"surgery moved {name!r}, which belongs to the reference: the installed scvi-tools freezes other"
                " weights than celljury knows of. Install one of the versions that celljury[scvi] names."
            )
            raise MemberError(message)
    return columns
