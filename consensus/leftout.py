"""How often a type that the reference lacks would be noticed, estimated by leaving its own types out one by one.

No bound exists for unseen cells that are missed: types that nobody has labelled may lie closer to known ones than any
of these. The estimate takes the light members that give signals, trains them without the type on half of the donors,
and lets them judge the other half, type included. Members that train for minutes are not refitted for it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from celljury.crossfit import block_sample, members_of, rows_of, training_part
from celljury.decide import compartments
from celljury.engine import read_votes, save_block
from celljury.provenance import write_json
from celljury.reject import learn_belonging
from celljury.tree import Tree
from celljury.votes import on_ontology, votes_of_members

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from celljury.config import Config
    from celljury.engine import Bench
    from celljury.fitting import Prepared
    from celljury.heldout import HeldOut
    from celljury.members.base import Block, Reference
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.space import Space
    from celljury.votes import MemberRecord, Votes

# The most frequent types are left out: rarer ones say little, and each costs a training of the light members.
MAX_TYPES, MIN_CELLS = 12, 10


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What became of one type's cells when the reference lacked it.

    Attributes
    ----------
    term, label
        The type.
    n_cells
        Its cells among those judged.
    auroc
        Of strangeness, its cells against all others.
    caught
        Share of its cells found unseen, 0-1.
    false_unseen
        Share of the others found unseen, 0-1.
    named_right
        Of those caught, share whose node is an ancestor of the type, 0-1; None = none caught.
    plain
        Of those caught, share with no node, 0-1; None = none caught.
    members
        Whose signals were used.
    """

    term: str
    label: str
    n_cells: int
    auroc: float
    caught: float
    false_unseen: float
    named_right: float | None
    plain: float | None
    members: tuple[str, ...]


def leave_types_out(
    prepared: Prepared,
    held: HeldOut,
    fitted: dict[str, MemberRecord],
    home: Path,
    bench: Bench,
    *,
    space: Space,
    ontology: CellOntology,
    config: Config,
    progress: Progress,
) -> tuple[LeftOut, ...]:
    """Return the estimate for each type with cells enough; finished ones are kept in ``home/left_out.json``."""
    light = tuple(
        name for name in members_of(fitted)[0] if any(member == name for _, member in held.votes.signals)
    )  # fmt: skip
    reference = prepared.reference
    half = held_half(prepared, held)
    types = left_types(reference, half) if light and config.calibration.unseen else []
    kept = home / "left_out.json"
    done = _read(kept)
    progress("leave types out", 0, len(types))
    for i, code in enumerate(types):
        term = reference.terms[code]
        if term not in done:
            done[term] = _leave_out(
                code, prepared, held, half, light, bench, space=space, ontology=ontology, config=config
            )
            write_json(kept, {key: asdict(row) if row else None for key, row in done.items()})
        progress("leave types out", i + 1, len(types))
    return tuple(row for code in types if (row := done[reference.terms[code]]) is not None)


def held_half(prepared: Prepared, held: HeldOut) -> NDArray[np.bool_]:
    """Return which reference cells are judged, bool (n_cells,): the held-out cells of the first heavy fold."""
    first = held.heavy_fold == held.heavy_fold.min(initial=1)
    place = {str(name): i for i, name in enumerate(prepared.cell_ids.tolist())}
    half = np.zeros(len(prepared.cell_ids), bool)
    half[[place[str(name)] for name in held.votes.cell_ids[first].tolist()]] = True
    return half


def left_types(reference: Reference, half: NDArray[np.bool_]) -> list[int]:
    """Return the types with at least `MIN_CELLS` cells on both sides, the most frequent `MAX_TYPES` of them."""
    n_terms = len(reference.terms)
    judged = np.bincount(reference.label[half], minlength=n_terms)
    trained = np.bincount(reference.label[~half], minlength=n_terms)
    enough = np.flatnonzero((judged >= MIN_CELLS) & (trained >= MIN_CELLS))
    return sorted(enough[np.argsort(-judged[enough], kind="stable")][:MAX_TYPES].tolist())


def _leave_out(
    code: int,
    prepared: Prepared,
    held: HeldOut,
    half: NDArray[np.bool_],
    light: tuple[str, ...],
    bench: Bench,
    *,
    space: Space,
    ontology: CellOntology,
    config: Config,
) -> LeftOut | None:
    reference = prepared.reference
    training = training_part(reference, ~half & (reference.label != code))
    if training is None:
        return None
    rows = np.flatnonzero(half)
    cells = rows_of(reference.cells, rows)
    cell_ids = prepared.cell_ids[rows]
    votes = _votes(training, cells, cell_ids, light, bench, ontology=ontology, config=config)
    if votes is None:
        return None
    # Compared with held-out cells of all types but this one, by the same members.
    others = held.take(held.known & (held.truth != ontology.index(reference.terms[code])))
    columns = np.sort(ontology.indices(reference.terms))
    own = replace(others.votes, signals={key: v for key, v in others.votes.signals.items() if key[1] in light})
    stratum = compartments(columns, ontology)
    belonging = learn_belonging(
        own, _top(own, light, columns), {name: others.fold_of(name) for name in own.members}, heavy=frozenset(),
        stratum=stratum,
    )  # fmt: skip
    called = _top(votes, light, columns)
    units = belonging.units(votes, called)
    belonging = belonging.for_query(units)
    score = belonging.score(units)
    unseen = belonging.p_seen(score, called) <= config.calibration.eps
    own_cells = reference.label[rows] == code
    tree = Tree.fit(
        space.project(training.cells), training.label, ontology.indices(training.terms), ontology,
        eps=config.calibration.eps,
    )  # fmt: skip
    caught = own_cells & unseen
    top = columns[called]
    node = tree.name(
        space.project(cells)[caught], top[caught], top[caught], ontology, general=np.zeros(len(ontology), bool)
    )
    right = ontology.is_ancestor(node, np.full(len(node), ontology.index(reference.terms[code])))
    n = int(caught.sum())
    return LeftOut(
        term=reference.terms[code],
        label=ontology.labels[ontology.index(reference.terms[code])],
        n_cells=int(own_cells.sum()),
        auroc=round(_auroc(score, own_cells), 4),
        caught=round(float(unseen[own_cells].mean()), 4),
        false_unseen=round(float(unseen[~own_cells].mean()), 4),
        named_right=round(float(right.mean()), 4) if n else None,
        plain=round(float((node < 0).mean()), 4) if n else None,
        members=light,
    )


def _votes(
    training: Reference,
    cells: Block,
    cell_ids: NDArray[np.str_],
    light: tuple[str, ...],
    bench: Bench,
    *,
    ontology: CellOntology,
    config: Config,
) -> Votes | None:
    """Train light members, let them vote; None where one fails."""
    scratch = bench.folder / "left-out"
    save_block(scratch / "reference", training.cells, label=training.label, terms=training.terms)
    save_block(scratch / "block", cells)
    save_block(scratch / "sample", block_sample(cells, cell_ids, per_batch=config.sample_per_batch))
    found = {}
    for name in light:
        to = str(scratch / name)
        steps: list[dict[str, Any]] = [
            {"do": "fit", "reference": str(scratch / "reference"), "to": to, "seed": config.seed,
             "threads": config.threads, "settings": config.settings.get(name, {})},
            {"do": "load", "folder": to},
            {"do": "adapt", "sample": str(scratch / "sample"), "to": to},
            {"do": "predict", "block": str(scratch / "block"), "to": str(scratch / f"{name}.npz")},
        ]  # fmt: skip
        terms: list[str] = []
        for step in steps:
            for _, answer in bench.run({name: step}):
                if not answer["ok"]:
                    shutil.rmtree(scratch)
                    return None
                terms = answer.get("terms", terms)
        found[name] = on_ontology(read_votes(scratch / f"{name}.npz"), terms, ontology)
    shutil.rmtree(scratch)
    return votes_of_members(cell_ids, light, found, n_terms=len(ontology))


def _top(votes: Votes, light: tuple[str, ...], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the likeliest term of the light members' mean probability as a column, int32 (n_cells,)."""
    assert votes.mass is not None
    total = np.zeros((votes.n_cells, len(columns)))
    for name in light:
        total += votes.mass[votes.members.index(name)][:, columns].toarray()
    return np.asarray(np.round(total, 5).argmax(axis=1), np.int32)


def _auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.nan_to_num(score))
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def _read(path: Path) -> dict[str, LeftOut | None]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {term: LeftOut(**row | {"members": tuple(row["members"])}) if row else None for term, row in found.items()}
