"""TSV: raw values that pandas reads back, the same bytes every time."""

from __future__ import annotations

from io import StringIO

import made_tables as made
import pandas as pd
import pytest

from celljury.report.table_tsv import tsv_text


def test_a_table_as_it_is_written() -> None:
    assert tsv_text(made.flat()) == (
        "term\tlabel\tn_cells\tfraction\tmean_depth\treview_share\n"
        "CL:0000236\tB cell\t1200\t0.8\t6\t0.1\n"
        "CL:0000084\tT cell\t300\t0.2\t5.25\t0.35\n"
        "\t(unseen)\t0\t0\t\t\n"
        "\tall cells\t1500\t1\t5.85\t0.15\n"
    )


def test_the_block_is_a_column_like_any_other() -> None:
    read = pd.read_csv(StringIO(tsv_text(made.blocked(3))), sep="\t")
    assert read["donor"].tolist() == ["donor 1"] * 4 + ["donor 2"] * 4 + ["donor 3"] * 4


def test_hostile_texts_come_back_as_they_were() -> None:
    table = made.hostile()
    read = pd.read_csv(StringIO(tsv_text(table)), sep="\t", keep_default_na=False, dtype=str)
    wanted = [(text or "").replace("\r", "\n") for text in table.rows["text"]]
    assert read["text"].tolist() == wanted
    assert read["n"].tolist() == [*map(str, range(len(made.HOSTILE))), ""]


@pytest.mark.parametrize("table", [made.empty(), made.blocked(0)], ids=["no_rows", "no_blocks"])
def test_without_rows_the_head_stands(table: made.Table) -> None:
    assert tsv_text(table) == "\t".join(column.name for column in table.columns) + "\n"


def test_only_the_columns_of_the_table_are_written_in_their_order() -> None:
    table = made.flat()
    mixed = made.Table(table.name, table.title, "", table.columns[::-1], table.rows.assign(more=1))
    assert tsv_text(mixed).splitlines()[0].split("\t") == [column.name for column in table.columns[::-1]]


def test_the_same_table_gives_the_same_bytes() -> None:
    assert tsv_text(made.large()) == tsv_text(made.large())
    assert len(tsv_text(made.large()).splitlines()) == 5001
