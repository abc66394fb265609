"""Fractions over donors: by hand and against SciPy; donors without a cell, few donors, donors in two conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from celljury.report import donor_tables as module
from celljury.report.counted import Groups, counted_cells
from celljury.report.donor_tables import FEWEST, donor_tables, mean_interval
from celljury.report.levels import load_levels

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.table import Table

B, T, NEURON = "CL:0000236", "CL:0000084", "CL:0000540"


def tables(
    write_run: Any, cl: CellOntology, cells: list[tuple[str, str | None, str]], *levels: str, conditions: bool = False
) -> dict[str, Table]:
    """Tables of cells that are given as (donor, term, condition); "-" is no donor."""
    frame = pd.DataFrame(cells, columns=["donor", "term", "condition"])
    run = write_run(
        pd.DataFrame({"term": frame["term"], "status": np.where(frame["term"].isna(), "unresolved", "resolved")})
    )
    groups = [_groups("donor", frame["donor"].replace("-", "(none)"))]
    if conditions:
        groups.append(_groups("condition", frame["condition"]))
    counted = counted_cells(run, cl, groups=groups)
    return {table.name: table for table in donor_tables(counted, load_levels(cl, levels or ["term"]))}


def _groups(role: Any, column: pd.Series) -> Groups:
    values = sorted(column.unique(), key=lambda value: (value == "(none)", value))
    return Groups(role, role, tuple(values), np.array([values.index(value) for value in column], np.int32))


def cells(donor: str, n_b: int, n_t: int, condition: str = "c") -> list[tuple[str, str | None, str]]:
    return [(donor, B, condition)] * n_b + [(donor, T, condition)] * n_t


def row(table: Table, label: str, **where: str) -> dict[str, Any]:
    own = table.rows[table.rows["label"] == label]
    for name, value in where.items():
        own = own[own[name] == value]
    (found,) = own.to_dict("records")
    return found


# Fractions of B cells 0.1, 0.2 and 0.3. Student's t for 2 degrees of freedom is 4.302653: 0.2 -/+ 4.302653 x 0.1 / sqrt(3).
THREE = [*cells("d1", 1, 9), *cells("d2", 20, 80), *cells("d3", 3, 7)]


def test_three_donors_by_hand(write_run: Any, cl: CellOntology) -> None:
    table = tables(write_run, cl, THREE)["donors_term"]
    b = row(table, "B cell")
    assert [b[name] for name in ("n_donors", "n_with", "n_cells")] == [3, 3, 24]
    wanted = {"mean": 0.2, "low": 0, "high": 0.4484138, "sd": 0.1, "median": 0.2, "min": 0.1, "max": 0.3}
    assert {name: b[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert row(table, "T cell")["low"] == pytest.approx(0.8 - 0.2484138, abs=1e-6)
    assert row(table, "T cell")["high"] == 1
    total = table.rows.iloc[-1]
    assert (total["label"], total["n_donors"], total["n_cells"]) == ("all cells", 3, 120)
    assert total["mean"] == pytest.approx(1)
    assert "here 10 to 100" in table.notes[0]
    assert "Student 1908, doi:10.1093/biomet/6.1.1" in table.notes[0]


def test_donors_count_the_same_however_many_cells_they_have(write_run: Any, cl: CellOntology) -> None:
    found = tables(write_run, cl, [*cells("d1", 0, 1), *cells("d2", 400, 0), *cells("d3", 0, 3)])["donors_term"]
    assert row(found, "B cell")["mean"] == pytest.approx(1 / 3)


def test_a_donor_without_a_cell_of_a_term_counts_as_nothing(write_run: Any, cl: CellOntology) -> None:
    found = tables(write_run, cl, [*cells("d1", 5, 5), *cells("d2", 0, 4), *cells("d3", 0, 6)])["donors_term"]
    b = row(found, "B cell")
    assert (b["n_donors"], b["n_with"], b["min"], b["median"], b["max"]) == (3, 1, 0, 0, 0.5)
    assert b["mean"] == pytest.approx(0.5 / 3)


@given(arrays(np.int64, st.tuples(st.integers(FEWEST, 9), st.integers(1, 6)), elements=st.integers(0, 50)))
def test_the_interval_is_that_of_scipy_cut_to_shares(counts: np.ndarray) -> None:
    counts[:, 0] += 1
    fractions = counts / counts.sum(axis=1, keepdims=True)
    mean, low, high, sd = mean_interval(fractions)
    np.testing.assert_allclose(mean.sum(), 1)
    np.testing.assert_allclose(sd, fractions.std(axis=0, ddof=1), atol=1e-15)
    assert ((low >= 0) & (low <= mean + 1e-15) & (mean <= high + 1e-15) & (high <= 1)).all()
    spread = sd > 1e-12
    own = stats.t.interval(0.95, len(fractions) - 1, loc=mean[spread], scale=stats.sem(fractions[:, spread], axis=0))
    np.testing.assert_allclose(low[spread], np.clip(own[0], 0, 1), atol=1e-12)
    np.testing.assert_allclose(high[spread], np.clip(own[1], 0, 1), atol=1e-12)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    """Fractions drawn from a beta distribution with mean 0.3 for 6 donors, as rows of many studies."""
    drawn = np.random.default_rng(0).beta(6, 14, (6, 4000))
    _, low, high, _ = mean_interval(drawn)
    covered = ((low <= 0.3) & (high >= 0.3)).mean()
    # 4,000 draws tell 95 % from 94 % or 96 %: two standard errors are 0.7 %.
    assert 0.94 < covered < 0.96


def test_two_donors_have_no_interval_and_it_is_said(write_run: Any, cl: CellOntology) -> None:
    table = tables(write_run, cl, THREE[:110])["donors_term"]
    b = row(table, "B cell")
    assert (b["mean"], b["min"], b["max"]) == pytest.approx((0.15, 0.1, 0.2))
    assert b["sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert np.isnan(b["low"])
    assert np.isnan(b["high"])
    assert table.notes[-1] == "No interval: fewer than 3 donors."


@pytest.mark.parametrize("donors", [["d1"], ["d1", "-"]], ids=["one", "one_and_cells_without"])
def test_one_donor_makes_no_table(write_run: Any, cl: CellOntology, donors: list[str]) -> None:
    assert tables(write_run, cl, [cell for donor in donors for cell in cells(donor, 2, 2)]) == {}


def test_without_donors_there_is_no_table(write_run: Any, cl: CellOntology) -> None:
    run = write_run(pd.DataFrame({"term": [B, T], "status": "resolved"}))
    groups = Groups("sample", "s", ("a", "b"), np.array([0, 1], np.int32))
    assert donor_tables(counted_cells(run, cl, groups=[groups]), load_levels(cl)) == []


def test_cells_without_a_donor_are_left_out_and_it_is_said(write_run: Any, cl: CellOntology) -> None:
    table = tables(write_run, cl, [*THREE, *cells("-", 50, 0)])["donors_term"]
    assert row(table, "B cell")["mean"] == pytest.approx(0.2)
    assert row(table, "all cells")["n_cells"] == 120
    assert "Left out: 50 cells whose donor is not known (no value in donor)." in table.notes


# Conditions -----------------------------------------------------------------------------------------------------------

TREATED = [
    *cells("d1", 1, 9, "control"), *cells("d2", 2, 8, "control"), *cells("d3", 3, 7, "control"),
    *cells("d3", 5, 5, "treated"), *cells("d4", 10, 0, "treated"), ("d4", NEURON, "treated"),
]  # fmt: skip


def test_conditions_by_hand(write_run: Any, cl: CellOntology) -> None:
    found = tables(write_run, cl, TREATED, conditions=True)
    assert list(found) == ["donors_term", "donors_term_by_condition"]
    table = found["donors_term_by_condition"]
    assert table.rows[["label", "group"]].to_numpy().tolist() == [
        ["T cell", "control"], ["T cell", "treated"], ["B cell", "control"], ["B cell", "treated"],
        ["neuron", "control"], ["neuron", "treated"], ["all cells", "control"], ["all cells", "treated"],
    ]  # fmt: skip
    assert table.n_last == 2
    control, treated = (row(table, "B cell", group=name) for name in ("control", "treated"))
    assert (control["n_donors"], control["mean"], control["high"]) == pytest.approx((3, 0.2, 0.4484138))
    assert (treated["n_donors"], treated["mean"]) == pytest.approx((2, (0.5 + 10 / 11) / 2))
    assert np.isnan(treated["high"])
    neuron = row(table, "neuron", group="control")
    assert (neuron["n_donors"], neuron["n_with"], neuron["mean"], neuron["high"]) == (3, 0, 0, 0)


def test_a_donor_in_two_conditions_gives_a_fraction_to_each_and_it_is_said(write_run: Any, cl: CellOntology) -> None:
    found = tables(write_run, cl, TREATED, conditions=True)
    notes = found["donors_term_by_condition"].notes
    assert (
        "One donor (donor) has cells in several groups of condition, and one fraction in each: these groups are not"
        in (notes[1])
    )
    assert notes[-1] == "No interval in treated: fewer than 3 donors."
    # Over all cells the donor has one fraction: 3 + 5 of 20.
    assert row(found["donors_term"], "B cell")["mean"] == pytest.approx((0.1 + 0.2 + 0.4 + 10 / 11) / 4)


def test_apart_donors_are_not_said_to_be_shared(write_run: Any, cl: CellOntology) -> None:
    apart = [cell for cell in TREATED if cell[0] != "d3"]
    notes = tables(write_run, cl, apart, conditions=True)["donors_term_by_condition"].notes
    assert not any("several groups" in note for note in notes)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([B, T, NEURON, None]), st.integers(0, 2)), min_size=1))
@settings(deadline=None, max_examples=25)
def test_means_add_up_to_all_cells_at_every_level(
    write_run: Any, cl: CellOntology, drawn: list[tuple[int, str | None, int]]
) -> None:
    given_ = [(f"d{d}", term, f"c{c}") for d, term, c in drawn]
    found = tables(write_run, cl, given_, "term", "cell_class", "depth:2", conditions=True)
    assert bool(found) == (len({cell[0] for cell in given_}) > 1)
    for table in found.values():
        body, total = table.rows.iloc[: -table.n_last], table.rows.iloc[-table.n_last :]
        keys = ["group"] if table.name.endswith("by_condition") else []
        sums = body.groupby(keys)["mean"].sum().tolist() if keys else [body["mean"].sum()]
        assert sums == pytest.approx([1.0] * table.n_last)
        assert total["mean"].tolist() == pytest.approx([1.0] * table.n_last)
        assert body["n_cells"].sum() == total["n_cells"].sum() == len(given_)


def test_a_lost_place_is_noticed(write_run: Any, cl: CellOntology, monkeypatch: pytest.MonkeyPatch) -> None:
    right = module._order
    monkeypatch.setattr(module, "_order", lambda rows: right(rows).iloc[1:])
    with pytest.raises(RuntimeError, match="level 'term': mean fractions of donors add up to"):
        tables(write_run, cl, THREE)
