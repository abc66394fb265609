"""The quick start: fit on half of a small real data set that ships with scanpy, annotate the other half."""

from __future__ import annotations

import shutil
import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from celljury.api import annotate, fit
from celljury.provenance import make_folder, now, write_json
from celljury.report.make import make_report

if TYPE_CHECKING:
    from celljury.config import Config
    from celljury.jury import Jury
    from celljury.progress import Progress
    from celljury.run import Run


LABELS = "bulk_labels"
LEFT_OUT = "CD34+"
SEED = 0
NOTE = (
    "The data: 700 blood cells of one donor (10x Genomics 68k PBMC, as scanpy ships them), labelled by the nearest bulk"
    " profile. A logistic regression trained on half of them gets 0.83 of the other half: this demonstrates, it proves"
    " nothing."
)


def demo_map() -> Path:
    """Return the label map of the demo's data, which ships with celljury."""
    return Path(str(files("celljury.data").joinpath("pbmc68k_reduced.sssom.tsv")))


def demo_halves() -> tuple[Any, Any]:
    """Return (reference, query): a stratified half each, the reference without its CD34+ cells; counts in ``X``."""
    import anndata as ad
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old file: anndata and scanpy say so in several ways
        shipped = sc.datasets.pbmc68k_reduced()
    raw = csr_matrix(shipped.raw.X, dtype=np.float64)
    obs = pd.DataFrame({LABELS: shipped.obs[LABELS].astype(str)}, index=shipped.obs_names.astype(str))
    var = pd.DataFrame(index=shipped.raw.var_names.astype(str))
    cells = ad.AnnData(recover_counts(raw), obs=obs, var=var)
    rng = np.random.default_rng(SEED)
    order = rng.permutation(cells.n_obs)
    rank = pd.Series(order, index=obs.index).groupby(obs[LABELS]).rank().to_numpy()
    size = obs[LABELS].map(obs[LABELS].value_counts()).to_numpy()
    first = rank <= size // 2
    reference = cells[first & (obs[LABELS] != LEFT_OUT).to_numpy()].copy()
    return reference, cells[~first].copy()


def recover_counts(normalized: csr_matrix) -> csr_matrix:
    """Return the counts behind log1p counts per 10,000, CSR float32, same shape.

    The smallest value of a cell is one count, so total = 1e4 / min(expm1(row)) and count = expm1(x) total / 1e4.
    """
    scaled = normalized.copy()
    scaled.data = np.expm1(scaled.data)
    smallest = np.minimum.reduceat(scaled.data, scaled.indptr[:-1])
    counts = np.rint(scaled.data / np.repeat(smallest, np.diff(scaled.indptr)))
    return csr_matrix((counts.astype(np.float32), scaled.indices, scaled.indptr), shape=scaled.shape)


def run_demo(out: Path, *, config: Config, overwrite: bool, progress: Progress) -> tuple[Jury, Run]:
    """Fit, annotate and report; the jury in ``out/jury``, the run in ``out/run``, halves and label map beside them."""
    make_folder(out, owned="demo.json", overwrite=overwrite)
    # First of all: after an interrupt the folder is known as the demo's, and --overwrite may replace it.
    write_json(out / "demo.json", {"made": now()})
    reference, query = demo_halves()
    reference.write_h5ad(out / "reference.h5ad")
    shutil.copyfile(demo_map(), out / "labels.sssom.tsv")
    jury = fit(
        out / "reference.h5ad", labels=LABELS, label_map=demo_map(), out=out / "jury", config=config, progress=progress
    )
    partial = out / "query.partial.h5ad"
    query.write_h5ad(partial)
    partial.replace(out / "query.h5ad")
    run = annotate(out / "query.h5ad", jury, out=out / "run", config=config, progress=progress)
    make_report(run, progress=progress)
    return jury, run


def left_out_in_words(run: Run) -> str:
    """Return what became of the cells whose type the reference does not have."""
    import anndata as ad

    truth = ad.read_h5ad(run.folder / "query.celljury.h5ad", backed="r").obs
    left = truth[truth[LABELS] == LEFT_OUT]
    n_unseen = int((left["celljury_status"] == "unseen").sum())
    others = truth[truth[LABELS] != LEFT_OUT]
    n_wrongly = int((others["celljury_status"] == "unseen").sum())
    named = left["celljury_label"].astype(object).fillna("no node").value_counts()
    under = ", ".join(f"{n} under {label}" for label, n in named.items())
    return (
        f"Left out of the reference on purpose: {LEFT_OUT}. The query's {len(left)} such cells can have no right label, yet"
        f" every member names one. Found unseen: {n_unseen} of {len(left)} ({under}). Of the {len(others)} cells whose type"
        f" the reference has, {n_wrongly} are called unseen as well: about one in twenty is the price (eps = 0.05). Types"
        " that lie closer to known ones are caught less often; the jury's card has an estimate for each."
    )


def walk_in_words(run: Run, jury: Jury) -> list[str]:
    """Return the ontology walk of the first review item whose members split, in lines."""
    queue = pd.read_csv(run.folder / "queue.tsv", sep="\t", keep_default_na=False)
    split = queue[queue["reasons"].str.contains("sibling_conflict") & (queue["term"] != "")]
    if split.empty:
        return ["No cell has members that split over branches."]
    item = split.iloc[0]
    ontology = jury.ontology
    votes: dict[str, list[str]] = {}
    for said in item["votes"].split(";"):
        member, term = said.split("=")
        votes.setdefault(term, []).append(member)
    cell = item["example_cells"].split(";")[0]
    lines = [f"Cell {cell} (one of {item['n_cells']} with these votes):"]
    for term, members in sorted(votes.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"  {len(members)} say {ontology.labels[ontology.index(term)]} ({term}): {', '.join(members)}")
    voted = ontology.indices(list(votes))
    # Of equally voted terms the more informative one, which has the smaller index: as the reducer does.
    deepest = min(zip(voted.tolist(), votes.values(), strict=True), key=lambda pair: (-len(pair[1]), pair[0]))[0]
    lines.append("Walking up from the most voted term:")
    n_votes = sum(len(members) for members in votes.values())
    called = ontology.index(item["term"])
    for i in ontology.ancestors(deepest).tolist():
        if not ontology.is_ancestor(called, i):
            continue
        under = sum(len(m) for (term, m) in votes.items() if ontology.is_ancestor(i, ontology.index(term)))
        mark = "  <- the call" if i == called else ""
        lines.append(
            f"  {ontology.labels[i]} ({ontology.ids[i]}), depth {ontology.depth[i]}: {under} of {n_votes} votes at or"
            f" below{mark}"
        )
    lines.append(str(item["sentence"]))
    return lines
