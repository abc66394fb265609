"""Geneformer or scGPT, fine-tuned on the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from celljury.errors import ConfigError
from celljury.members.about import About
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.finetuned import PARTS, FineTuned
from celljury.members.finetuning import fine_tune, torch_from
from celljury.members.subsample import cap_per_term

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FILES = {"geneformer": ("config.json",), "scgpt": ("vocab.json", "args.json", "best_model.pt")}


class FoundationSettings(MemberSettings):
    """Settings of `Foundation`.

    Attributes
    ----------
    checkpoint
        Folder of the pretrained model. Geneformer: ``config.json`` with ``model.safetensors`` or ``pytorch_model.bin``
        (huggingface.co/ctheodoris/Geneformer). scGPT: ``vocab.json``, ``args.json``, ``best_model.pt``
        (github.com/bowang-lab/scGPT). Nothing in it can run code.
    architecture
        ``auto`` looks at the folder's files.
    tokens, medians
        Geneformer's token and gene median dictionaries, JSON or the published ``.pkl``, of the checkpoint's version.
    gene_ids
        Map from gene symbol to Ensembl id, JSON or Geneformer's ``gene_name_id_dict.pkl``: for references whose genes
        are symbols.
    version
        ``V2`` puts ``<cls>`` and ``<eos>`` around the genes; ``auto``: where the token dictionary has both.
    epochs, learning_rate, batch_size
        Of fine-tuning. Published weights were not to be had where this was written, so these are not measured: ten
        passes are what both papers' examples make, the rate is one usual for adapters (the papers' 5e-5 and 1e-4 are for
        all weights).
    lora_rank, lora_alpha
        Rank of the adapters, and their weight times the rank.
    cells_per_term, max_cells
        Caps on the reference cells learned from.
    device
        ``auto``: a graphics card where there is one. On one CPU thread a cell of 300 tokens took networks of the
        published sizes 0.16 s a pass and 0.04 s a vote (Geneformer of 10 million weights), 1.8 and 0.7 s (of 104 million);
        of 1,000 tokens, the small one 1.0 and 0.18 s.
    """

    checkpoint: str | None = None
    architecture: Literal["auto", "geneformer", "scgpt"] = "auto"
    tokens: str | None = None
    medians: str | None = None
    gene_ids: str | None = None
    version: Literal["auto", "V1", "V2"] = "auto"
    epochs: int = 10
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=16, ge=1)
    lora_rank: int = Field(default=8, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    cells_per_term: int = Field(default=100, ge=1)
    max_cells: int = Field(default=2_000, ge=1)
    device: Literal["cpu", "auto"] = "cpu"

    @field_validator("epochs")
    @classmethod
    def _trained(cls, epochs: int) -> int:
        if epochs < 1:
            message = (
                "a foundation model votes after fine-tuning only, so epochs must be 1 or more. Used zero-shot, Geneformer"
                " and scGPT stood behind scVI, Harmony and plain principal components (Kedzierska 2025,"
                " doi:10.1186/s13059-025-03574-x)"
            )
            raise ValueError(message)
        return epochs


class Foundation(Member):
    """A transformer pretrained on tens of millions of cells, fine-tuned on the reference by low-rank adapters.

    A cell's vote is a softmax over the linear classifier that was trained with the adapters. Geneformer reads the ranks
    of a cell's genes, scGPT the bins of their values; both see the jury's genes only (``genes.n_variable``). A gene that
    the query lacks has no token, like one that is not expressed; so that this does not pass for a type, each training
    step goes without a random part of the genes. A cell with no gene that the model knows abstains.

    The classifier of transformers pools the first token through a layer that no checkpoint has. Here the classifier
    stands on the states themselves, pooled as `geneformer.Tokens.pooled_by` says.
    """

    name: ClassVar[str] = "foundation"
    kind: ClassVar[Literal["light", "torch", "remote"]] = "torch"
    modules: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft")
    distribution: ClassVar[str] = "transformers"
    extra: ClassVar[str] = "foundation"
    classifier: ClassVar[bool] = True
    heavy: ClassVar[bool] = True
    about: ClassVar[About] = About(
        what=(
            "Geneformer or scGPT, transformers pretrained on tens of millions of cells, fine-tuned on the reference by"
            " low-rank adapters."
        ),
        needs="A checkpoint folder of yours; for Geneformer also its token and gene median dictionaries.",
        score=(
            "A softmax over the reference's types: fine-tuned networks are too sure, and a cell of no known type gets a"
            " high one all the same."
        ),
        right="A reference with few cells a type and human tissue like that of the pretraining; a graphics card or time.",
        fails=(
            "Another species, or genes that the model has no token for. Without fine-tuning (refused here) it stood behind"
            " scVI, Harmony and plain principal components (Kedzierska 2025, doi:10.1186/s13059-025-03574-x)."
        ),
        licence="Apache-2.0 (transformers, peft, Geneformer); MIT (scGPT)",
        cite=(
            "Geneformer: Theodoris 2023, doi:10.1038/s41586-023-06139-9",
            "scGPT: Cui 2024, doi:10.1038/s41592-024-02201-0",
            "LoRA: Hu 2022, arXiv:2106.09685",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = FoundationSettings

    tuned: FineTuned

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        super().__init__(seed=seed, threads=threads, **settings)
        if self.settings.checkpoint is None:
            message = (
                "[settings.foundation] checkpoint: expected the folder of a pretrained model, got none. Geneformer:"
                " config.json and model.safetensors or pytorch_model.bin, with the settings tokens and medians naming its"
                " dictionaries (huggingface.co/ctheodoris/Geneformer). scGPT: vocab.json, args.json and best_model.pt"
                " (github.com/bowang-lab/scGPT). celljury downloads neither."
            )
            raise ConfigError(message)
        if self.settings.architecture == "auto":
            self.settings = self.settings.model_copy(update={"architecture": self._found()})
        if self.settings.architecture == "geneformer" and None in (self.settings.tokens, self.settings.medians):
            message = (
                "[settings.foundation] tokens, medians: Geneformer needs both its token dictionary and its gene median"
                " dictionary (JSON, or the published .pkl), of the same version as the checkpoint. They are in"
                " huggingface.co/ctheodoris/Geneformer, folder geneformer."
            )
            raise ConfigError(message)

    def _found(self) -> str:
        """Return the architecture of the checkpoint folder's files."""
        folder = Path(self.settings.checkpoint)
        for architecture, files in FILES.items():
            if all((folder / file).is_file() for file in files):
                return architecture
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        message = (
            f"[settings.foundation] checkpoint: {folder} is neither Geneformer's (config.json) nor scGPT's"
            f" ({', '.join(FILES['scgpt'])}). It has: {', '.join(there[:10]) or 'nothing'}."
        )
        raise ConfigError(message)

    def _fit(self, reference: Reference) -> None:
        settings, folder = self.settings, Path(self.settings.checkpoint)
        with torch_from(self.seed, threads=self.threads):
            parts = PARTS[settings.architecture]
            tokens = parts.Tokens.read(reference.cells.genes, settings, shape=parts.read_shape(folder))
            expression = self._read(reference.cells)
            known = np.flatnonzero(tokens.sequences(expression).genes)
            chosen = cap_per_term(
                reference.label[known], per_term=settings.cells_per_term, total=settings.max_cells, seed=self.seed
            )
            rows = known[chosen]
            self.tuned = fine_tune(
                settings.architecture, folder, expression[rows], reference.label[rows], n_terms=len(self.terms),
                tokens=tokens, settings=settings, seed=self.seed, device=self._device(),
            )  # fmt: skip
            self.network = self.tuned.build(device=self._device())

    def _device(self) -> str:
        import torch

        return "cuda" if self.settings.device == "auto" and torch.cuda.is_available() else "cpu"

    def _read(self, block: Block) -> csr_matrix:
        """Return what the model's tokens are made of: counts for Geneformer, log1p counts per 10,000 for scGPT."""
        return block.counts if self.settings.architecture == "geneformer" else self.normalized(block)

    def _predict(self, block: Block) -> MemberVotes:
        from scipy.special import softmax

        cells = self.tuned.tokens.sequences(self._read(block))
        known = np.flatnonzero(cells.genes)
        mass = np.zeros((block.n_cells, len(self.terms)), np.float32)
        if known.size:
            with torch_from(self.seed, threads=self.threads):
                mass[known] = softmax(self.tuned.logits(self.network, cells.take(known)), axis=1)
        return MemberVotes(mass, np.full(block.n_cells, np.nan, np.float32))

    def _save(self, folder: Path) -> None:
        self.tuned.save(folder)

    def _load(self, folder: Path) -> None:
        self.tuned = FineTuned.load(folder)
        with torch_from(self.seed, threads=self.threads):
            self.network = self.tuned.build(device=self._device())
