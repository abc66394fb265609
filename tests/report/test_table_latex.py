"""LaTeX: what a label says is printed and never run; every table compiles; long ones turn pages, wide ones turn."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import made_tables as made
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celljury.report.latex_text import latex
from celljury.report.table import Table, TableColumn
from celljury.report.table_files import write_tables
from celljury.report.table_latex import LONG, document, latex_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pdflatex() -> str:
    found = shutil.which("pdflatex")
    if found is None:
        pytest.skip("needs pdflatex")
    return found


def compiled(program: str, folder: Path, name: str = "tables") -> str:
    """Compile twice, as longtable needs, and return the log; without a shell, and no file outside is written."""
    order = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
    for _ in range(2):
        done = subprocess.run(order, cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-3000:]
    return (folder / f"{name}.log").read_text(encoding="latin-1")


def overfull(log: str) -> list[float]:
    return [float(found) for found in re.findall(r"Overfull \\hbox \((.+?)pt too wide", log)]


# Text -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("a & b", r"a \& b", id="ampersand_ends_no_cell"),
        pytest.param("5 % of $x #1", r"5 \% of \$x \#1", id="signs"),
        pytest.param("low_genes", r"low\_\allowbreak{}genes", id="underscore_can_be_broken_after"),
        pytest.param(r"\input{x}", r"\textbackslash{}input\{x\}", id="no_command"),
        pytest.param("~ ^", r"\textasciitilde{} \textasciicircum{}", id="accents_alone"),
        pytest.param("[a] *", "{[}a] {*}", id="no_argument_of_the_row_above"),
        pytest.param("a--b <<c>> d,,", "a-{}-b <{}<c>{}> d,{},", id="pairs_stay_two_signs"),
        pytest.param("\u03b1\u03b2 T cell, 5 \u00b5m", r"$\alpha$$\beta$ T cell, 5 $\mu$m", id="greek"),
        pytest.param("caf\u00e9 \u0142", "caf\u00e9 \u0142", id="accents_that_T1_has"),
        pytest.param("\u1ea1 \ufb01 \u00bd x\u2082", "a fi \u00bd x2", id="what_can_be_simplified"),
        pytest.param("\U0001f9ec", "{[}dna double helix]", id="emoji_is_named"),
        pytest.param("\u7ec6\u80de", "{[}U+7EC6]{[}U+80DE]", id="chinese_is_numbered"),
        pytest.param("\u0127", "{[}latin small letter h with stroke]", id="latin_that_T1_lacks"),
        pytest.param("a\u202eb\u0301", "ab", id="marks_without_a_sign_go"),
        pytest.param("\u2264 \u2192 \u2013 \u2019", r"$\leq$ $\rightarrow$ -- '{}", id="signs_of_prose"),
        pytest.param("the cell's 5' end", r"the cell'{}s 5\textquotesingle{} end", id="apostrophe_and_prime"),
        pytest.param("x" * 30, "x" * 24 + r"\allowbreak{}" + "x" * 6, id="long_words_can_be_broken"),
    ],
)
def test_text_as_latex(text: str, written: str) -> None:
    assert latex(text) == written


@given(st.text())
def test_no_text_keeps_a_sign_that_latex_reads(text: str) -> None:
    written = latex(text)
    # What `latex` writes itself: commands, signs after a backslash, mathematics, curly quotes, guards.
    bare = re.sub(r"[`']{1,2}\{\}|\\(?:[a-zA-Z]+|[{}$&#%_])|\$\\?[A-Za-z0-9^\\-]+\$|\{\}|\{[\[*]\}", "", written)
    assert not set(bare) & set("\\{}$&#%_~^\"'`") - {"~"}
    assert written.count("{") - written.count(r"\{") == written.count("}") - written.count(r"\}")


# Tables -----------------------------------------------------------------------------------------------------------------


def test_a_short_table_is_one_float_with_its_caption_above_and_its_notes_below() -> None:
    text = latex_text(made.flat(), caption=made.CAPTION)
    assert text.count(r"\begin{table}") == 1
    assert r"\caption[{Cells per type}]{\textbf{Cells per type.} A row a term. Every cell is counted once.}" in text
    assert r"\label{tab:cells_cell_class}" in text
    assert r"\begin{tabular}{@{}llrrrr@{}}" in text
    assert r"CL:0000236 & B cell & 1,200 & 80.0 & 6.00 & 10.0 \\" in text
    assert text.index(r"\midrule", text.index("(unseen)")) < text.index("all cells"), "a rule sets the total apart"
    below = text[text.index(r"\end{tabular}") :]
    for said in ("id of the term", "not cells of the node", "release 2026-03-26", r"100 \% \& nothing more"):
        assert said in below


def test_heads_of_numbers_are_stacked_to_the_right() -> None:
    assert r"\begin{tabular}[b]{@{}r@{}}Of all \\ cells (\%)\end{tabular}" in latex_text(made.flat(), caption=())


def test_a_long_table_turns_pages_and_repeats_its_head() -> None:
    text = latex_text(made.blocked(12), caption=made.CAPTION)
    assert 12 * 5 > LONG
    assert text.count(r"\begin{longtable}") == 1
    assert r"\endfirsthead" in text
    assert text.count("Need") == 2, "the head stands on the first page and on all others"
    assert r"\multicolumn{6}{@{}l@{}}{\textit{Donor: donor 12}} \\*" in text
    assert "continued on the next page" in text


def test_a_wide_table_is_turned_and_a_wider_one_cut_into_panels() -> None:
    turned, panels = latex_text(made.wide(6), caption=()), latex_text(made.wide(24), caption=())
    assert turned.count(r"\begin{landscape}") == panels.count(r"\begin{landscape}") == 1
    assert turned.count(r"\begin{tabular}{") == 1
    n_panels = panels.count(r"\begin{tabular}{")
    assert n_panels > 1
    assert panels.count(r"\addtocounter{table}{-1}") == n_panels - 1, "panels are one table"
    assert panels.count("type 0 &") == n_panels, "every panel names its rows"
    specifications = re.findall(r"\\begin\{tabular\}\{@\{\}l(r+)@\{\}\}", panels)
    assert sum(map(len, specifications)) == 48
    assert all(len(found) % 2 == 0 for found in specifications), "count and share of a sample stay together"


def test_without_rows_it_says_so() -> None:
    assert r"\multicolumn{6}{@{}l@{}}{(no rows)}" in latex_text(made.empty(), caption=())
    assert r"\multicolumn{6}{@{}l@{}}{(no rows)}" in latex_text(made.blocked(0), caption=())


def test_minus_is_a_minus_and_missing_a_hyphen() -> None:
    frame = pd.DataFrame({"x": [-1.5, None]})
    text = latex_text(Table("t", "t", "", (TableColumn("x", "x", kind="number"),), frame), caption=())
    assert "$-$1.5 \\\\\n- \\\\" in text


def test_the_article_inputs_every_table_and_names_what_is_left_out() -> None:
    text = document(["a", "b_c"], title="A & b", left_out=["c_d is not here."])
    assert r"\input{a.tex}" in text
    assert r"\input{b_c.tex}" in text
    assert r"\noindent c\_\allowbreak{}d is not here.\par" in text
    assert r"\section*{A \& b}" in text


# Compiled ---------------------------------------------------------------------------------------------------------------


def test_every_table_compiles_and_none_runs_over_the_margin(pdflatex: str, tmp_path: Path) -> None:
    tables = [*made.everything(), made.blocked(0), made.large()]
    tables = [t if t.name != "cells_by_donor" or len(t.rows) else _renamed(t, "no_donors") for t in tables]
    write_tables(tables, tmp_path, formats=("tex", "tsv"), caption=made.CAPTION)
    log = compiled(pdflatex, tmp_path)
    assert (tmp_path / "tables.pdf").read_bytes().startswith(b"%PDF")
    assert [wide for wide in overfull(log) if wide > 5] == []
    assert "Missing character" not in log
    assert "undefined" not in log
    # 1 + 12 blocks on pages, wide on a page of its own ...; every table has its number.
    names = re.findall(r"\\newlabel\{tab:(\w+)\}\{\{(\d+)\}", (tmp_path / "tables.aux").read_text(encoding="utf-8"))
    assert names == [(table.name, str(i + 1)) for i, table in enumerate(tables) if table.name != "large"]


def _renamed(table: Table, name: str) -> Table:
    return Table(name, table.title, table.about, table.columns, table.rows, block=table.block, n_last=table.n_last)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.text(max_size=60), min_size=20, max_size=20))
def test_any_text_compiles(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("needs pdflatex")
    folder = tmp_path_factory.mktemp("tex")
    frame = pd.DataFrame({"t": texts, "id": texts[::-1]})
    columns = (TableColumn("t", texts[0], texts[1]), TableColumn("id", texts[2], kind="id"))
    table = Table("any", texts[3], texts[4], columns, frame, notes=(texts[5],))
    write_tables([table], folder, formats=("tex",), caption=texts[6:8])
    log = compiled(program, folder)
    assert "Missing character" not in log
