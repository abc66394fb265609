"""An item as the screen shows it: what its cells, votes and history say, filled into a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from celljury.review.dots import DotRow
from celljury.review.drawing import ontology_drawing
from celljury.review.filters import REASON_ORDER, in_words
from celljury.review.texts import call_name, label_of, what_splits
from celljury.review.views import MemberRow, SampleRow, SplitWay, Stat, TermName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.markup import Html
    from celljury.ontology.graph import CellOntology
    from celljury.review.pack import Pack

MOST_CANDIDATES: Final = 9  # keys 1 to 9
MOST_DOT_TERMS: Final = 4
MOST_GENES: Final = 14
GENES_A_TERM: Final = 4
MOST_SAMPLES: Final = 30


def votes_of(pack: Pack, at: int) -> dict[str, str]:
    """Return who voted for what in an item, term id by member; who did not vote is not there."""
    said = str(pack.items["votes"].iat[at])
    pairs = (vote.rpartition("=") for vote in said.split(";") if vote)
    return {name: term for name, _, term in pairs}


def candidates_of(pack: Pack, at: int) -> tuple[TermName, ...]:
    """Return what an item may be called instead: its candidates, then the other terms that members voted for."""
    item, ontology = pack.items.iloc[at], pack.ontology
    camps = [camp for camp in (item["camp_a"], item["camp_b"]) if camp]
    votes = list(votes_of(pack, at).values())
    ids = dict.fromkeys([*filter(None, str(item["candidates"]).split(";")), *votes, item["top_term"]])
    call = item["term"] if item["status"] != "unseen" else ""
    found = []
    for term in ids:
        if term and term != call:
            n = votes.count(term)
            hint = f"{n} of {len(votes)} votes" if n else "largest camp" if term in camps else "kind of both camps"
            found.append(TermName(term, label_of(term, ontology), hint))
    return tuple(found[:MOST_CANDIDATES])


def parents_of(term: str, ontology: CellOntology) -> tuple[TermName, ...]:
    """Return the direct parents of a term, most specific first."""
    rows = ontology.parents(ontology.index(term)).tolist() if term else []
    return tuple(TermName(ontology.ids[i], ontology.labels[i]) for i in rows)


def path_of(pack: Pack, at: int, rows: NDArray[np.int64]) -> Html:
    """Return the drawing of where the members stand, with their support over ``rows``."""
    item, ontology = pack.items.iloc[at], pack.ontology
    index = {
        term: ontology.index(term) for term in {*votes_of(pack, at).values(), item["term"], item["top_term"]} if term
    }
    means = _mean(np.asarray(pack.support[rows], np.float64))
    return ontology_drawing(
        ontology,
        term=index.get(item["term"], -1),
        status=str(item["status"]),
        top_term=index.get(item["top_term"], -1),
        candidates=[ontology.index(term) for term in (item["camp_a"], item["camp_b"]) if term],
        votes={name: index[term] for name, term in votes_of(pack, at).items()},
        shares=dict(zip(pack.about["members"], means.tolist(), strict=True)),
        n_votes=int(item["n_votes"]),
        support=float(item["support"]),
        width=600,
    )


def dots_of(pack: Pack, at: int) -> tuple[list[DotRow], list[str]]:
    """Return an item's rows of marker dots and those of the reference's candidate types, and the genes.

    Both are empty where nothing is known of genes.
    """
    known = {term: i for i, term in enumerate(pack.terms)}
    votes = votes_of(pack, at).values()
    item = pack.items.iloc[at]
    wanted = dict.fromkeys([item["camp_a"], item["camp_b"], item["top_term"], item["term"], *votes])
    terms = [term for term in wanted if term in known][:MOST_DOT_TERMS]
    column = {gene: i for i, gene in enumerate(pack.genes)}
    each = max(GENES_A_TERM, MOST_GENES // max(len(terms), 1))
    genes = dict.fromkeys(gene for term in terms for gene in pack.term_genes.get(term, ())[:each] if gene in column)
    shown = list(genes)[:MOST_GENES]
    if not shown or pack.about["no_genes"]:
        return [], []
    at_genes = [column[gene] for gene in shown]
    rows = [DotRow("this item", pack.item_share[at, at_genes], pack.item_mean[at, at_genes], "item")]
    for term in terms:
        i, label = known[term], label_of(term, pack.ontology)
        rows.append(DotRow(label, pack.term_share[i, at_genes], pack.term_mean[i, at_genes], "reference"))
    return rows, shown


def members_of(pack: Pack, at: int, rows: NDArray[np.int64]) -> tuple[MemberRow, ...]:
    """Return each member's vote and support of the call over ``rows``, in the jury's order."""
    votes = votes_of(pack, at)
    support = np.asarray(pack.support[rows], np.float64)
    means = _mean(support)
    found = []
    for j, name in enumerate(pack.about["members"]):
        known = support[:, j][np.isfinite(support[:, j])]
        found.append(
            MemberRow(
                name=name,
                term=votes.get(name, ""),
                label=label_of(votes.get(name, ""), pack.ontology) or "no vote",
                mean=f"{means[j]:.2f}" if known.size else "-",
                spread=f"{known.min():.2f} to {known.max():.2f}" if known.size > 1 else "",
                share=float(means[j]) if known.size else -1.0,
            )
        )
    return tuple(found)


def samples_of(pack: Pack, rows: NDArray[np.int64]) -> tuple[SampleRow, ...]:
    """Return the samples that cells come from, most cells first."""
    names, totals = pack.about["samples"], pack.about.get("sample_cells")
    n_cells = np.bincount(np.asarray(pack.batch[rows]), minlength=len(names))
    order = [int(i) for i in np.argsort(-n_cells, kind="stable") if n_cells[i]]
    return tuple(
        SampleRow(
            name=names[i],
            n_cells=int(n_cells[i]),
            of_item=_percent(n_cells[i] / len(rows)),
            of_sample=_percent(n_cells[i] / totals[i]) if totals and totals[i] else "",
        )
        for i in order
    )


def stats_of(pack: Pack, at: int) -> tuple[Stat, ...]:
    """Return the numbers in an item's head."""
    item, ontology = pack.items.iloc[at], pack.ontology
    n_votes, top = int(item["n_votes"]), item["top_term"]
    deep = f"depth (top vote {ontology.depth[ontology.index(top)]})" if top else "depth"
    camp = round(float(item["size_a"]) * n_votes) if n_votes and np.isfinite(item["size_a"]) else 0
    support, p_seen = float(item["support"]), float(item["p_seen"])
    return (
        Stat(f"{support:.2f}" if np.isfinite(support) else "-", "support"),
        Stat(f"{camp} / {n_votes}", "votes in the largest camp"),
        Stat(str(int(item["depth"])), deep),
        Stat(
            f"{p_seen:.2f}" if np.isfinite(p_seen) else "-",
            "p that it belongs" if np.isfinite(p_seen) else "p: not tested",
        ),
    )


def splits_of(pack: Pack, part_id: str, rows: NDArray[np.int64]) -> tuple[SplitWay, ...]:
    """Return the splits that give two parts with cells."""
    found = []
    for by in pack.splits(part_id):
        n_second = int(np.count_nonzero(pack.sides(rows, by)))
        found.append(SplitWay(by, what_splits(by), len(rows) - n_second, n_second))
    return tuple(found)


def reasons_of(pack: Pack, at: int) -> tuple[str, ...]:
    """Return an item's reason codes, what makes the label moot first."""
    have = set(str(pack.items["reasons"].iat[at]).split(";"))
    return tuple(code for code in REASON_ORDER if code in have)


def why_of(pack: Pack, at: int) -> str:
    """Return why an item is here in a few words: its first reason, and who stands against whom."""
    codes, item, ontology = reasons_of(pack, at), pack.items.iloc[at], pack.ontology
    first = in_words(codes[0]) if codes else "needs review"
    camps = [label_of(camp, ontology) for camp in (item["camp_a"], item["camp_b"]) if camp]
    if len(camps) == 2:
        return f"{first} · {' / '.join(camps)}"
    top = item["top_term"]
    return f"{first} · {label_of(top, ontology)}" if top and top != item["term"] else first


def name_of(pack: Pack, at: int) -> str:
    """Return an item's call as its heading."""
    item = pack.items.iloc[at]
    return call_name(str(item["label"]), str(item["status"]))


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of what is known in each column, NaN where nothing is."""
    known = np.isfinite(values)
    n = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
