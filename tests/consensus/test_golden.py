"""What people read of a run, kept as files and compared as prose.

A changed sentence or table is a change of the product: look at the difference, then write the new text with
``CELLJURY_WRITE_GOLDEN=1 pytest tests/consensus/test_golden.py``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from celljury.api import vote
from celljury.config import Config
from celljury.marker_ranges import MarkerStatement
from celljury.ontology.general import too_general
from celljury.ontology.relations import load_relations
from celljury.reasons import Background, Reason, find_reasons, reasons_in
from celljury.reduce import Status, reduce_votes
from celljury.sentences import Between, sentences
from celljury.signs import Signs

if TYPE_CHECKING:
    from celljury.ontology.graph import CellOntology
    from celljury.ontology.relations import Relations
    from celljury.run import Run

GOLDEN = Path(__file__).parents[1] / "golden"
B, CD4, CD8, T, MEMORY_T, MONO, DC, NK, NEURON, PLATELET, MACROPHAGE, EPITHELIAL, LYMPHOCYTE, CD14_MONO = (
    "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000084", "CL:0000813", "CL:0000576", "CL:0000451", "CL:0000623",
    "CL:0000598", "CL:0000233", "CL:0000235", "CL:0000066", "CL:0000542", "CL:0002057",
)  # fmt: skip
MOUSE_ILC2 = "CL:0002089"
MEMBERS = ("logistic", "celltypist", "symphony", "singler", "scvi_knn", "scanvi")


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("CELLJURY_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


# Sentences --------------------------------------------------------------------------------------------------------

ABSENT = {"scvi_knn": "needs scvi, torch. Install: pip install 'celljury[scvi]'", "scanvi": "took longer than 600 s"}
# What the heading says: six votes, the quorum, and what else is known.
CELLS: dict[str, tuple[list[str], float, dict[str, Any]]] = {
    "T helpers and cytotoxic T cells, lowest common ancestor": ([CD4, CD4, CD4, CD8, CD8, CD8], 1.0, {}),
    "five T cells against one B cell, quorum of 0.8": ([CD4, CD4, CD4, CD4, CD4, B], 0.8, {}),
    "three branches, nobody holds half": ([CD4, CD4, B, B, MONO, NK], 0.5, {}),
    "a B cell and neurons": ([B, B, NEURON, NEURON, NEURON, NEURON], 1.0, {}),
    "some say T cell, some say which": ([T, T, CD4, CD4, CD4, CD4], 1.0, {}),
    "one line, but most say only T cell": ([T, T, T, T, T, CD4], 1.0, {}),
    "memory and CD4 are two axes": ([MEMORY_T, MEMORY_T, MEMORY_T, CD4, CD4, CD4], 1.0, {}),
    "two axes and a rival": ([MEMORY_T, MEMORY_T, CD4, CD4, CD4, MONO], 1.0, {}),
    "T cells of three kinds outvote a B cell that leads": ([B, B, CD4, CD8, MEMORY_T, ""], 0.6, {}),
    "two members absent, one abstained": ([PLATELET, PLATELET, PLATELET, "", "", ""], 1.0, {"absent": ABSENT}),
    "nobody voted": ([""] * 6, 1.0, {}),
    "few genes in the query": ([PLATELET] * 6, 1.0, {"n_shared": 812, "n_genes": 4000, "low_share": 0.5}),
    "a rare type": ([DC] * 6, 1.0, {"rare": 7}),
    "a type with one reference cell": ([DC] * 6, 1.0, {"rare": 1}),
    "cells enough, but all of one donor": ([DC] * 6, 1.0, {"rare": 812, "donors": 1}),
    "a type without reference cells": ([DC] * 6, 1.0, {"rare": 0}),
    "labels by broad match and by an old id": ([DC] * 6, 1.0, {"broad": True, "obsolete": True}),
    "a monocyte on its way to a macrophage": ([MONO, MONO, MONO, MONO, MACROPHAGE, MACROPHAGE], 1.0, {}),
    "two camps that exclude each other": ([B, B, B, EPITHELIAL, EPITHELIAL, EPITHELIAL], 1.0, {}),
    "sure, split over two labels, and out of reference: a forced label": (
        [B, B, B, MONO, MONO, MONO],
        1.0,
        {"p_seen": 0.004, "confidence": 0.968, "strange_kind": 2, "unseen": ""},
    ),
    "all agree on a cell that still fits lymphocyte": (
        [B] * 6,
        1.0,
        {"p_seen": 0.0312, "confidence": 0.74, "strange_kind": 0, "unseen": LYMPHOCYTE},
    ),
    "all on one line, far outside": ([T, T, T, CD4, CD4, CD4], 1.0, {"p_seen": 0.00002, "unseen": T}),
    "close to the limit": ([DC] * 6, 1.0, {"p_seen": 0.1104}),
    "Symphony flags it, scANVI does not": ([DC] * 6, 1.0, {"p_symphony": 0.012, "p_scanvi": 0.31, "p_seen": 0.4}),
    "a CD14 monocyte without CD14": ([CD14_MONO] * 6, 1.0, {"marker": 0, "marker_value": 0.0}),
    "a CD14 monocyte with CD16": ([CD14_MONO] * 6, 1.0, {"marker": 1, "marker_value": 2.31}),
    "few counts, few genes, many of them mitochondrial": (
        [DC] * 6,
        1.0,
        {
            "low_quality": 7,
            "counts": 812,
            "expected_counts": 3400,
            "genes": 301,
            "expected_genes": 1204,
            "mito": 0.231,
            "expected_mito": 0.048,
        },
    ),
    "low quality without its numbers": ([DC] * 6, 1.0, {"low_quality": 7}),
    "a B cell and a monocyte in one droplet": (
        [B] * 6,
        1.0,
        {"doublet": True, "doublet_score": 0.43, "split_a": B, "split_b": MONO},
    ),
    "a jury without calibration": ([DC] * 6, 1.0, {"calibrated_run": False, "alpha": 0.05}),
    "a compartment with too few held-out cells": ([DC] * 6, 1.0, {"calibrated_run": True, "alpha": 0.05, "tier": 0}),
    "a batch unlike the donors": (
        [DC] * 6,
        1.0,
        {"calibrated_run": True, "alpha": 0.05, "tier": 2, "unlike_batch": True},
    ),
    "a type of mice in a human sample": ([MOUSE_ILC2] * 6, 1.0, {"organism": "human"}),
    "a call with nothing to say about": (
        [DC] * 6,
        1.0,
        {"p_seen": 0.6, "confidence": 0.99, "calibrated_run": True, "tier": 2},
    ),
}


def said_of(
    cl: CellOntology, relations: Relations, ids: list[str], quorum: float, known: dict[str, Any]
) -> tuple[int, list[str]]:
    """Return the reasons of one cell, as bits and as lines."""
    votes = np.array([[cl.index(term_id) if term_id else -1 for term_id in ids]], np.int32)
    reduced = reduce_votes(votes, cl, threshold=quorum, too_general=too_general(cl))
    options = {name: cl.index(value) if name.startswith("split_") else value for name, value in known.items()}
    if (node := options.pop("unseen", None)) is not None:
        term = np.array([cl.index(node) if node else -1], np.int32)
        reduced = replace(reduced, term=term, status=np.array([Status.UNSEEN], np.int8))
    marks = {kind: np.array([options.pop(kind, False)]) for kind in ("broad", "obsolete")}
    columns = {f"_sign_{name}": np.array([options.pop(name)]) for name in Signs.__slots__ if name in options}
    signs = Signs.from_columns(columns, n_cells=1)
    if "rare" in options:
        options |= {"n_reference": np.full(len(cl), options.pop("rare")), "rare_cells": 10}
    if "donors" in options:
        options |= {"n_reference_donors": np.full(len(cl), options.pop("donors")), "rare_donors": 2}
    mono = cl.index(CD14_MONO)
    said_by = f"label of {CD14_MONO}"
    table = (
        MarkerStatement(mono, "CD14", "has", said_by, 480, 0.927, 0.0, 2.75, 4.16, 4.68),
        MarkerStatement(mono, "FCGR3A", "lacks", said_by, 480, 0.031, 0.0, 0.0, 0.0, 1.12),
    )
    shared = {"members": MEMBERS, "absent": {}, "eps": 0.05, "relations": relations, "marker_table": table}
    background = Background(**(shared | options))
    bits = int(find_reasons(reduced, background, **marks, signs=signs)[0])
    lines = sentences(
        bits, reduced, 0, between=Between.of(reduced, cl, background), votes=votes[0], background=background, ontology=cl,
        signs=signs,
    )  # fmt: skip
    codes = [reason.code for reason in reasons_in(bits)]
    return bits, [f"  {code}: {line}" for code, line in zip(codes, lines, strict=True)] or ["  (nothing)"]


def test_sentences_read_as_prose(cl: CellOntology) -> None:
    seen, text, relations = 0, "", load_relations(cl)
    for heading, (ids, quorum, known) in CELLS.items():
        bits, lines = said_of(cl, relations, ids, quorum, known)
        seen |= bits
        text += "\n".join([heading, *lines]) + "\n\n"
    assert seen == sum(int(reason) for reason in Reason), "a reason has no sentence in the file"
    compare("sentences.txt", text)


# A whole run of labels --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ten cells, three tools; every status, and the reasons that labels alone can have."""
    rows = [
        ("unanimous", B, B, B),
        ("also unanimous", B, B, B),
        ("siblings", CD4, CD8, CD8),
        ("siblings again", CD8, CD4, CD8),
        ("axes", CD4, MEMORY_T, MEMORY_T),
        ("coarser", T, CD4, CD4),
        ("too far apart", B, NEURON, NEURON),
        ("one abstains", MONO, "", MONO),
        ("nobody", "", "", ""),
        ("old id", "CL:0000804", "CL:0000084", "CL:0000084"),
    ]
    frame = pd.DataFrame(rows, columns=["cell_id", "azimuth", "celltypist", "singler"])
    out = tmp_path_factory.mktemp("golden") / "run"
    config = Config.read(None, ontology__release="2026-03-26")
    return vote(frame, ["azimuth", "celltypist", "singler"], out=out, config=config)


def test_calls(run: Run) -> None:
    compare("calls.tsv", run.calls.to_csv(sep="\t", float_format="%.4g", lineterminator="\n"))


@pytest.mark.parametrize("name", ["queue.tsv", "tables/summary.tsv", "tables/terms.tsv"])
def test_tables(run: Run, name: str) -> None:
    compare(Path(name).name, (run.folder / name).read_text(encoding="utf-8"))
