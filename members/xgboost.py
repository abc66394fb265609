"""Gradient boosted trees on log expression."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from celljury.members.about import About
from celljury.members.arrays import load_arrays, save_arrays
from celljury.members.base import Block, Member, MemberSettings, MemberVotes, Reference
from celljury.members.subsample import cap_per_term
from celljury.members.trees import Tree, Trees

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

DISTRIBUTIONS: Final = ("xgboost", "xgboost-cpu")  # one module; the second comes without CUDA's libraries
BINS: Final = 32  # of a gene's values; XGBoost's 256 gave .949, .915, .912 where this gives .940, .915, .923, sooner


class XGBoostSettings(MemberSettings):
    """Settings of `XGBoost`.

    Attributes
    ----------
    rounds, learning_rate, depth
        Rounds of boosting (a tree for each type), how much each adds, and depth of a tree. Accuracy / log loss of 300
        rounds at 0.3 and depth 6 (popV's), of 100 at 0.3 and 6, of 100 at 0.1 and 6 and of 100 at 0.1 and 3:
        .926/.287, .930/.237, .942/.250 and .949/.245 (3' v1 -> 5'), .915/.306, .915/.221, .921/.209 and .915/.223
        (3' v1 and 5' -> 3' v2), .892/.307, .892/.307, .914/.244 and .912/.236 (donors). The last took 1.8 CPU s for
        720 cells, the first 2.8.
    genes_per_split
        Share of the genes among which a split is sought.
    cells_per_term, max_cells
        Caps on the reference cells learned from: 4,000 cells of 3,000 genes and 20 types took 29 CPU s.
    """

    rounds: int = Field(default=100, ge=1)
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    depth: int = Field(default=3, ge=1, le=12)
    genes_per_split: float = Field(default=0.1, gt=0, le=1)
    cells_per_term: int = Field(default=200, ge=1)
    max_cells: int = Field(default=5_000, ge=1)


class XGBoost(Member):
    """XGBoost's trees with a softmax over types, types weighted to count alike.

    Zeros are values. popV hands over sparse counts, of which XGBoost reads every zero as missing, so that "not
    expressed" and "not measured" are one; a query that lacks genes then takes the way of cells without them.

    The model is kept as arrays (`Trees`), read from XGBoost's own JSON: they give its probabilities, and at genes that
    the query lacks they go both ways.
    """

    name = "xgboost"
    modules = ("xgboost",)
    distribution = "xgboost"
    extra = "xgboost"
    classifier: ClassVar[bool] = True
    about: ClassVar[About] = About(
        what="XGBoost: boosted decision trees on log1p counts per 10,000, each correcting what those before it left.",
        score=(
            "A softmax over the types' sums of trees: how sure the trees are among the reference's types, nothing about"
            " whether the cell is of one."
        ),
        right="Types that differ in which genes go together; a reference of hundreds of cells a type.",
        fails=(
            "Small references, where few genes carry every decision; a query that measured few of those genes. Slower"
            " than the other light members."
        ),
        licence="Apache-2.0 (xgboost)",
        cite=(
            "XGBoost: Chen 2016, doi:10.1145/2939672.2939785",
            "popV: Ergen 2024, doi:10.1038/s41588-024-01993-3",
        ),
    )
    Settings: ClassVar[type[MemberSettings]] = XGBoostSettings

    trees: Trees

    @classmethod
    def library_version(cls) -> str:
        """Version of the library, which is distributed under two names."""
        for name in DISTRIBUTIONS:
            try:
                return f"{name} {version(name)}"
            except PackageNotFoundError:
                continue
        return super().library_version()

    def _fit(self, reference: Reference) -> None:
        kept = cap_per_term(
            reference.label,
            per_term=self.settings.cells_per_term,
            total=self.settings.max_cells,
            seed=self.seed,
        )
        expression, label = self.normalized(reference.cells)[kept], reference.label[kept]
        booster = self._boosted(np.asarray(expression.toarray(), np.float32), label)
        model = json.loads(bytes(booster.save_raw("json")))
        self.trees = read_trees(model, n_terms=len(self.terms))

    def _boosted(self, expression: NDArray[np.float32], label: NDArray[np.int32]) -> Any:
        """Train and return XGBoost's own model."""
        import xgboost

        size = np.bincount(label, minlength=len(self.terms))
        weight = label.size / (len(self.terms) * size[label])
        cells = xgboost.DMatrix(expression, label, weight=weight, nthread=self.threads)
        parameters = {
            "objective": "multi:softprob",
            "num_class": len(self.terms),
            "base_score": 0.5,  # the same for every type, so it falls out of the softmax
            "tree_method": "hist",
            "max_bin": BINS,
            "eta": self.settings.learning_rate,
            "max_depth": self.settings.depth,
            "colsample_bynode": self.settings.genes_per_split,
            "nthread": self.threads,
            "seed": self.seed % 2**31,
            "verbosity": 0,
        }
        return xgboost.train(parameters, cells, num_boost_round=self.settings.rounds)

    def _predict(self, block: Block) -> MemberVotes:
        from scipy.special import softmax

        total = self.trees.vote(self.normalized(block), present=block.present)
        return MemberVotes(softmax(total, axis=1).astype(np.float32), np.full(block.n_cells, np.nan, np.float32))

    def _save(self, folder: Path) -> None:
        save_arrays(folder / "xgboost.npz", **self.trees.arrays())

    def _load(self, folder: Path) -> None:
        self.trees = Trees.from_arrays(load_arrays(folder / "xgboost.npz"), n_terms=len(self.terms))


def read_trees(model: Mapping[str, Any], *, n_terms: int) -> Trees:
    """Read the trees of XGBoost's JSON model (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html)."""
    from scipy.sparse import csr_matrix

    parts = model["learner"]["gradient_booster"]["model"]
    trees = []
    for tree, term in zip(parts["trees"], parts["tree_info"], strict=True):
        left = np.array(tree["left_children"], np.int64)
        split = np.array(tree["split_conditions"], np.float32)  # at a leaf, what it adds
        leaf = np.flatnonzero(left < 0)
        value = csr_matrix((split[leaf].astype(np.float64), (leaf, np.full(leaf.size, term))), (left.size, n_terms))
        trees.append(
            Tree(
                left=left,
                right=np.array(tree["right_children"], np.int64),
                gene=np.array(tree["split_indices"], np.int64),
                # Left is below the condition, not at it.
                threshold=np.nextafter(split, np.float32(-np.inf)).astype(np.float64),
                weight=np.array(tree["sum_hessian"], np.float64),
                value=value,
            )
        )
    return Trees.join(trees)
