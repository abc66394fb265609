"""The command line: options in, the public functions called, what came out in words or as JSON."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celljury import __version__
from celljury.cli_compare import compare
from celljury.cli_export import export
from celljury.cli_members import doctor, members_app
from celljury.cli_report import EXAMPLES as REPORT_EXAMPLES
from celljury.cli_report import report
from celljury.cli_review import apply, review
from celljury.terminal import clear_errors, progress_of

if TYPE_CHECKING:
    from celljury.run import Run

app = typer.Typer(
    name="celljury",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Consensus cell types on the Cell Ontology, with agreement, depth and reasons for every cell.",
    epilog="Start with: [bold]celljury demo[/bold]. Exit status: 0 done, 1 input at fault, 2 usage, 3 a member failed.",
)
ontology_app = typer.Typer(no_args_is_help=True, help="Look terms of the Cell Ontology up.")
app.add_typer(ontology_app, name="ontology")
app.add_typer(members_app, name="members")

Config_ = Annotated[Path | None, typer.Option("--config", help="TOML file of settings (docs/configuration.md).")]
Seed = Annotated[int | None, typer.Option(help="Seeds every random choice.", show_default="0")]
Threads = Annotated[int | None, typer.Option(help="Threads a member may use.", show_default="1")]
Engine = Annotated[str | None, typer.Option(help="processes or local.", show_default="processes")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished result in --out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")]
Rule = Annotated[
    str | None,
    typer.Option(
        help="calibrated: by held-out donors; lca: below all votes; quorum: below a share.",
        show_default="calibrated where the jury can, else lca",
    ),
]
Alpha = Annotated[float | None, typer.Option(help="Share of wrong calls that is aimed at.", show_default="0.05")]
Tier = Annotated[
    str | None,
    typer.Option(
        help="auto, exact-donor, cluster-t, cell or none: which promise (docs/tiers.md).", show_default="auto"
    ),
]
Eps = Annotated[
    float | None, typer.Option(help="Share of cells of known types that may be called unseen.", show_default="0.05")
]
Quorum = Annotated[
    float | None,
    typer.Option(help="Share of votes at or below the term, 0.5 to 1; implies --rule quorum.", show_default="0.5"),
]
On = Annotated[str | None, typer.Option(help="votes or mass (pooled probabilities).", show_default="votes")]
LabelMapFile = Annotated[Path | None, typer.Option("--map", help="SSSOM table of labels (celljury map drafts one).")]
Unmapped = Annotated[str, typer.Option(help="stop, or abstain: leave these cells out.")]
Counts = Annotated[str | None, typer.Option(help="auto, X, raw.X or layers/NAME.", show_default="auto")]
Proteins = Annotated[str | None, typer.Option(help="Key of obsm with protein counts (CITE-seq).", show_default="none")]
Slim = Annotated[str | None, typer.Option(help="Level of tables/summary.tsv.", show_default="cell_subclass")]
NoH5ad = Annotated[bool, typer.Option("--no-h5ad", help="Do not write query.celljury.h5ad.")]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Do not draw figures.")]
OntologyFile = Annotated[
    Path | None, typer.Option("--source", help="OBO, OWL or JSON file; none = the shipped release.")
]
Release = Annotated[str | None, typer.Option(help="A release that ships, e.g. 2026-03-26.", show_default="the newest")]


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        print(f"celljury {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: [bold]celljury demo --out demo[/bold]")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the jury and the run.")] = Path("demo"),
    config: Config_ = None,
    seed: Seed = None,
    engine: Engine = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit and annotate on embedded real data: what the main job looks like, in a few minutes."""
    with clear_errors(), progress_of(quiet=as_json) as progress:
        from celljury.config import Config
        from celljury.demo import run_demo

        settings = Config.read(config, seed=seed, engine=engine)
        jury, run = run_demo(out, config=settings, overwrite=overwrite, progress=progress)
    if as_json:
        print(json.dumps(_outcome(run)))
        return
    from celljury.demo import NOTE, left_out_in_words, walk_in_words
    from celljury.report.page import members_text, notes_text, summary_text

    print(
        "\n".join(
            [
                "",
                NOTE,
                "",
                *notes_text(run),
                *members_text(run),
                "",
                *summary_text(run),
                "",
                left_out_in_words(run),
                "",
                *walk_in_words(run, jury),
            ]
        )
    )
    _say_files(run, extra={"jury": jury.folder, "report": run.folder / "report.html"})


@app.command(epilog="Example: [bold]celljury fit atlas.h5ad --labels cell_type --batch sample --out blood.jury[/bold]")
def fit(
    reference: Annotated[Path, typer.Argument(help="Labelled cells with raw counts: .h5ad, .h5mu or .zarr.")],
    labels: Annotated[str, typer.Option(help="Column of obs with Cell Ontology ids or labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the jury.")],
    batch: Annotated[str | None, typer.Option(help="Column of obs with samples or libraries.")] = None,
    donor: Annotated[str | None, typer.Option(help="Column of obs with donors.")] = None,
    label_map: LabelMapFile = None,
    on_unmapped: Unmapped = "stop",
    members: Annotated[
        str | None, typer.Option(help="Names joined by commas, or all-required.", show_default="default")
    ] = None,
    config: Config_ = None,
    counts: Counts = None,
    proteins: Proteins = None,
    seed: Seed = None,
    threads: Threads = None,
    engine: Engine = None,
    trust_model: Annotated[
        bool, typer.Option("--trust-model", help="Let a pickled model that you named run its code.")
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Train the members on a labelled reference; the jury then annotates any number of queries."""
    with clear_errors(resumable=True), progress_of(quiet=as_json) as progress:
        _one_of(on_unmapped, ("stop", "abstain"), "--on-unmapped")
        from celljury.api import fit as run_fit
        from celljury.config import Config
        from celljury.fitting import trusting

        settings = Config.read(
            config, members=_names(members), counts=counts, proteins=proteins, seed=seed, threads=threads, engine=engine
        )
        settings = trusting(settings) if trust_model else settings
        jury = run_fit(
            reference, labels=labels, batch=batch, donor=donor, out=out, label_map=label_map,
            on_unmapped="abstain" if on_unmapped == "abstain" else "stop", config=settings, resume=resume,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
    card = json.loads((jury.folder / "card.json").read_text(encoding="utf-8"))
    if as_json:
        told = {name: card[name] for name in ("tier", "alpha", "promise", "warnings")}
        known = {"jury": str(out), "card": str(out / "card.html"), "members": card["members"]}
        print(json.dumps({**known, "n_cells": card["reference"]["n_cells"], **told}))
        return
    from celljury.report.card_words import card_text

    print("\n".join(["", *card_text(card)]))
    print(f"\nThe jury: {out} (card: {out / 'card.html'}). Next: celljury annotate QUERY.h5ad --jury {out} --out RUN")


@app.command(epilog="Example: [bold]celljury annotate query.h5ad --jury blood.jury --batch sample --out run[/bold]")
def annotate(
    query: Annotated[Path, typer.Argument(help="Cells with raw counts: .h5ad, .h5mu or .zarr. Never changed.")],
    jury: Annotated[Path, typer.Option(help="Folder made by celljury fit.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    batch: Annotated[str | None, typer.Option(help="Column of obs with samples or libraries.")] = None,
    rule: Rule = None,
    quorum: Quorum = None,
    on: On = None,
    alpha: Alpha = None,
    tier: Tier = None,
    eps: Eps = None,
    organism: Annotated[
        str | None, typer.Option(help="The samples' organism, e.g. human; calls are held against it.")
    ] = None,
    tissue: Annotated[str | None, typer.Option(help="Their tissue as an UBERON id; calls are held against it.")] = None,
    config: Config_ = None,
    counts: Counts = None,
    proteins: Proteins = None,
    slim: Slim = None,
    engine: Engine = None,
    block_size: Annotated[int | None, typer.Option(help="Cells read at once.", show_default="8192")] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    no_h5ad: NoH5ad = False,
    no_figures: NoFigures = False,
    as_json: Json = False,
) -> None:
    """Let a jury vote on a query: calls, votes, review queue, tables, figures and an annotated h5ad."""
    with clear_errors(resumable=True), progress_of(quiet=as_json) as progress:
        from celljury.api import annotate as run_annotate
        from celljury.config import Config
        from celljury.jury import Jury

        opened = Jury.load(jury)
        settings = Config.read(
            config, base=opened.config, reduce__rule=rule or ("quorum" if quorum is not None else None),
            reduce__quorum=quorum, reduce__on=on, counts=counts, proteins=proteins, slim=slim, engine=engine,
            block_size=block_size,
            calibration__alpha=alpha, calibration__tier=tier, calibration__eps=eps, organism=organism, tissue=tissue,
        )  # fmt: skip
        run = run_annotate(
            query, opened, out=out, batch=batch, config=settings, resume=resume, overwrite=overwrite, h5ad=not no_h5ad,
            figures=not no_figures, progress=progress,
        )  # fmt: skip
    _say_run(run, as_json=as_json)


@app.command(
    epilog="Example: [bold]celljury vote labels.tsv --columns celltypist,azimuth,singler --rule quorum --out run[/bold]"
)
def vote(
    table: Annotated[Path, typer.Argument(help="TSV, CSV, parquet or h5ad with one row a cell.")],
    columns: Annotated[str, typer.Option(help="Columns of ids or labels, joined by commas. Empty cells abstain.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    rule: Rule = None,
    quorum: Quorum = None,
    label_map: LabelMapFile = None,
    on_unmapped: Unmapped = "stop",
    config: Config_ = None,
    slim: Slim = None,
    overwrite: Overwrite = False,
    no_h5ad: NoH5ad = False,
    as_json: Json = False,
) -> None:
    """Find the consensus of labels that other tools already wrote."""
    with clear_errors(), progress_of(quiet=as_json) as progress:
        _one_of(on_unmapped, ("stop", "abstain"), "--on-unmapped")
        from celljury.api import vote as run_vote
        from celljury.config import Config

        rule = rule or ("quorum" if quorum is not None else None)
        settings = Config.read(config, reduce__rule=rule, reduce__quorum=quorum, slim=slim)
        run = run_vote(
            table, _names(columns) or (), out=out, label_map=label_map, config=settings, overwrite=overwrite,
            on_unmapped="abstain" if on_unmapped == "abstain" else "stop", h5ad=not no_h5ad, progress=progress,
        )  # fmt: skip
    _say_run(run, as_json=as_json)


app.command(epilog="Example: [bold]celljury review run[/bold]")(review)
app.command(epilog="Example: [bold]celljury apply run[/bold]")(apply)
app.command(epilog=REPORT_EXAMPLES)(report)
app.command(epilog="Example: [bold]celljury export run --to h5ad --out calls.h5ad[/bold]")(export)
app.command(epilog="Example: [bold]celljury doctor[/bold]")(doctor)
app.command(epilog="Example: [bold]celljury compare run-2025 run-2026 --out changes[/bold]")(compare)


@app.command(epilog="Example: [bold]celljury evaluate run --truth cell_type --donor donor[/bold]")
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    truth: Annotated[str, typer.Option(help="Column with the known types: Cell Ontology ids or labels.")],
    donor: Annotated[str | None, typer.Option(help="Column with donors; intervals are then over donors.")] = None,
    query: Annotated[
        Path | None, typer.Option(help="File with these columns.", show_default="RUN/query.celljury.h5ad")
    ] = None,
    label_map: LabelMapFile = None,
    seen_types: Annotated[
        Path | None, typer.Option(help="The reference's types, one a line.", show_default="those of the run's jury")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="RUN/evaluation")] = None,
    no_figures: NoFigures = False,
    as_json: Json = False,
) -> None:
    """Set a run's calls against known types: errors, calibration, unseen types, and simpler rules on the same votes."""
    with clear_errors():
        from celljury.evaluate import evaluate as run_evaluate
        from celljury.run import Run

        found = run_evaluate(
            Run.open(run), truth=truth, donor=donor, query=query, label_map=label_map, seen_types=seen_types, out=out,
            figures=not no_figures,
        )  # fmt: skip
    if as_json:
        print(json.dumps(found.report))
        return
    from celljury.report.evaluation_page import evaluation_text, files_lines

    print("\n".join([*evaluation_text(found.report), "", *files_lines(found.folder)]))


@app.command(
    name="map", epilog="Example: [bold]celljury map atlas.h5ad --labels author_cell_type --out map.sssom.tsv[/bold]"
)
def map_(
    source: Annotated[Path, typer.Argument(help="An h5ad with labels, or a text file with one label a line.")],
    out: Annotated[Path, typer.Option(help="SSSOM table to write.")],
    labels: Annotated[str | None, typer.Option(help="Column of obs; needed for an h5ad.")] = None,
    source_file: OntologyFile = None,
    release: Release = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draft a label map: what names a term is mapped, the rest gets suggestions for a curator to choose from."""
    with clear_errors():
        from celljury.draft import draft_map
        from celljury.ontology.load import load_ontology

        ontology = load_ontology(source_file, release=release)
        n_mapped, open_labels = draft_map(source, ontology, labels=labels, out=out, overwrite=overwrite)
    if as_json:
        waiting = [
            {"label": label, "nearest": [{"id": i, "label": name} for i, name in near]} for label, near in open_labels
        ]
        print(json.dumps({"map": str(out), "n_mapped": n_mapped, "unmapped": waiting}))
        return
    print(f"{n_mapped} label(s) mapped, {len(open_labels)} wait for a term in {out}:")
    for label, near in open_labels:
        print(f"  {label}: " + "; ".join(f"{term_id} {name}" for term_id, name in near))
    if open_labels:
        print(
            f"Fill object_id (and predicate_id: skos:exactMatch, skos:broadMatch ...) and pass the file with --map {out}."
        )


@ontology_app.command(epilog="Example: [bold]celljury ontology show 'T cell'[/bold]")
def show(
    term: Annotated[str, typer.Argument(help="Id, label or synonym.")],
    source: OntologyFile = None,
    release: Release = None,
    as_json: Json = False,
) -> None:
    """Show one term: where it lies, what is above and below it."""
    with clear_errors():
        from celljury.ontology.describe import show_term
        from celljury.ontology.load import load_ontology
        from celljury.ontology.relations import load_relations

        ontology = load_ontology(source, release=release)
        found = show_term(ontology, term, relations=load_relations(ontology, source))
    _say(found, as_json=as_json)


@ontology_app.command(epilog="Example: [bold]celljury ontology lca CL:0000624 CL:0000625[/bold]")
def lca(
    terms: Annotated[list[str], typer.Argument(help="Two or more ids, labels or synonyms.")],
    source: OntologyFile = None,
    release: Release = None,
    as_json: Json = False,
) -> None:
    """Show the lowest common ancestor of terms: what all of them are."""
    with clear_errors():
        from celljury.ontology.describe import describe_lca
        from celljury.ontology.load import load_ontology

        found = describe_lca(load_ontology(source, release=release), terms)
    _say(found, as_json=as_json)


@ontology_app.command(epilog="Example: [bold]celljury ontology relations cl.obo --out relations.tsv[/bold]")
def relations(
    source: Annotated[Path, typer.Argument(help="A release of the Cell Ontology, e.g. cl.obo.")],
    out: Annotated[Path, typer.Option(help="Table to write.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a table of what a release says beyond is_a: lineage, exclusions, markers, taxa and places."""
    with clear_errors():
        from celljury.ontology.describe import summary_of_statements
        from celljury.ontology.relations_obo import read_relations
        from celljury.ontology.statements import write_statements

        told = read_relations(source)
        write_statements(out, told, overwrite=overwrite)
        found = summary_of_statements(told, out=out)
    _say(found, as_json=as_json)


@ontology_app.command(epilog="Example: [bold]celljury ontology search Treg[/bold]")
def search(
    text: Annotated[str, typer.Argument(help="Part of a name, or an abbreviation.")],
    limit: Annotated[int, typer.Option(help="Terms to list.", min=1)] = 10,
    source: OntologyFile = None,
    release: Release = None,
    as_json: Json = False,
) -> None:
    """List the terms whose names are nearest to a text."""
    with clear_errors():
        from celljury.ontology.load import load_ontology
        from celljury.ontology.names import NameIndex

        ontology = load_ontology(source, release=release)
        found = [
            (ontology.ids[i], ontology.labels[i], score) for i, score in NameIndex(ontology).search(text, limit=limit)
        ]
    if as_json:
        print(json.dumps([{"id": i, "label": label, "score": round(score, 2)} for i, label, score in found]))
    else:
        print("\n".join(f"{i}\t{label}" for i, label, _ in found) or f"nothing like {text!r}")


def _names(joined: str | None) -> Any:
    """Return a list of names, or the word that stands for one."""
    if joined is None or joined in ("default", "all-required"):
        return joined
    return tuple(name.strip() for name in joined.split(",") if name.strip())


def _one_of(value: str, allowed: tuple[str, ...], option: str) -> None:
    if value not in allowed:
        message = f"{option}: expected {' or '.join(allowed)}, got {value!r}"
        raise typer.BadParameter(message)


def _say(found: Any, *, as_json: bool) -> None:
    print(json.dumps(found.as_dict()) if as_json else "\n".join(found.lines()))


def _outcome(run: Run) -> dict[str, Any]:
    from celljury.report.page import outcome

    return outcome(run)


def _say_run(run: Run, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_outcome(run)))
        return
    from celljury.report.page import members_text, notes_text, summary_text

    print("\n".join(["", *notes_text(run), *members_text(run), "", *summary_text(run)]))
    _say_files(run)


def _say_files(run: Run, *, extra: dict[str, Path] | None = None) -> None:
    from celljury.report.page import files_text

    print("\n".join(["", *files_text(run, extra=extra or {})]))


def main() -> None:
    """Run the command line."""
    # As an interrupt does, a polite end lets the workers be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()
