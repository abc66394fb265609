"""The embedded data of the quick start."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from celljury.demo import LABELS, LEFT_OUT, demo_halves, demo_map, recover_counts
from celljury.ontology.load import load_ontology
from celljury.ontology.mapping import read_sssom


@pytest.fixture(scope="module")
def halves():
    return demo_halves()


def test_halves_are_stratified_and_do_not_overlap(halves):
    reference, query = halves
    assert not set(reference.obs_names) & set(query.obs_names)
    in_reference, in_query = (half.obs[LABELS].value_counts() for half in halves)
    assert LEFT_OUT not in in_reference
    assert in_query[LEFT_OUT] > 0
    shared = in_query.drop(LEFT_OUT)
    assert ((shared - in_reference[shared.index]).between(0, 1)).all()


def test_halves_hold_whole_counts(halves):
    for half in halves:
        assert half.X.min() >= 0
        assert np.array_equal(half.X.data, np.rint(half.X.data))
        assert (np.asarray(half.X.sum(axis=1)) > 100).all()


def test_every_label_is_mapped(halves):
    mapped = read_sssom(demo_map(), load_ontology())
    labels = set(pd.concat([half.obs[LABELS] for half in halves]))
    assert labels == set(mapped.terms)


def test_counts_are_recovered_from_what_scanpy_normalised():
    counts = np.array([[1, 0, 3, 7], [0, 1, 20, 4]], dtype=np.float64)
    normalized = csr_matrix(np.log1p(1e4 * counts / np.array([[730.0], [1210.0]])))
    assert np.array_equal(recover_counts(normalized).toarray(), counts)
