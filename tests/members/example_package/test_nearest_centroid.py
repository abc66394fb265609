"""The member keeps the contract of all members, and is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from celljury_nearest_centroid import NearestCentroid

from celljury.members.checks import Trial, member_checks


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(NearestCentroid)


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__)
def test_contract(check, trial) -> None:
    check(trial)


def test_top_term_is_the_best_correlated_profile(trial) -> None:
    member = trial.member
    cells = member.normalized(trial.query).toarray() - member.mean
    best = [np.argmax([cell @ profile / np.linalg.norm(profile) for profile in member.profiles]) for cell in cells]
    assert trial.votes.mass.argmax(axis=1).tolist() == best
