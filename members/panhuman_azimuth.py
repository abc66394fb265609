"""Pan-human Azimuth: the network of panhumanpy, trained elsewhere on cells of the whole body, with its own labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from celljury.errors import ConfigError, MemberUnavailableError
from celljury.members.about import About
from celljury.members.remote import RemoteMember, RemoteSettings

if TYPE_CHECKING:
    from celljury.members.base import MemberSettings, Reference

logger = logging.getLogger(__name__)

# Where panhumanpy 1.0.0 fetches its networks at first use, and where it then keeps them.
RECORD = "https://zenodo.org/records/20401417"
FILE = "panhumanpy_inference_model_v1.keras"
KEPT = "~/.cache/panhumanpy/v1/inference_model/inference_model.keras"
LEAST_SHARE = 0.2  # of the network's genes, below which panhumanpy warns


class PanhumanAzimuthSettings(RemoteSettings):
    """Settings of `PanhumanAzimuth`.

    Attributes
    ----------
    weights
        The network's file: ``panhumanpy_inference_model_v1.keras`` (or ``_v0``) of https://zenodo.org/records/20401417, or
        what panhumanpy made of it at its first use, ``~/.cache/panhumanpy/v1/inference_model/inference_model.keras``.
        Celljury does not fetch it.
    """

    weights: str | None = None


class PanhumanAzimuth(RemoteMember):
    """panhumanpy's pretrained network, taken over by the jury as it is.

    Nothing is trained on the reference; how its labels read beside the reference's is learned on held-out donors. It votes
    with the calibrated probabilities of the network's deepest level (382 classes), which panhumanpy's own table maps to
    Cell Ontology terms: exact matches, and labels that are narrower than their term. Where a label has no such term it
    counts for the nearest label above it; a cell that is likelier a doublet, or unassigned, than of any type abstains.
    Terms that the reference lacks stand behind its own. Its vote is panhumanpy's own label wherever the labels of all eight
    levels lie on one path (in each of 410 of 430 cells, with a made network); elsewhere panhumanpy joins parts of several.

    The network takes 5,055 genes and gets those that are the jury's (``genes.n_variable``), as log1p of counts per 10,000
    of the jury's genes. Genes that the query alone lacks are at the reference's mean; all others are zero, as
    panhumanpy has it.

    A Keras file can name code that runs when it is loaded. The network is built from plain Keras layers in safe mode, any
    other file is refused, so there is nothing to trust.
    """

    name: ClassVar[str] = "panhuman_azimuth"
    environment: ClassVar[str] = "panhuman"
    worker: ClassVar[str] = "panhuman_worker"
    distribution: ClassVar[str] = "panhumanpy"
    classifier: ClassVar[bool] = True
    about: ClassVar[About] = About(
        what=(
            "A neural network trained on annotated cells of the whole human body, with a hierarchy of 382 labels; it is used"
            " as it is, whatever the reference."
        ),
        needs=f"The network's file ([settings.panhuman_azimuth] weights), {FILE} of {RECORD}.",
        score=(
            "The network's probability of a label, calibrated by its authors and again on held-out donors. It is spread over"
            " its own labels only: a cell of none of them still gets the likeliest."
        ),
        right="A second opinion that shares nothing with the reference, for human cells of any organ.",
        fails=(
            "It sees only those of its genes that the jury selected, the others as not expressed. Its labels are often finer or"
            " coarser than the reference's, and their terms are the choice of panhumanpy's table."
        ),
        licence="MIT",
        cite=("Azimuth: Hao 2021, doi:10.1016/j.cell.2021.04.048",),
    )
    Settings: ClassVar[type[MemberSettings]] = PanhumanAzimuthSettings

    def __init__(self, *, seed: int = 0, threads: int = 1, **settings: Any) -> None:
        super().__init__(seed=seed, threads=threads, **settings)
        if self.settings.weights is None:
            raise ConfigError(self._without_weights("it is not set"))

    def _fit(self, reference: Reference) -> None:
        if not Path(self.settings.weights).is_file():
            raise MemberUnavailableError(self._without_weights(f"{self.settings.weights} is not a file"))
        super()._fit(reference)
        assert self._fitted is not None
        found = self._fitted.entries
        self.terms = tuple(found["terms"])
        if found["n_known"] < LEAST_SHARE * found["n_panel"]:
            logger.warning(
                "panhuman_azimuth: the jury has %d of the network's %d genes; the others are zero to it. More genes:"
                " genes.n_variable", found["n_known"], found["n_panel"],
            )  # fmt: skip

    def _without_weights(self, got: str) -> str:
        return (
            f"member {self.name!r} needs the network's file ([settings.{self.name}] weights): {got}. Expected {FILE},"
            f" which celljury does not fetch: get it from {RECORD}, or take the copy that panhumanpy keeps after its first"
            f" use, {KEPT}."
        )
