"""Where the members stand, as a drawing: the path down the ontology, the proposed term, and every vote under its term.

SVG without style attributes and scripts, so that the strictest content policy shows it. What it shows it also says, in
``title`` and ``desc``; two camps differ in colour, in shape and by a letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celljury.markup import Html, el
from celljury.review.layers import Layering, edges_among, layered, levels_between
from celljury.review.lettering import FONT, shortened, text_width, wrapped
from celljury.review.standing import Standing, drawn_terms, notes, share_text, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celljury.ontology.graph import CellOntology

INK, MUTED, LINE, ACCENT, PAPER, TRAY = "#1d2733", "#5b6773", "#7b8794", "#0b6e99", "#ffffff", "#eef1f4"
EDGE_OF_NODE = "#c4cad1"
# Orange and violet differ in lightness as well as in hue, for every kind of colour vision.
CAMPS = (("A", "#b84f14"), ("B", "#5b3fa3"))
OTHER = "#5b6773"

NEW = -2
"""Stands for the dashed node of an unseen call among ontology indices."""

LABEL, SMALL, LEVELS, BADGE = 12.0, 10.5, 10.0, 9.0
LABEL_LINES = 4
LABEL_STEP, SMALL_STEP, CHIP_STEP, CHIP = 14.5, 13.0, 19.0, 16.0
PAD = 8.0
BETWEEN, WITH_LEVELS = 26.0, 40.0


def ontology_drawing(
    ontology: CellOntology,
    *,
    term: int,
    status: str,
    top_term: int,
    candidates: Sequence[int],
    votes: Mapping[str, int],
    shares: Mapping[str, float],
    n_votes: int,
    support: float,
    threshold: float | None = None,
    width: float = 600,
    name: str = "path",
) -> Html:
    """Return the part of the ontology that an item's votes and call span, as SVG.

    Parameters
    ----------
    term, status, top_term, votes, shares, n_votes, support, threshold
        As in `Standing`.
    candidates
        The item's candidates as indices; the first two are the camps, further ones are drawn but have no colour.
    width
        Of the drawing; its own units are as large as pixels where all fits, else it is drawn smaller.
    name
        Begins the ids of its title and description; another one for each drawing of a page.
    """
    standing = Standing(
        term, status, top_term, tuple(t for t in candidates[:2] if t >= 0), votes, shares, n_votes, support, threshold
    )
    terms = drawn_terms(ontology, standing, [t for t in candidates if t >= 0])
    edges = edges_among(terms, ontology)
    if status == "unseen":
        edges += [(term, NEW)] if term >= 0 else []
        terms = [*terms, NEW]
    drawing = _Drawing(ontology, standing, layered(terms, edges, width=width), edges)
    marks, height = drawing.marks()
    said = (
        el("title", "Where the members stand", id=f"{name}-title"),
        el("desc", words(ontology, standing), id=f"{name}-desc"),
    )
    return el(
        "svg", *said, *marks, viewBox=f"0 0 {_n(drawing.width)} {_n(height)}", width=_n(width),
        height=_n(height * width / drawing.width), role="img", aria_labelledby=f"{name}-title", aria_describedby=f"{name}-desc",
        font_family=FONT, class_="ontology-path",
    )  # fmt: skip


def _n(value: float) -> str:
    """Return a coordinate: one digit is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


# Marks ----------------------------------------------------------------------------------------------------------------


class _Drawing:
    """The marks of one drawing; boxes first, since their heights decide where the layers are."""

    def __init__(
        self, ontology: CellOntology, standing: Standing, places: Layering, edges: Sequence[tuple[int, int]]
    ) -> None:
        self.ontology, self.standing, self.places, self.edges = ontology, standing, places, edges
        # Lines of half a pixel beside the border are not cut off.
        self.width = places.width + 2
        self.proposed = NEW if standing.status == "unseen" else standing.term
        self.texts = {node: self._texts(node) for node in places.layer}
        self.skipped = {edge: levels_between(*edge, ontology) for edge in edges if edge[1] != NEW}
        self.top, self.bottom = self._layers()

    def _room(self, node: int) -> float:
        return self.places.node_width[self.places.layer[node]]

    def _texts(self, node: int) -> tuple[list[str], list[str]]:
        """Return the lines of a node's name and the smaller ones below it."""
        room, standing = self._room(node) - 2 * PAD, self.standing
        bold = node == self.proposed
        if node == NEW:
            under = (
                f"unseen under {self.ontology.labels[standing.term]}" if standing.term >= 0 else "unseen, near no type"
            )
            return wrapped(under, room, LABEL, lines=LABEL_LINES, bold=bold), []
        facts = [self.ontology.ids[node]]
        votes = [t for t in standing.votes.values() if t >= 0]
        below = sum(bool(self.ontology.is_ancestor(node, t)) for t in votes)
        if 0 < below and (below < len(votes) or node == standing.term or standing.members(node)):
            facts.append(f"{below} of {standing.n_votes} votes")
        if node == self.proposed:
            facts.append(share_text(standing.support, "support ", threshold=standing.threshold))
        small: list[str] = []
        for fact in filter(None, facts):
            if small and text_width(f"{small[-1]} · {fact}", SMALL) <= room:
                small[-1] += f" · {fact}"
            else:
                small.append(shortened(fact, room, SMALL))
        return wrapped(self.ontology.labels[node], room, LABEL, lines=LABEL_LINES, bold=bold), small

    def _box_height(self, node: int) -> float:
        names, small = self.texts[node]
        return 2 * PAD - 3 + LABEL_STEP * len(names) + SMALL_STEP * len(small)

    def _tray_height(self, node: int) -> float:
        chips = len(self.standing.members(node)) if node >= 0 else 0
        return CHIP_STEP * chips + 5 if chips else 0.0

    def _layers(self) -> tuple[list[float], float]:
        """Return where each layer begins and where the last one ends."""
        tops: list[float] = []
        y = 1.0
        for layer in range(len(self.places.node_width)):
            own = [node for node, at in self.places.layer.items() if at == layer]
            told = any(self._levels_above(node) for node in own)
            y += (WITH_LEVELS if told else BETWEEN) if layer else (20.0 if told else 0.0)
            tops.append(y)
            y += max(self._box_height(node) + self._tray_height(node) for node in own)
        return tops, y

    def _levels_above(self, node: int) -> str:
        """Return what is left out just above a node, as long as there is room for."""
        if node == NEW:
            return ""
        parents = sorted((upper for upper, lower in self.edges if lower == node), key=lambda p: self.places.x[p])
        if not parents:
            depth = int(self.ontology.depth[node])
            if not depth:
                return ""
            texts = [f"{depth} {_levels(depth)} below the root", f"{depth} below root"]
        else:
            skipped = [self.skipped[parent, node] for parent in parents]
            most = max(skipped)
            if not most:
                return ""
            each = " / ".join(map(str, skipped))
            texts = [f"{each} more {_levels(most)}", f"{min(skipped)}-{most} more"]
        return next((text for text in texts if text_width(text, LEVELS) <= self._room(node)), texts[-1])

    def marks(self) -> tuple[list[Html], float]:
        """Return all marks and the height that they take."""
        nodes = sorted(self.places.layer)
        drawn = [self._edge(*edge) for edge in self.edges]
        for node in nodes:
            drawn += [*self._levels(node), self._box(node), *self._tray(node)]
        legend, height = self._legend(self.bottom + 14)
        return [*drawn, *legend], height

    def _x(self, node: int) -> float:
        return self.places.x[node] + 1

    def _edge(self, upper: int, lower: int) -> Html:
        layer = self.places.layer
        lanes = self.places.lanes.get((upper, lower), {})
        x, y = self._x(upper), self.top[layer[upper]] + self._box_height(upper) + self._tray_height(upper)
        path = f"M{_n(x)} {_n(y)}"
        for at in range(layer[upper] + 1, layer[lower] + 1):
            # Straight through the layer above, so that a curve never runs beside a taller node of it.
            start = self._end_of_layer(at - 1)
            goal = lanes.get(at, self.places.x[lower]) + 1
            middle = (start + self.top[at]) / 2
            path += f" V{_n(start)} C{_n(x)} {_n(middle)} {_n(goal)} {_n(middle)} {_n(goal)} {_n(self.top[at])}"
            x = goal
        camp = self.standing.camp(lower, self.ontology) if len(self.standing.camps) == 2 and lower >= 0 else None
        colour = LINE if camp is None else CAMPS[camp][1]
        return el(
            "path", d=path, fill="none", stroke=ACCENT if lower == NEW else colour, stroke_width=1.5 if camp is None else 2.5,
            stroke_dasharray="4 3" if lower == NEW else None, class_="edge",
        )  # fmt: skip

    def _end_of_layer(self, layer: int) -> float:
        own = [node for node, at in self.places.layer.items() if at == layer]
        return self.top[layer] + max(self._box_height(node) + self._tray_height(node) for node in own)

    def _levels(self, node: int) -> list[Html]:
        if not (text := self._levels_above(node)):
            return []
        x, y = self._x(node), self.top[self.places.layer[node]] - 7
        half = text_width(text, LEVELS) / 2
        return [
            # The line stops for its text.
            el("rect", x=_n(x - half), y=_n(y - 10), width=_n(2 * half), height=16, fill=PAPER, class_="levels"),
            el("text", text, x=_n(x), y=_n(y), text_anchor="middle", font_size=LEVELS, fill=MUTED),
        ]

    def _box(self, node: int) -> Html:
        names, small = self.texts[node]
        room = self._room(node)
        left, top = self._x(node) - room / 2, self.top[self.places.layer[node]]
        proposed, dashed = node == self.proposed, node == NEW
        ink = PAPER if proposed and not dashed else ACCENT if dashed else INK
        quiet = PAPER if proposed and not dashed else MUTED
        fill = "#e7f1f6" if dashed else ACCENT if proposed else PAPER
        x, y = left + PAD, top + PAD + 9
        lines = []
        for i, line in enumerate(names):
            weight = 600 if proposed else None
            lines.append(
                el("text", line, x=_n(x), y=_n(y + i * LABEL_STEP), font_size=LABEL, fill=ink, font_weight=weight)
            )
        y += LABEL_STEP * len(names) - 1.5
        lines += [
            el("text", line, x=_n(x), y=_n(y + i * SMALL_STEP), font_size=SMALL, fill=quiet)
            for i, line in enumerate(small)
        ]
        rect = el(
            "rect", x=_n(left), y=_n(top), width=_n(room), height=_n(self._box_height(node)), rx=6, fill=fill,
            stroke=ACCENT if proposed else EDGE_OF_NODE, stroke_dasharray="4 3" if dashed else None,
            stroke_width=1.5 if dashed else None, class_="proposed" if proposed else "term",
        )  # fmt: skip
        whole = "" if node == NEW else f"{self.ontology.labels[node]} ({self.ontology.ids[node]})"
        return el("g", *((el("title", whole),) if whole else ()), rect, *lines)

    def _tray(self, node: int) -> list[Html]:
        if node < 0 or not (members := self.standing.members(node)):
            return []
        room = self._room(node)
        left = self._x(node) - room / 2
        top = self.top[self.places.layer[node]] + self._box_height(node)
        tray = el(
            "rect", x=_n(left + 4), y=_n(top), width=_n(room - 8), height=_n(self._tray_height(node)), rx=4, fill=TRAY,
            class_="tray",
        )  # fmt: skip
        chips = [self._chip(name, node, left + 8, top + 3 + i * CHIP_STEP, room - 16) for i, name in enumerate(members)]
        return [tray, *chips]

    def _chip(self, member: str, node: int, left: float, top: float, room: float) -> Html:
        camp = self.standing.camp(node, self.ontology)
        share = self.standing.shares.get(member)
        number = share_text(share, "")
        taken = text_width(number, SMALL) + 24
        said = f"{member}: {self.ontology.labels[node]}" + (
            f", {number} of its probability at or below the call" if number else ""
        )
        middle = top + CHIP / 2
        y = _n(middle + 3.7)
        return el(
            "g",
            el("title", said),
            el("rect", x=_n(left), y=_n(top), width=_n(room), height=CHIP, rx=8, fill=PAPER, class_="chip"),
            *badge(left + 8, middle, camp),
            el("text", shortened(member, room - taken - 4, SMALL), x=_n(left + 18), y=y, font_size=SMALL, fill=INK),
            *((el("text", number, x=_n(left + room - 6), y=y, font_size=SMALL, fill=MUTED, text_anchor="end"),)
              if number else ()),
        )  # fmt: skip

    def _legend(self, top: float) -> tuple[list[Html], float]:
        standing = self.standing
        rows: list[tuple[int | None, str]] = []
        camps = [standing.camp(t, self.ontology) for t in standing.votes.values() if t >= 0]
        for i, term in enumerate(standing.camps):
            rows.append((i, f"camp of {self.ontology.labels[term]}: {camps.count(i)} of {standing.n_votes} votes"))
        if camps.count(None) and standing.camps:
            rows.append((None, f"in neither camp: {camps.count(None)} of {standing.n_votes} votes"))
        drawn, y = [], top
        for camp, text in rows:
            drawn += badge(8, y, camp)
            drawn.append(self._line(text, 20, y + 3.7))
            y += 17
        none = standing.members(-1)
        for text in (*notes(self.ontology, standing), *((f"No vote: {', '.join(none)}",) if none else ()),
                     *(("No term is proposed.",) if standing.term < 0 and standing.status != "unseen" else ())):  # fmt: skip
            drawn.append(self._line(text, 1, y + 3.7))
            y += 17
        return drawn, y - 4 if drawn else self.bottom + 2

    def _line(self, text: str, x: float, y: float) -> Html:
        short = shortened(text, self.width - x - 2, SMALL)
        return el(
            "text", *((el("title", text),) if short != text else ()), short, x=_n(x), y=_n(y), font_size=SMALL, fill=MUTED,
            class_="note",
        )  # fmt: skip


def _levels(n: int) -> str:
    return "level" if n == 1 else "levels"


def badge(x: float, y: float, camp: int | None) -> list[Html]:
    """Return the sign of a camp: a disc with A, a square with B, a ring where there is none."""
    if camp is None:
        return [el("circle", cx=_n(x), cy=_n(y), r=4, fill="none", stroke=OTHER, stroke_width=1.5)]
    letter, colour = CAMPS[camp]
    shape = (
        el("circle", cx=_n(x), cy=_n(y), r=6.5, fill=colour)
        if camp == 0
        else el("rect", x=_n(x - 6), y=_n(y - 6), width=12, height=12, rx=1.5, fill=colour, class_="badge")
    )
    at = {"x": _n(x), "y": _n(y + 3.3), "text_anchor": "middle", "font_size": BADGE, "font_weight": 700, "fill": PAPER}
    return [shape, el("text", letter, **at)]
