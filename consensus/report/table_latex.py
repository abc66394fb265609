"""A table as LaTeX: booktabs, numbers to the right, long tables over pages, wide ones turned, very wide ones in panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celljury.report.latex_layout import head_lines, layout_of
from celljury.report.latex_text import latex
from celljury.report.table_cells import NUMERIC, block_head, blocks, head, meanings, one_line, shown_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celljury.report.latex_layout import Layout
    from celljury.report.table import Table, TableColumn
    from celljury.report.table_cells import Block

LONG = 35
LONG_TURNED = 25
"""Rows that fit on a page, and on a turned one; with more the table goes over pages and repeats its head."""

PACKAGES = (
    r"\usepackage[utf8]{inputenc}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage{array,booktabs,longtable,pdflscape}",
)
"""What a document that inputs a table needs; all are in texlive-latex-recommended or below it."""


def latex_text(table: Table, *, caption: Sequence[str]) -> str:
    r"""Return a table as LaTeX to ``\input``: its title and what it counts above, meanings, notes and caption below.

    Parameters
    ----------
    caption
        Sentences on the run that every table carries.
    """
    columns, parts = shown_columns(table), blocks(table)
    layout = layout_of(columns, parts)
    n_rows = sum(len(part.rows) + len(part.last) + (part.name is not None) for part in parts)
    notes = " ".join(
        rf"\textit{{{name}.}} {' '.join(latex(one_line(sentence)) for sentence in said)}"
        for name, said in (("Columns", [meanings(table)]), ("Notes", table.notes), ("Run", caption))
        if any(said)
    )
    write = _longtable if n_rows > (LONG_TURNED if layout.turned else LONG) else _on_one_page
    bodies = [write(table, columns, parts, layout, i, notes) for i in range(len(layout.panels))]
    lines = [rf"% {table.name}: needs {' '.join(PACKAGES)}", *bodies]
    if layout.turned:
        lines = [lines[0], r"\begin{landscape}", *bodies, r"\end{landscape}"]
    return "\n".join(lines) + "\n"


def document(names: Sequence[str], *, title: str, left_out: Sequence[str] = ()) -> str:
    """Return a whole article that inputs tables by their names, and says which are left out."""
    lines = [
        r"\documentclass[10pt,a4paper]{article}",
        *PACKAGES,
        r"\usepackage[margin=2.2cm]{geometry}",
        r"\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}",  # outlines where they are installed
        r"\setlength{\emergencystretch}{3em}",
        r"\begin{document}",
        rf"\section*{{{latex(one_line(title))}}}",
        *(rf"\noindent {latex(one_line(sentence))}\par" for sentence in left_out),
        r"\listoftables",
        r"\clearpage",
        *(line for name in names for line in (rf"\input{{{name}.tex}}", r"\clearpage")),
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


# Writing ----------------------------------------------------------------------------------------------------------------


def _specification(columns: Sequence[TableColumn], layout: Layout, panel: Sequence[int]) -> str:
    def one(i: int) -> str:
        if columns[i].kind in NUMERIC:
            return "r"
        # 0.5 em a character, and a little for words that do not fill a line.
        return rf">{{\raggedright\arraybackslash}}p{{{0.5 * layout.widths[i] + 0.4:.1f}em}}" if layout.wraps[i] else "l"

    return f"@{{}}{''.join(one(i) for i in panel)}@{{}}"


def _heads(columns: Sequence[TableColumn], layout: Layout, panel: Sequence[int]) -> str:
    def one(i: int) -> str:
        column = columns[i]
        if layout.wraps[i]:
            return latex(head(column))
        lines = [latex(line) for line in head_lines(column, layout.cells[i])]
        side = "r" if column.kind in NUMERIC else "l"
        stacked = r" \\ ".join(lines)
        return lines[0] if len(lines) == 1 else rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{stacked}\end{{tabular}}"

    return " & ".join(one(i) for i in panel) + r" \\"


def _rows(table: Table, columns: Sequence[TableColumn], parts: Sequence[Block], panel: Sequence[int]) -> list[str]:
    lines: list[str] = []
    for k, part in enumerate(parts):
        if part.name is not None:
            gap = [r"\addlinespace"] if k else []
            named = latex(block_head(table, part.name))
            # A head never stands alone at the end of a page.
            lines += [*gap, rf"\multicolumn{{{len(panel)}}}{{@{{}}l@{{}}}}{{\textit{{{named}}}}} \\*"]
        lines += [_row(row, columns, panel) for row in part.rows]
        if part.last:
            lines += [r"\midrule" if part.name is None and part.rows else r"\addlinespace[2pt]"] if part.rows else []
            lines += [_row(row, columns, panel) for row in part.last]
    if not any(part.rows or part.last for part in parts):
        lines.append(rf"\multicolumn{{{len(panel)}}}{{@{{}}l@{{}}}}{{(no rows)}} \\")
    return lines


def _row(row: Sequence[str], columns: Sequence[TableColumn], panel: Sequence[int]) -> str:
    def one(i: int) -> str:
        if columns[i].kind not in NUMERIC:
            return latex(row[i])
        return f"$-${row[i][1:]}" if len(row[i]) > 1 and row[i].startswith("-") else row[i]

    return " & ".join(one(i) for i in panel) + r" \\"


def _caption(table: Table, i: int, n_panels: int) -> str:
    title, about = latex(one_line(table.title)), latex(one_line(table.about))
    of = f" Panel {i + 1} of {n_panels}." if n_panels > 1 else ""
    if i:  # the same table goes on
        return rf"\caption[{{{title}, panel {i + 1}}}]{{\textbf{{{title}.}}{of}}}"
    return rf"\caption[{{{title}}}]{{\textbf{{{title}.}}{of} {about}}}\label{{tab:{table.name}}}"


def _on_one_page(
    table: Table, columns: Sequence[TableColumn], parts: Sequence[Block], layout: Layout, i: int, notes: str
) -> str:
    panel, last = layout.panels[i], i == len(layout.panels) - 1
    # On turned pages nothing floats: pdflscape turns only the pages that it sees.
    fixed = (r"\par\noindent\begin{minipage}{\linewidth}", r"\makeatletter\def\@captype{table}\makeatother")
    begin = fixed if layout.turned else (r"\begin{table}[htbp]",)
    below = rf"\par\medskip\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}"
    lines = [
        *begin,
        *([r"\addtocounter{table}{-1}"] if i else []),
        r"\centering",
        _caption(table, i, len(layout.panels)),
        r"\par\medskip",
        rf"\{layout.size}\setlength{{\tabcolsep}}{{0.45em}}",
        rf"\begin{{tabular}}{{{_specification(columns, layout, panel)}}}",
        r"\toprule",
        _heads(columns, layout, panel),
        r"\midrule",
        *_rows(table, columns, parts, panel),
        r"\bottomrule",
        r"\end{tabular}",
        *([below] if last else []),
        r"\end{minipage}\par\bigskip\bigskip" if layout.turned else r"\end{table}",
    ]
    return "\n".join(lines)


def _longtable(
    table: Table, columns: Sequence[TableColumn], parts: Sequence[Block], layout: Layout, i: int, notes: str
) -> str:
    panel, last = layout.panels[i], i == len(layout.panels) - 1
    heads, whole = _heads(columns, layout, panel), rf"\multicolumn{{{len(panel)}}}"
    lines = [
        rf"\begingroup\{layout.size}\setlength{{\LTcapwidth}}{{\linewidth}}\setlength{{\tabcolsep}}{{0.45em}}",
        *([r"\addtocounter{table}{-1}"] if i else []),
        rf"\begin{{longtable}}{{{_specification(columns, layout, panel)}}}",
        rf"{_caption(table, i, len(layout.panels))} \\",
        *(r"\toprule", heads, r"\midrule", r"\endfirsthead"),
        rf"{whole}{{@{{}}l@{{}}}}{{Table \thetable, continued}} \\",
        *(r"\toprule", heads, r"\midrule", r"\endhead", r"\midrule"),
        rf"{whole}{{@{{}}r@{{}}}}{{continued on the next page}} \\",
        *(r"\endfoot", r"\bottomrule", r"\endlastfoot"),
        *_rows(table, columns, parts, panel),
        r"\end{longtable}",
        r"\endgroup",
        *([rf"\begingroup\footnotesize\noindent {notes}\par\endgroup"] if last else []),
    ]
    return "\n".join(lines)
