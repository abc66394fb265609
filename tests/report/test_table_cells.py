"""What readers see of a value: separators, per cents, what is missing; and rows in blocks."""

from __future__ import annotations

from typing import Any

import made_tables as made
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.report.table import Kind, TableColumn
from celljury.report.table_cells import block_head, blocks, head, meanings, one_line, shown, shown_columns


@pytest.mark.parametrize(
    ("value", "kind", "digits", "text"),
    [
        pytest.param(1234567, "count", 1, "1,234,567", id="count_has_separators"),
        pytest.param(12.0, "count", 1, "12", id="count_read_as_float_is_whole"),
        pytest.param(0.1234, "share", 1, "12.3", id="share_is_per_cent"),
        pytest.param(1.0, "share", 0, "100", id="digits_are_obeyed"),
        pytest.param(-0.0004, "share", 1, "0.0", id="what_rounds_to_nothing_has_no_sign"),
        pytest.param(-12345.678, "number", 2, "-12,345.68", id="number_keeps_its_sign"),
        pytest.param(float("inf"), "number", 1, "inf", id="infinity_is_said"),
        pytest.param(None, "text", 1, "-", id="none_is_missing"),
        pytest.param(float("nan"), "count", 1, "-", id="nan_is_missing"),
        pytest.param(np.float32("nan"), "number", 1, "-", id="short_nan_is_missing"),
        pytest.param(pd.NA, "text", 1, "-", id="na_is_missing"),
        pytest.param("two\nlines\t x", "text", 1, "two lines x", id="a_cell_is_one_line"),
        pytest.param("", "text", 1, "", id="an_empty_text_is_not_missing"),
    ],
)
def test_a_value_as_it_is_read(value: Any, kind: Kind, digits: int, text: str) -> None:
    assert shown(value, TableColumn("x", "x", kind=kind, digits=digits)) == text


@given(st.text())
def test_one_line_has_no_break_or_control_character(text: str) -> None:
    made_line = one_line(text)
    assert len(made_line.splitlines()) <= 1
    assert not any(ord(sign) < 32 for sign in made_line)
    assert one_line(made_line) == made_line


def test_heads_of_shares_say_per_cent_once() -> None:
    assert head(TableColumn("f", "Fraction", kind="share")) == "Fraction (%)"
    assert head(TableColumn("f", "% of cells", kind="share")) == "% of cells"
    assert head(TableColumn("f", "Fraction", kind="number")) == "Fraction"


def test_meanings_name_only_the_columns_that_need_one() -> None:
    assert meanings(made.flat()) == (
        "CL id: id of the term; Of all cells (%): share of the cells counted; Mean depth: longest path from the root."
    )


def test_rows_of_a_block_stand_together_and_its_total_apart() -> None:
    first, second = blocks(made.blocked(2))
    assert (first.name, second.name) == ("donor 1", "donor 2")
    assert block_head(made.blocked(2), first.name or "") == "Donor: donor 1"
    assert [row[1] for row in second.rows] == ["B cell", "T cell", "(unseen)"]
    assert second.rows[0] == ("CL:0000236", "B cell", "2,400", "80.0", "6.00", "10.0")
    assert second.last == (("", "all cells", "3,000", "100.0", "5.85", "15.0"),)


def test_the_column_that_heads_blocks_is_not_shown_again() -> None:
    assert "donor" not in [column.name for column in shown_columns(made.blocked())]
    assert len(shown_columns(made.flat())) == 6


def test_a_table_without_rows_has_no_rows_in_its_blocks() -> None:
    assert blocks(made.blocked(0)) == ()
    (only,) = blocks(made.empty())
    assert (only.rows, only.last) == ((), ())
