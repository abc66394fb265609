"""Geneformer: a cell as its genes ranked by how far they stand above their median, read by a BERT.

Theodoris 2023, doi:10.1038/s41586-023-06139-9. What a cell becomes: each gene's counts per 10,000 over the gene's non-zero
median in the pretraining corpus, in descending order, as tokens. V1 takes 2,048 of them and no others; V2 takes 4,096 with
``<cls>`` before and ``<eos>`` behind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.sparse import csr_matrix, diags

from celljury.errors import ConfigError, GenesError, UnreadableFileError
from celljury.members.restricted_pickle import read_dictionary
from celljury.members.sequences import Sequences, descending, laid_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST: Final = {"V1": 2048, "V2": 4096}
CLS, EOS, PAD = "<cls>", "<eos>", "<pad>"
LORA_INTO: Final = ("query", "value", "dense")  # of every layer: attention and what follows it
# What of ``config.json`` shapes the network; the rest of it is about its training.
SHAPE: Final = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size",
    "layer_norm_eps", "pad_token_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tokens:
    """What each of the reference's genes is to the model.

    Attributes
    ----------
    token
        int64 (n_genes,), -1 = not in both dictionaries.
    median
        Non-zero median in the pretraining corpus, float64 (n_genes,); 1 where there is no token.
    first, last
        ``<cls>`` and ``<eos>``; None in V1.
    padding
        Token of places behind.
    most
        Tokens a cell may have, special ones included.
    """

    token: NDArray[np.int64]
    median: NDArray[np.float64]
    first: int | None
    last: int | None
    padding: int
    most: int

    @classmethod
    def read(cls, genes: tuple[str, ...], settings: Any, *, shape: dict[str, Any]) -> Tokens:
        """Look the reference's genes up in the published dictionaries.

        Parameters
        ----------
        genes
            Their names: Ensembl ids (with or without a version), or symbols with ``gene_ids``.
        settings
            ``tokens``, ``medians``, ``gene_ids`` and ``version`` of the member.
        shape
            What `read_shape` gave: the checkpoint's places and tokens.

        Raises
        ------
        GenesError
            If none of the genes is in both dictionaries. Of genes with one id the first is read.
        ConfigError
            If the dictionaries are not those of the version or of the checkpoint.
        """
        token = read_dictionary(Path(settings.tokens), what="Geneformer's token dictionary")
        median = read_dictionary(Path(settings.medians), what="Geneformer's gene median dictionary")
        ids: dict[str, Any] = {}
        if settings.gene_ids is not None:
            ids = read_dictionary(Path(settings.gene_ids), what="a map from symbols to Ensembl ids")
        names = [gene if gene in token else str(ids.get(gene, gene.partition(".")[0])) for gene in genes]
        known = np.array([name in token and name in median for name in names], np.bool_)
        if not known.any():
            message = (
                f"none of the reference's {len(genes):,} genes ({', '.join(genes[:3])}, ...) is in {settings.tokens} and"
                f" {settings.medians}, which name genes like {', '.join(list(median)[:3])}. Give a map from your names to"
                " theirs as gene_ids (Geneformer's own is gene_name_id_dict.pkl)."
            )
            raise GenesError(message)
        version = settings.version if settings.version != "auto" else ("V2" if {CLS, EOS} <= token.keys() else "V1")
        if version == "V2" and not {CLS, EOS} <= token.keys():
            message = (
                f"version = V2 needs {CLS} and {EOS} in {settings.tokens}, which lacks them. Take V2's dictionary."
            )
            raise ConfigError(message)
        _check_values(token, median, settings, n_tokens=int(shape["vocab_size"]))
        known[np.setdiff1d(np.arange(len(names)), np.unique(names, return_index=True)[1])] = False  # two of one id
        return cls(
            np.array([int(token[name]) if there else -1 for name, there in zip(names, known, strict=True)], np.int64),
            np.array([float(median[name]) if there else 1.0 for name, there in zip(names, known, strict=True)]),
            int(token[CLS]) if version == "V2" else None,
            int(token[EOS]) if version == "V2" else None,
            int(token.get(PAD, 0)),
            min(MOST[version], int(shape["max_position_embeddings"])),
        )

    @property
    def pooled_by(self) -> str:
        """``first`` where a special token leads, else ``mean``: V1's first token is a cell's top-ranked gene.

        The published classifier pools that one. On a checkpoint of random weights all other genes then moved the logits
        300 times less than it, which makes a vote of a look-up of one gene.
        """
        return "mean" if self.first is None else "first"

    def sequences(self, counts: csr_matrix) -> Sequences:
        """Return ranked tokens of cells with raw ``counts``, CSR (n_cells, n_genes).

        Counts per 10,000 and the share of the measured genes are one factor for all genes of a cell: they change no
        rank, so the counts are divided by the medians as they are.
        """
        ranked = csr_matrix(counts.astype(np.float64) @ diags(1.0 / self.median))
        row, column, _ = descending(ranked, self.token)
        return laid_out(
            row, self.token[column], n_cells=counts.shape[0], most=self.most, first=self.first, last=self.last,
            padding=self.padding,
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything there is to save."""
        special = [-1 if one is None else one for one in (self.first, self.last)]
        facts = np.array([*special, self.padding, self.most], np.int64)
        return {"token": self.token, "median": self.median, "facts": facts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Tokens:
        """Read back what `arrays` gave."""
        first, last, padding, most = (int(value) for value in arrays["facts"])
        return cls(
            arrays["token"], arrays["median"], None if first < 0 else first, None if last < 0 else last, padding, most
        )


def _check_values(token: dict[str, Any], median: dict[str, Any], settings: Any, *, n_tokens: int) -> None:
    """Raise ConfigError where the dictionaries are swapped or of another version than the checkpoint."""
    numbers = all(isinstance(one, int | np.integer) for one in token.values())
    if not numbers or not all(isinstance(one, float | int | np.number) and one > 0 for one in median.values()):
        message = (
            f"expected whole numbers in {settings.tokens} (setting tokens) and medians above 0 in {settings.medians}"
            " (setting medians), got others. Are the two swapped?"
        )
        raise ConfigError(message)
    if (highest := max(token.values())) >= n_tokens:
        message = (
            f"{settings.tokens} goes up to token {highest:,} and the checkpoint knows {n_tokens:,}. Take the dictionaries"
            " of the same version as the checkpoint."
        )
        raise ConfigError(message)


def read_shape(folder: Path) -> dict[str, Any]:
    """Return the shape in ``config.json`` of a checkpoint; raises UnreadableFileError where it is none of a BERT."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if (kind := config.get("model_type", "bert")) != "bert":
            message = f"{path} is of a {kind!r} model. Expected a BERT, as Geneformer is."
            raise UnreadableFileError(message)
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, UnreadableFileError):
            raise
        message = f"{path} cannot be read: {error}. Expected a checkpoint folder of Geneformer."
        raise UnreadableFileError(message) from error
    from transformers import BertConfig

    complete = BertConfig(**{name: config[name] for name in SHAPE if name in config})
    return {name: getattr(complete, name) for name in SHAPE}


def read_weights(folder: Path) -> dict[str, Any]:
    """Return the pretrained tensors of BERT's own names; only tensors are read from the file.

    Raises
    ------
    UnreadableFileError
        If there is no such file, or it holds more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if (folder / "model.safetensors").exists():
            state = load_file(folder / "model.safetensors")
        else:
            state = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        return {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    except Exception as error:  # torch, pickle and safetensors raise what they like for a damaged or foreign file
        message = (
            f"{folder} cannot be read as a checkpoint: {str(error).splitlines()[0]} Expected model.safetensors, or"
            " pytorch_model.bin of tensors alone."
        )
        raise UnreadableFileError(message) from error


def empty_network(shape: dict[str, Any]) -> Any:
    """Return a BERT of that shape, its weights to be filled. Without its pooler, which masked training has not taught."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**shape, attn_implementation="sdpa"), add_pooling_layer=False)


def states(network: Any, tokens: Any, values: Any, seen: Any) -> Any:
    """Return the last layer's states, (n_cells, length, width)."""
    return network(input_ids=tokens, attention_mask=seen.long()).last_hidden_state
