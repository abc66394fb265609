"""Bars of a composition: every cell in one segment, few segments, and bars that can be read for one group or two hundred."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from celljury.report.figure_composition import MAX_GROUPS, composition_drawing
from celljury.report.figure_stack import (
    LABELS,
    OTHER,
    OTHER_TERMS,
    UNRESOLVED,
    UNSEEN,
    counts_by_place,
    look_of,
    stack_of,
)

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.report.figure_style import Drawing

B, CD4, NEURON = "CL:0000236", "CL:0000624", "CL:0000540"


def rows_of(counts: dict[tuple[str, int], int]) -> pd.DataFrame:
    return pd.DataFrame(
        [(group, place, f"term {place}", n) for (group, place), n in counts.items()],
        columns=["group", "place", "label", "n_cells"],
    )


def drawn(counts: dict[tuple[str, int], int], groups: tuple[str, ...]) -> Drawing:
    by = None if groups == ("",) else "donor"
    found = composition_drawing(rows_of(counts), groups, name="x", level="cell classes", by=by, source="CL of a day.")
    assert found is not None
    return found


# What is stacked ------------------------------------------------------------------------------------------------------


def test_stack_by_hand() -> None:
    counts = {("a", 7): 5, ("a", 3): 2, ("a", -2): 1, ("b", 7): 1, ("b", -1): 4, ("b", -3): 2, ("b", -9): 3}
    stack = stack_of(rows_of(counts), ("a", "b"))
    assert stack.places == (7, 3, OTHER, UNRESOLVED, UNSEEN)
    assert stack.counts.tolist() == [[5, 2, 0, 1, 0], [1, 0, 4, 0, 5]], "unseen under a node is unseen"
    assert stack.labels == ("term 7", "term 3", LABELS[OTHER], "unresolved", "unseen")


def test_terms_beyond_twelve_are_one_segment() -> None:
    counts = {("", place): 100 - place for place in range(20)}
    stack = stack_of(rows_of(counts), ("",))
    assert stack.places == (*range(12), OTHER_TERMS)
    assert stack.labels[-1] == "8 other terms"
    assert stack.counts[0, -1] == sum(100 - place for place in range(12, 20))


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.one_of(st.integers(0, 40), st.integers(-8, -1))),
        st.integers(0, 1000),
        min_size=1,
    )
)
def test_no_cell_is_lost_or_counted_twice(counts: dict[tuple[str, int], int]) -> None:
    stack = stack_of(rows_of(counts), ("a", "b", "c"))
    for i, group in enumerate("abc"):
        assert stack.sizes[i] == sum(n for (own, _), n in counts.items() if own == group)
    assert counts_by_place(rows_of(counts)) == {
        place: n
        for place in {place for _, place in counts}
        if (n := sum(m for (_, own), m in counts.items() if own == place))
    }


def test_what_is_no_term_is_told_apart_without_colour() -> None:
    hatches = [look_of(place, 0).hatch for place in LABELS]
    assert None not in hatches
    assert len(set(hatches)) == len(LABELS)
    assert all(look_of(5, rank).hatch is None and look_of(5, rank).sign == str(rank + 1) for rank in range(12))


# Drawn ----------------------------------------------------------------------------------------------------------------


def bars_of(drawing: Drawing) -> list[list[float]]:
    """Widths of the segments of each bar, from the top."""
    found: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for patch in drawing.figure.axes[0].patches:
        assert isinstance(patch, Rectangle)
        if round(patch.get_width(), 6) != 0.26:  # those of the key
            found.setdefault((round(patch.get_y(), 4), 0), []).append((patch.get_x(), patch.get_width()))
    return [[width for _, width in sorted(found[at])] for at in sorted(found)]


def test_segments_are_the_shares_of_the_calls(make_run: Any, cl: CellOntology) -> None:
    rows = [[B] * 3] * 6 + [[CD4] * 3] * 3 + [[B, NEURON, NEURON]] * 1
    run = make_run(rows)
    calls = pd.read_parquet(run.calls_path)
    term = calls["term"].astype(object)
    counts = {("", cl.index(i)): int(n) for i, n in term.value_counts().items()}
    counts["", -2] = int(term.isna().sum())
    drawing = drawn(counts, ("",))
    (widths,) = bars_of(drawing)
    np.testing.assert_allclose(np.array(widths) / sum(widths), [0.6, 0.3, 0.1])
    said = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "6  (60 %)" in said
    assert "1  (10 %)" in said
    assert "n = 10 cells. CL of a day." in said
    assert drawing.title == "Composition of all cells: cell classes"
    assert "unresolved 10 % (1)" in drawing.alt


def test_every_bar_is_whole_and_says_its_cells() -> None:
    counts = {("a", 1): 30, ("a", 2): 10, ("b", 1): 1, ("b", -2): 3}
    drawing = drawn(counts, ("a", "b", "(none)"))
    widths = bars_of(drawing)
    assert sum(widths[0]) == pytest.approx(sum(widths[1]))
    np.testing.assert_allclose(np.array(widths[0]) / sum(widths[0]), [0.75, 0.25])
    np.testing.assert_allclose(np.array(widths[1]) / sum(widths[1]), [0.25, 0.75])
    said = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert [said[said.index(name) + 1] for name in ("a", "b", "(none)")] == ["40", "4", "0"]
    assert "no cells" in said
    assert "donor" in drawing.title


@pytest.mark.parametrize("n", [1, 12, 45, 46, 100, 101, 200, MAX_GROUPS + 30])
def test_many_groups_can_be_read(n: int) -> None:
    groups = tuple(f"patient {i:03d} of a study, tumour" for i in range(n))
    rng = np.random.default_rng(0)
    counts = {(group, place): int(rng.integers(1, 900)) for group in groups for place in (*range(15), -1, -2, -3)}
    drawing = drawn(counts, groups)
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    texts = [text for text in drawing.figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    page = drawing.figure.bbox
    assert drawing.figure.get_size_inches()[0] <= 7.2
    assert drawing.figure.get_size_inches()[1] <= 13
    assert min(text.get_fontsize() for text in texts) >= 5
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)
    names = [
        (text, box)
        for text, box in zip(texts, boxes, strict=True)
        if (text.get_ha() == "right" and "…" in text.get_text()) or text.get_text() in groups
    ]
    for (one, a), (other, b) in pairwise(names):
        apart = a.y0 - b.y1 if one.get_position()[0] == other.get_position()[0] else 1
        assert apart > -0.3 * a.height, f"{one.get_text()} and {other.get_text()} overlap"
    sizes = sum(counts.values())
    assert f"n = {sizes:,} cells in {n:,} group{'s' * (n > 1)}. CL of a day." in [text.get_text() for text in texts]
    if n > MAX_GROUPS:
        assert len(bars_of(drawing)) <= MAX_GROUPS


def test_groups_beyond_the_page_are_one_bar_with_all_their_cells() -> None:
    groups = tuple(f"g{i:03d}" for i in range(MAX_GROUPS + 10))
    drawing = drawn({(group, 0): 1 + i for i, group in enumerate(groups)}, groups)
    said = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert said[said.index("11 smaller groups") + 1] == str(sum(range(1, 12)))


def test_no_cells_is_not_drawn() -> None:
    assert composition_drawing(rows_of({("", 3): 0}), ("",), name="x", level="l", by=None, source="") is None
