"""A fine-tuned transformer and its classifier of cells as plain arrays, rebuilt from them without pickles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from celljury.errors import UnreadableFileError
from celljury.members import geneformer, scgpt
from celljury.members.arrays import load_arrays, save_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

    from celljury.members.sequences import Sequences

Architecture = Literal["geneformer", "scgpt"]
PARTS: Final[dict[str, ModuleType]] = {"geneformer": geneformer, "scgpt": scgpt}
PASS_TOKENS: Final = 16_384  # of cells that vote in one pass, padding included: 200 MB of 768 wide states in a layer


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A transformer with a linear classifier on its pooled states.

    Attributes
    ----------
    architecture
        Which of `PARTS` builds it.
    shape
        Its sizes.
    tokens
        What the reference's genes are to it.
    state
        Its weights, adapters merged, by the name of their parameter; float32.
    center, scale
        Mean and standard deviation of the reference's pooled states before fine-tuning, float32 (width,). Cells' states
        have most in common; the classifier reads how they differ.
    weight, bias
        The classifier's, float32 (n_terms, width) and (n_terms,).
    """

    architecture: Architecture
    shape: dict[str, Any]
    tokens: Any
    state: Mapping[str, NDArray[np.float32]]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def build(self, *, device: str) -> Any:
        """Return the network as torch's module, ready to vote."""
        import torch

        network = PARTS[self.architecture].empty_network(self.shape)
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.state.items()})
        return network.eval().to(device)

    def logits(self, network: Any, cells: Sequences) -> NDArray[np.float64]:
        """Return logits of cells, each with a gene, float64 (n_cells, n_terms); ``network`` is what `build` gave."""
        pooled = pooled_states(self.architecture, network, cells, by=self.tokens.pooled_by)
        apart = (pooled - self.center) / self.scale
        return np.asarray(apart.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias, np.float64)

    def save(self, folder: Path) -> None:
        """Write it into ``folder``."""
        names = list(self.state)
        plan = {"architecture": self.architecture, "shape": self.shape, "state": names}
        (folder / "network.json").write_text(json.dumps(plan, indent=1), encoding="utf-8")
        save_arrays(folder / "network.npz", **{f"w{i}": self.state[name] for i, name in enumerate(names)})
        save_arrays(folder / "classifier.npz", center=self.center, scale=self.scale, weight=self.weight, bias=self.bias)
        save_arrays(folder / "tokens.npz", **self.tokens.arrays())

    @classmethod
    def load(cls, folder: Path) -> FineTuned:
        """Read what `save` wrote."""
        plan = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        arrays, classifier = load_arrays(folder / "network.npz"), load_arrays(folder / "classifier.npz")
        state = {name: arrays[f"w{i}"].astype(np.float32) for i, name in enumerate(plan["state"])}
        tokens = PARTS[plan["architecture"]].Tokens.from_arrays(load_arrays(folder / "tokens.npz"))
        parts = {name: classifier[name].astype(np.float32) for name in ("center", "scale", "weight", "bias")}
        return cls(plan["architecture"], plan["shape"], tokens, state, **parts)


def pretrained(architecture: Architecture, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the network of a checkpoint folder and its shape; nothing is fetched and no code of the file runs.

    Raises
    ------
    UnreadableFileError
        If a weight is missing or of another size: a network filled with chance would train and vote all the same.
    """
    parts = PARTS[architecture]
    shape = parts.read_shape(folder)
    state = parts.read_weights(folder)
    if "encoder.embedding.weight" in state:
        shape["n_tokens"] = int(state["encoder.embedding.weight"].shape[0])  # scGPT's settings do not tell
    network = parts.empty_network(shape)
    wanted = network.state_dict()
    for name, weight in wanted.items():
        got = tuple(state[name].shape) if name in state else "none"
        if got != tuple(weight.shape):
            message = (
                f"the weights in {folder} do not fit its settings: {name} should be {tuple(weight.shape)}, got {got}."
                f" Expected a whole checkpoint of {architecture}."
            )
            raise UnreadableFileError(message)
    network.load_state_dict({name: state[name].float() for name in wanted})
    return network, shape


def pooled_states(architecture: Architecture, network: Any, cells: Sequences, *, by: str) -> NDArray[np.float32]:
    """Return pooled states of cells, float32 (n_cells, width); cells of like length go through together."""
    import torch

    order = np.argsort(cells.length, kind="stable")
    with torch.inference_mode():
        found = [
            pooled(architecture, network, cells.take(order[rows]), by=by).cpu().numpy()
            for rows in _passes(cells.length[order])
        ]
    return np.asarray(np.concatenate(found)[np.argsort(order, kind="stable")], np.float32)


def _passes(length: NDArray[np.int64]) -> Iterator[slice]:
    """Cut cells, shortest first, so that a pass has no more than `PASS_TOKENS` tokens unless it is of one cell."""
    start = 0
    while start < length.size:
        n_cells = np.arange(1, length.size - start + 1)
        fit = int(np.count_nonzero(n_cells * length[start:] <= PASS_TOKENS))
        stop = start + max(1, fit)
        yield slice(start, stop)
        start = stop


def pooled(architecture: Architecture, network: Any, cells: Sequences, *, by: str) -> Any:
    """Return one state a cell as torch's tensor (n_cells, width): that of its first token, or the mean of all."""
    import torch

    device = next(network.parameters()).device
    seen, tokens, values = (torch.from_numpy(one).to(device) for one in (cells.seen, cells.tokens, cells.values))
    states = PARTS[architecture].states(network, tokens, values, seen)
    if by == "first":
        return states[:, 0]
    weight = seen.unsqueeze(-1).float()
    return (states * weight).sum(dim=1) / weight.sum(dim=1)
