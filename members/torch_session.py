"""A quiet, seeded stretch of work with torch that leaves the process as it was."""

from __future__ import annotations

import logging
import random
import warnings
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def session(*, seed: int, threads: int) -> Iterator[None]:
    """Work with torch quietly, on ``threads`` threads and from ``seed``; leave the caller's state as it was.

    Seeds by hand: ``scvi.settings.seed`` also prints, and grows an environment variable at every call.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        import torch

        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        stack.callback(np.random.set_state, np.random.get_state())  # scANVI draws its labelled cells from numpy's own
        stack.callback(random.setstate, random.getstate())
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield


# What scvi-tools and Lightning say of trainings that are as they should be here: frozen layers are in eval mode, small
# queries and rare types have few cells, missing genes are filled with fractions of a count, proteins come with the genes
# and may miss from a batch. The second is Lightning's own use of a part of torch that changed.
EXPECTED_WARNINGS = (
    r"Found .* module\(s\) in eval mode at the start of training",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"Category .* has fewer than 3 cells",
    r"Last batch will have a small size",
    r".*does not contain unnormalized count data",
    r"We recommend using setup_mudata for multi-modal data",
    r"Some proteins have all 0 counts in some batches",
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what scvi-tools and Lightning say of every training, and only that."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        with suppress(ImportError):  # a member that needs torch alone
            import scvi  # noqa: F401 - its import sets the level of its logger

        for name in ("scvi", "lightning.pytorch", "lightning.fabric"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield
