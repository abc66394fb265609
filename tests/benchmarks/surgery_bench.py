"""What a bounded sample of each query batch costs in surgery and in Symphony's correction, against all its cells.

    python tests/benchmarks/surgery_bench.py --work WORK [--pairs P1,P2,S] [--seeds 0,1,2] [--bounds 50,...,2000]

Every network is trained once and adapted to samples of every size; what was measured before is kept in ``--work``. Prints
a Markdown table: means over seeds of the accuracy, of the share of cells that got another type than with all cells, of the
drift (mean distance between a cell's places after both adaptations, over its mean distance to the nearest reference cells)
and of the processor time of ``adapt``. ``all, other seed`` is what chance alone does: surgery on all cells from another seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atlas import make_atlas
from bench_markdown import table
from members_bench import cells_of
from pairs import PAIRS, facts_of

from celljury.members.checks import rows_of
from celljury.members.cpu_clock import cpu_seconds
from celljury.members.latent import LatentMember
from celljury.members.scanvi import Scanvi
from celljury.members.scvi_cells import content_order
from celljury.members.scvi_knn import ScviKnn
from celljury.members.symphony import Symphony

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pairs import Made

    from celljury.members.base import Block, Member

BOUNDS = (50, 100, 200, 400, 1_000, 2_000)
ALL, CHANCE = "all", "all, other seed"
# The semi-synthetic atlas: six donors of 500 cells to learn from, three of 4,000 to map.
N_REFERENCE, N_QUERY, REFERENCE_CELLS, QUERY_CELLS, N_GENES = 6, 3, 500, 4_000, 800
UNBOUNDED = {"surgery_cells_per_batch": 10**9}
MAKERS = {"scvi_knn": (ScviKnn, UNBOUNDED), "scanvi": (Scanvi, UNBOUNDED), "symphony": (Symphony, {})}


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for pair in options.pairs.split(","):
        for seed in map(int, options.seeds.split(",")):
            kept = options.work / f"{pair}-{seed}.json"
            if not kept.is_file():
                bounds = tuple(map(int, options.bounds.split(",")))
                kept.write_text(json.dumps(measure(pair, seed, bounds)))
            rows += json.loads(kept.read_text())
            print(f"[{pair}, seed {seed}]", flush=True)
    print(markdown(rows))


def atlas_pair() -> Made:
    """Return the atlas as a pair: few cells a donor in the reference, many in the query."""
    atlas = make_atlas(n_donors=N_REFERENCE + N_QUERY, cells_per_donor=QUERY_CELLS, n_genes=N_GENES)
    donor = atlas.obs["donor"].cat.codes.to_numpy()
    place = np.arange(atlas.n_obs) % QUERY_CELLS
    reference = atlas[(donor < N_REFERENCE) & (place < REFERENCE_CELLS)].copy()
    query = atlas[donor >= N_REFERENCE].copy()
    return reference, query, facts_of("S", reference, query)


def measure(pair: str, seed: int, bounds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return a row for every member and sample of one pair."""
    reference, query, truth = cells_of(atlas_pair() if pair == "S" else PAIRS[pair]())
    largest = int(np.bincount(query.batch).max())
    seen = np.isin(truth, reference.terms)
    rows = []
    for name, (make, settings) in MAKERS.items():
        member: Member = make(seed=seed, **settings).fit(reference)
        first, near = None, 1.0
        for bound in (ALL, CHANCE, *(bound for bound in bounds if bound < largest)):
            member.seed = seed + 1_000 if bound == CHANCE else seed
            start = cpu_seconds()
            member.adapt(query if bound in (ALL, CHANCE) else sample(query, int(bound)))
            cpu = cpu_seconds() - start
            places, votes = placed(member, query), member.predict(query)
            top = np.array(member.terms)[votes.mass.argmax(axis=1)]
            if first is None:
                first = (places, top)
                near = float(neighbour_distance(member, places).mean())
            rows.append({
                "pair": pair, "member": name, "bound": bound, "seed": seed, "n_largest": largest, "cpu": cpu,
                "accuracy": float(np.mean(top[seen] == truth[seen])), "changed": float(np.mean(top != first[1])),
                "drift": float(np.linalg.norm(places - first[0], axis=1).mean()) / near,
            })  # fmt: skip
    return rows


def sample(query: Block, bound: int) -> Block:
    """Return at most ``bound`` cells of each batch, chosen by a hash of their counts."""
    order = content_order(query.counts)
    batch = query.batch[order]
    rows = [order[batch == i][:bound] for i in np.unique(batch)]
    return rows_of(query, np.concatenate(rows))


def placed(member: Member, query: Block) -> NDArray[np.floating[Any]]:
    """Return the coordinates that a member's neighbours are searched in, (n_cells, n_dims)."""
    if isinstance(member, LatentMember):
        return member.placed(query)
    assert isinstance(member, Symphony)
    plain = member._coordinates(query)
    return member.corrected(plain, member.compressed.membership(plain, bandwidth=member.settings.bandwidth), query)


def neighbour_distance(member: Member, places: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return each cell's mean distance to its nearest reference cells, (n_cells,)."""
    assert isinstance(member, LatentMember | Symphony)
    index = member.index if isinstance(member, LatentMember) else member._index()
    return index.search(places)[0].mean(axis=1)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table, means over seeds."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["pair"], row["member"], f"{row['bound']}"), []).append(row)
    head = (
        "pair (cells of its largest batch)",
        "member",
        "cells per batch",
        "accuracy",
        "other type",
        "drift",
        "CPU s",
    )
    return table(head, [
        (f"{pair} ({same[0]['n_largest']:,})", member, bound, f"{_mean(same, 'accuracy'):.3f}",
         f"{100 * _mean(same, 'changed'):.1f} %", f"{_mean(same, 'drift'):.3f}", f"{_mean(same, 'cpu'):.3f}")
        for (pair, member, bound), same in groups.items()
    ])  # fmt: skip


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/surgery"), help="where measurements are kept")
    parser.add_argument("--pairs", default="P1,P2,S", help="pairs, or S for the atlas")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--bounds", default=",".join(map(str, BOUNDS)), help="cells per query batch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
