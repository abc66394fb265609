"""scGPT: a cell as its expressed genes, each with the bin of its value, read by a transformer.

Cui 2024, doi:10.1038/s41592-024-02201-0. Written from the published layout of its checkpoints (``vocab.json``,
``args.json``, ``best_model.pt``), in plain torch: neither torchtext nor flash-attn, which the package pins, is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from celljury.errors import ConfigError, GenesError, UnreadableFileError
from celljury.members.sequences import Sequences, descending, laid_out

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

CLS, PAD = "<cls>", "<pad>"
BESIDE: Final = -2.0  # value of `<cls>` and of padding while the checkpoints were pretrained
TOP_VALUE: Final = 512.0
SHAPE: Final = {"embsize": 512, "nheads": 8, "d_hid": 512, "nlayers": 12, "n_bins": 51, "max_seq_len": 1200}
ONLY: Final = {"input_emb_style": "continuous", "input_style": "binned", "pre_norm": False}  # what is built here
LORA_INTO: Final = ("in_proj", "out_proj", "linear1", "linear2")  # of every layer
CHUNK: Final = 64  # cells binned at a time: 1,200 genes against 50 edges each are 30 MB


@dataclass(frozen=True, slots=True)
class Tokens:
    """What each of the reference's genes is to the model.

    Attributes
    ----------
    token
        int64 (n_genes,), -1 = not in the vocabulary.
    first, padding
        ``<cls>`` and ``<pad>``.
    n_bins
        Bins of values, the one of 0 included.
    most
        Tokens a cell may have, ``<cls>`` included. The package draws genes at random beyond it; here the highest stay.
    """

    token: NDArray[np.int64]
    first: int
    padding: int
    n_bins: int
    most: int

    @classmethod
    def read(cls, genes: tuple[str, ...], settings: Any, *, shape: dict[str, Any]) -> Tokens:
        """Look the reference's genes (symbols) up in ``vocab.json`` of the settings' checkpoint.

        Raises
        ------
        GenesError
            If none is there.
        """
        path = Path(settings.checkpoint) / "vocab.json"
        vocabulary = _read_json(path)
        token = np.array([int(vocabulary.get(gene, -1)) for gene in genes], np.int64)
        if (token < 0).all() or CLS not in vocabulary or PAD not in vocabulary:
            message = (
                f"{path} has none of the reference's {len(genes):,} genes ({', '.join(genes[:3])}, ...), or lacks {CLS} or"
                f" {PAD}. Expected scGPT's vocabulary, which names genes by symbol (e.g. {', '.join(list(vocabulary)[:3])})."
            )
            raise GenesError(message)
        return cls(token, int(vocabulary[CLS]), int(vocabulary[PAD]), int(shape["n_bins"]), int(shape["max_seq_len"]))

    @property
    def pooled_by(self) -> str:
        """``<cls>``, as in the package."""
        return "first"

    def sequences(self, expression: csr_matrix) -> Sequences:
        """Return tokens and bins of cells with log1p counts per 10,000, CSR (n_cells, n_genes)."""
        row, column, value = descending(expression, self.token)
        bins = value_bins(row, value, n_cells=expression.shape[0], n_bins=self.n_bins)
        return laid_out(
            row, self.token[column], n_cells=expression.shape[0], most=self.most, first=self.first, last=None,
            padding=self.padding, values=bins, value_beside=BESIDE,
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything there is to save."""
        return {"token": self.token, "facts": np.array([self.first, self.padding, self.n_bins, self.most], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Tokens:
        """Read back what `arrays` gave."""
        return cls(arrays["token"], *(int(value) for value in arrays["facts"]))


def value_bins(row: NDArray[np.intp], value: NDArray[np.float64], *, n_cells: int, n_bins: int) -> NDArray[np.float32]:
    """Return the bin of each value among its cell's own, 1 to ``n_bins`` - 1, float32.

    Edges are the quantiles 0, ..., 1 of the cell's non-zero values in ``n_bins`` - 1 steps, with linear interpolation; a
    value's bin is the number of edges at or below it. Older versions of scGPT draw at random among the bins that equal
    edges leave open, newer ones take the upper, as here.

    Parameters
    ----------
    row, value
        Of each expressed gene; rows ascending, values descending within a row.
    """
    size = np.bincount(row, minlength=n_cells)
    start = np.cumsum(size) - size
    share = np.linspace(0.0, 1.0, n_bins - 1)
    found = np.zeros(row.size, np.float32)
    for first in range(0, n_cells, CHUNK):
        cells = np.arange(first, min(first + CHUNK, n_cells))
        cells = cells[size[cells] > 0]
        if not cells.size:
            continue
        top = (size[cells] - 1)[:, np.newaxis]
        place = share * top  # from the lowest value, which stands last
        low = np.floor(place).astype(np.int64)
        smallest = start[cells][:, np.newaxis] + top
        below, above = value[smallest - low], value[smallest - np.minimum(low + 1, top)]
        edges = below + (place - low) * (above - below)
        rows = slice(int(start[cells[0]]), int(start[cells[-1]] + size[cells[-1]]))
        own = np.searchsorted(cells, row[rows])
        # An interpolated edge may be off a value by a rounding error.
        found[rows] = (edges[own] <= value[rows, np.newaxis] * (1 + 1e-12)).sum(axis=1)
    return found


def read_shape(folder: Path) -> dict[str, Any]:
    """Return the shape in ``args.json``, with scGPT's own values where it says nothing.

    Raises
    ------
    ConfigError
        If the checkpoint is of a kind that is not built here.
    """
    told = _read_json(folder / "args.json")
    for name, only in ONLY.items():
        if told.get(name, only) != only:
            message = (
                f"{folder / 'args.json'} says {name} = {told[name]!r}. Expected {only!r}, as in the published models."
            )
            raise ConfigError(message)
    return {name: int(told.get(name, value)) for name, value in SHAPE.items()}


def read_weights(folder: Path) -> dict[str, Any]:
    """Return the pretrained tensors by the names of `empty_network`; only tensors are read from the file.

    Raises
    ------
    UnreadableFileError
        If the file is missing or holds more than tensors.
    """
    import torch

    path = folder / "best_model.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {_own_name(name): tensor for name, tensor in state.items()}
    except Exception as error:  # torch and pickle raise what they like for a damaged or foreign file
        message = f"{path} cannot be read as a checkpoint of scGPT: {str(error).splitlines()[0]}"
        raise UnreadableFileError(message) from error


def _own_name(name: str) -> str:
    """Return the name here of a weight: attention's are called ``Wqkv`` with flash-attn and ``in_proj_`` with torch."""
    for theirs in ("self_attn.Wqkv.", "self_attn.in_proj_"):
        name = name.replace(theirs, "in_proj.")
    return name.replace("self_attn.out_proj.", "out_proj.").replace("transformer_encoder.layers.", "layers.")


def empty_network(shape: dict[str, Any]) -> Any:
    """Return a network of that shape, its weights to be filled; ``n_tokens`` beside those of `SHAPE`.

    Layers are `torch.nn.TransformerEncoderLayer`, norm last, taken apart: its attention and its fast path read weights
    past the modules that adapters replace.
    """
    from torch import nn
    from torch.nn.functional import scaled_dot_product_attention

    width, heads = shape["embsize"], shape["nheads"]

    class Genes(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(shape["n_tokens"], width)
            self.enc_norm = nn.LayerNorm(width)

        def forward(self, tokens: Any) -> Any:
            return self.enc_norm(self.embedding(tokens))

    class Values(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear1 = nn.Linear(1, width)
            self.linear2 = nn.Linear(width, width)
            self.norm = nn.LayerNorm(width)

        def forward(self, values: Any) -> Any:
            return self.norm(self.linear2(self.linear1(values.unsqueeze(-1).clamp(max=TOP_VALUE)).relu()))

    class Layer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.in_proj = nn.Linear(width, 3 * width)
            self.out_proj = nn.Linear(width, width)
            self.linear1 = nn.Linear(width, shape["d_hid"])
            self.linear2 = nn.Linear(shape["d_hid"], width)
            self.norm1 = nn.LayerNorm(width)
            self.norm2 = nn.LayerNorm(width)

        def forward(self, states: Any, seen: Any) -> Any:
            split = self.in_proj(states).unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
            read = scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=seen[:, None, None, :])
            states = self.norm1(states + self.out_proj(read.transpose(1, 2).flatten(2)))
            return self.norm2(states + self.linear2(self.linear1(states).relu()))

    class Network(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Genes()
            self.value_encoder = Values()
            self.layers = nn.ModuleList([Layer() for _ in range(shape["nlayers"])])

        def forward(self, tokens: Any, values: Any, seen: Any) -> Any:
            states = self.encoder(tokens) + self.value_encoder(values)
            for layer in self.layers:
                states = layer(states, seen)
            return states

    return Network()


def states(network: Any, tokens: Any, values: Any, seen: Any) -> Any:
    """Return the last layer's states, (n_cells, length, width)."""
    return network(tokens, values, seen)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return {**json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read: {error}. Expected a checkpoint folder of scGPT."
        raise UnreadableFileError(message) from error
