"""The one script of a report: the heads of its tables become buttons that sort the rows.

Without it a page holds the same, in the order in which it was written. It only moves rows that are there: it writes no
text and asks for nothing, so no label of a run can make it do anything else.
"""

from __future__ import annotations

from typing import Final

SORT: Final = """
"use strict";
{
  const words = new Intl.Collator("en", {numeric: true});
  const valueOf = (cell) => {
    const number = cell.querySelector("data");
    if (number) return Number(number.value);
    const text = cell.textContent.trim();
    return text === "-" || text === "" ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : words.compare(String(a), String(b));

  const sort = (heads, bodies, column, way) => {
    for (const {body, rows, first, last} of bodies) {
      const valued = rows.map((row) => ({row, value: valueOf(row.cells[column])}));
      // Sorting keeps the order of equals; rows without a value stand last either way.
      const known = valued.filter((one) => one.value !== null);
      const none = valued.filter((one) => one.value === null);
      if (way) known.sort((a, b) => (way === "ascending" ? 1 : -1) * compare(a.value, b.value));
      const order = way ? [...known, ...none] : valued;
      body.append(...first, ...order.map((one) => one.row), ...last);
    }
    heads.forEach((head, at) => {
      if (at === column && way) head.setAttribute("aria-sort", way);
      else head.removeAttribute("aria-sort");
    });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const bodies = [...table.tBodies].map((body) => {
      const all = [...body.rows];
      return {
        body,
        first: all.filter((row) => row.classList.contains("block")),
        rows: all.filter((row) => !row.classList.contains("block") && !row.classList.contains("total")),
        last: all.filter((row) => row.classList.contains("total")),
      };
    });
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      // Numbers are mostly looked at from the largest, words from A.
      const ways = head.classList.contains("n") ? ["descending", "ascending"] : ["ascending", "descending"];
      button.addEventListener("click", () => {
        const now = ways.indexOf(head.getAttribute("aria-sort"));
        sort(heads, bodies, column, now < 0 ? ways[0] : now === 0 ? ways[1] : null);
      });
    });
  }
  document.documentElement.dataset.sortable = "yes";
}
"""
"""Click or Enter on a head: first way, second way, as written; equal rows stay in order, totals stay last."""
