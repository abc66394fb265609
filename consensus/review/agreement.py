"""How far two reviewers agree, beyond chance."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two reviewers.

    Attributes
    ----------
    a, b
        The reviewers, in the order of their names.
    n_both
        Items and parts that both decided.
    agreement
        Share of these on which both said the same, 0-1; NaN without any.
    kappa
        Cohen's kappa, at most 1; NaN where it is undefined.
    why
        Why kappa is undefined; empty where it is not.
    """

    a: str
    b: str
    n_both: int
    agreement: float
    kappa: float
    why: str


def agreements(rated: Mapping[str, Mapping[str, Hashable]]) -> tuple[Agreement, ...]:
    """Return the agreement of each pair of reviewers.

    Parameters
    ----------
    rated
        Reviewer -> item or part -> what they said of it before they could know what the others had said: kappa is of
        raters who do not know of each other. See `celljury.review.ledger.Ledger.kappa`.
    """
    found = []
    for a, b in combinations(sorted(rated), 2):
        both = sorted(rated[a].keys() & rated[b].keys())
        observed, kappa, why = cohen_kappa([(rated[a][item], rated[b][item]) for item in both])
        found.append(Agreement(a, b, len(both), observed, kappa, why))
    return tuple(found)


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> tuple[float, float, str]:
    """Return observed agreement, Cohen's kappa, and why kappa is NaN where it is.

    kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of pairs that are equal and p_e the share expected by chance
    from how often each rater used each category (Cohen 1960, doi:10.1177/001316446002000104).
    """
    n = len(pairs)
    if n == 0:
        return math.nan, math.nan, "nothing that both decided"
    n_equal = sum(x == y for x, y in pairs)
    first, second = Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    # In whole numbers: p_e = 1 must be found exactly.
    chance = sum(count * second[category] for category, count in first.items())
    if chance == n * n:
        return n_equal / n, math.nan, "both said one and the same of everything"
    return n_equal / n, (n_equal * n - chance) / (n * n - chance), ""
