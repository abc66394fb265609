"""A fitted ensemble: fit once on a reference, annotate any number of queries without training it again."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from celljury.cells import open_cells
from celljury.config import Config
from celljury.engine import Bench
from celljury.errors import ConfigError, JuryVersionError, MissingColumnError, UnreadableFileError
from celljury.evidence import References, fit_evidence, held_out_for
from celljury.fitting import check_members, fingerprint, fit_members, marker_genes, prepare_reference, term_rows
from celljury.genes import GeneTable
from celljury.heldout import REVIEWED
from celljury.labels import map_column
from celljury.leftout import leave_types_out
from celljury.members.arrays import load_arrays, save_arrays
from celljury.ontology.cache import read_index, write_index
from celljury.ontology.load import load_ontology
from celljury.ontology.mapping import read_sssom
from celljury.ontology.relations import load_relations
from celljury.profiles import Profiles
from celljury.progress import silent
from celljury.provenance import (
    as_dict,
    check_folder,
    cpu_seconds,
    holds_json,
    log_to,
    make_folder,
    now,
    peak_memory_mb,
    sha256,
    versions,
    write_json,
)  # fmt: skip
from celljury.query import Query, sample_of
from celljury.reasons import Background
from celljury.run import Run
from celljury.space import Space
from celljury.tell import count_unseen, describe_evidence, describe_verdict, unseen_note, write_card
from celljury.verdict import reach_verdict
from celljury.votes import MemberRecord
from celljury.voting import collect_votes, find_doublets, write_calls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from celljury.cells import Cells
    from celljury.heldout import HeldOut
    from celljury.leftout import LeftOut
    from celljury.ontology.graph import CellOntology
    from celljury.progress import Progress
    from celljury.verdict import Verdict


log = logging.getLogger(__name__)

FORMAT = 2  # of the jury folder; another one is refused
_FILES = ("genes.npz", "space.npz", "ontology.npz", "members", "quality.json", "markers.json", "tree.npz")
_PARTS = ("config", "ontology", "reference", "genes", "terms", "members", "markers", "made")


@dataclass(frozen=True)
class Jury:
    """A fitted ensemble in a folder.

    Attributes
    ----------
    folder
        Holds ``jury.json``, the ontology, genes, members and the card.
    """

    folder: Path

    # Making and keeping ---------------------------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        reference: Any,
        *,
        labels: str,
        batch: str | None = None,
        donor: str | None = None,
        out: Path | str | None = None,
        label_map: Path | str | None = None,
        on_unmapped: Literal["stop", "abstain"] = "stop",
        config: Config | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> Jury:
        """Train the members on a labelled reference.

        Parameters
        ----------
        reference
            Path of an h5ad, h5mu or zarr; AnnData; MuData. Raw counts are needed.
        labels
            Column of ``obs`` with Cell Ontology ids or labels.
        batch, donor
            Columns of ``obs``. Whole donors are held out to calibrate; batches stand in for them where there is no
            such column, random cells where there is one batch.
        out
            Folder of the jury; a temporary one if None (`save` keeps it).
        label_map
            SSSOM table for labels that are no names of the ontology.
        on_unmapped
            ``abstain`` leaves cells whose label maps to nothing out of the reference.
        resume
            Go on with an interrupted fit in ``out``: members that were finished are not fitted again.
        progress
            Called with (step, done, total).

        Raises
        ------
        CelljuryError
            One of its children, where the input is at fault; MemberError where no member could be fitted.
        """
        config = config or Config()
        inputs = (reference, label_map)
        if out:
            check_folder(Path(out), owned="jury.json", overwrite=overwrite, inputs=inputs)
        check_members(config)
        started = cpu_seconds()
        progress("read the reference", 0, 1)
        ontology = load_ontology(
            config.ontology.source, release=config.ontology.release, extra=config.ontology.extra_terms
        )
        cells = open_cells(reference, counts=config.counts, proteins=config.proteins)
        mapping = read_sssom(Path(label_map), ontology) if label_map else None
        column = cells.column(labels, option="--labels")
        mapped = map_column(column, ontology, where=cells.where, label_map=mapping, on_unmapped=on_unmapped)
        prepared = prepare_reference(
            cells, mapped, ontology, labels=labels, batch=batch, donor=donor, config=config
        )  # fmt: skip
        reference, genes = prepared.reference, prepared.genes
        # Only now: a reference at fault leaves an earlier jury where it is.
        folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="celljury-jury-"))
        if out:
            make_folder(folder, owned="jury.json", overwrite=overwrite, inputs=inputs)
        key = {"format": FORMAT, "config": config.model_dump(mode="json"), "labels": labels, "batch": batch,
               "donor": donor, "reference": fingerprint(reference), "versions": versions()}  # fmt: skip
        unfinished = folder / "unfinished.json"
        if not (resume and holds_json(unfinished, key)):
            for part in ("members", "calibration"):
                shutil.rmtree(folder / part, ignore_errors=True)
        write_json(unfinished, key)
        with log_to(folder / "log.jsonl"):
            progress("read the reference", 1, 1)
            log.info(
                "%s: raw counts in %s; %d labelled cells of %d types, %d unlabelled left out; %d genes kept",
                cells.where, cells.counts_in, reference.cells.n_cells, len(reference.terms), mapped.n_unlabelled,
                len(genes.names),
            )  # fmt: skip
            write_index(ontology, folder / "ontology.npz")
            space = Space.fit(reference, share=genes.share, seed=config.seed)
            space.save(folder / "space.npz")
            save_arrays(folder / "genes.npz", share=genes.share)
            References.fit(prepared, space, ontology, config).save(folder, ontology)
            held: HeldOut | None = None
            left_out: tuple[LeftOut, ...] = ()
            scratch = folder / "scratch"
            with Bench(config.engine, scratch, threads=config.threads, time_limit=config.time_limit) as bench:
                records = fit_members(reference, folder, bench, config, progress)
                present = {record.name: record for record in records}
                if config.calibration.enabled:
                    held = fit_evidence(
                        prepared, present, folder / "calibration", bench, space=space, ontology=ontology,
                        config=config, progress=progress,
                    )  # fmt: skip
                    left_out = leave_types_out(
                        prepared, held, present, folder / "calibration", bench, space=space, ontology=ontology,
                        config=config, progress=progress,
                    )  # fmt: skip
            told = describe_evidence(prepared, held, left_out, ontology, config)
        markers = marker_genes(reference)
        Profiles.fit(reference, markers).save(folder / "profiles.npz")
        about = {
            "format": FORMAT,
            "made": now(),
            "versions": versions(),
            "config": config.model_dump(mode="json"),
            "ontology": as_dict(ontology.source),
            "reference": {
                "file": cells.where,
                "sha256": sha256(cells.path) if cells.path else None,
                "counts_in": cells.counts_in,
                "labels": labels, "batch": batch, "donor": donor,
                "n_cells": reference.cells.n_cells, "n_unlabelled": int(mapped.n_unlabelled),
                "batches": reference.cells.batches,
                "n_donors": len(prepared.donors) if donor else None,
            },
            "genes": {"names": genes.names, "other": genes.other},
            **({"proteins": {"key": config.proteins, "names": reference.cells.proteins.names}}
               if reference.cells.proteins else {}),
            "terms": term_rows(prepared, mapped, ontology),
            "labels": [as_dict(row) | {"term": ontology.ids[row.i_term] if row.i_term >= 0 else None} for row in mapped.rows],
            "members": [record.as_dict() for record in records],
            "markers": markers,
            "calibration": told["calibration"],
            "cpu_seconds": round(cpu_seconds() - started, 2),
            "peak_memory_mb": peak_memory_mb(),
        }  # fmt: skip
        card = {
            name: about[name] for name in ("made", "versions", "ontology", "reference", "terms", "labels", "members")
        }
        write_card(folder, card | told)
        write_json(folder / "jury.json", about)
        unfinished.unlink()
        return cls(folder)

    @classmethod
    def load(cls, folder: Path | str) -> Jury:
        """Open a jury; no file of it can run code.

        Raises
        ------
        UnreadableFileError
            If the folder holds no finished jury.
        JuryVersionError
            If it was written in another format.
        """
        folder = Path(folder)
        path = folder / "jury.json"
        if not path.is_file():
            why = (
                "its fit was interrupted; run it again with --resume"
                if (folder / "unfinished.json").exists()
                else ("expected a folder made by celljury fit")
            )
            message = f"{folder} holds no jury (no jury.json): {why}."
            raise UnreadableFileError(message)
        jury = cls(folder)
        try:
            found = jury.about.get("format")
            missing = [name for name in _PARTS if found == FORMAT and name not in jury.about]
            missing += [name for name in _FILES if found == FORMAT and not (folder / name).exists()]
            if found == FORMAT and jury.about.get("reviewed") and not (folder / "calibration" / REVIEWED).is_file():
                missing.append(f"calibration/{REVIEWED}")
            made_by = jury.about.get("versions", {}).get("celljury", "an unknown version")
        except (ValueError, AttributeError) as error:
            message = f"{path} cannot be read: {error}. The jury is damaged; fit it again."
            raise UnreadableFileError(message) from error
        if missing:
            message = f"{path} lacks {', '.join(missing)}. The jury is damaged; fit it again."
            raise UnreadableFileError(message)
        if found != FORMAT:
            message = (
                f"{folder} was written by celljury {made_by} in jury format {found!r}; this version reads format {FORMAT}."
                " Fit the jury again with this version, or install the one that wrote it."
            )
            raise JuryVersionError(message)
        return jury

    def save(self, folder: Path | str) -> Jury:
        """Copy the jury to a folder and return the one there."""
        folder = Path(folder)
        make_folder(folder, owned="jury.json")
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("jury.json"))
        shutil.copy2(self.folder / "jury.json", folder / "jury.json")  # last: half a copy is no jury
        return Jury(folder)

    # What it knows --------------------------------------------------------------------------------------------------

    @cached_property
    def about(self) -> dict[str, Any]:
        """What ``jury.json`` says."""
        found: dict[str, Any] = json.loads((self.folder / "jury.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def config(self) -> Config:
        """The settings it was fitted with."""
        return Config.checked(self.about["config"], where=str(self.folder / "jury.json"))

    @cached_property
    def ontology(self) -> CellOntology:
        """The ontology release it was fitted with; a jury never changes its ontology."""
        return read_index(self.folder / "ontology.npz")

    @cached_property
    def genes(self) -> GeneTable:
        """The genes that its members learned from."""
        share = load_arrays(self.folder / "genes.npz")["share"].astype(np.float64)
        return GeneTable(tuple(self.about["genes"]["names"]), tuple(self.about["genes"]["other"]), share)

    @property
    def proteins(self) -> tuple[str, ...]:
        """Names of the proteins that its members learned from; empty where the reference had none."""
        return tuple(self.about.get("proteins", {"names": ()})["names"])

    @property
    def members(self) -> dict[str, MemberRecord]:
        """All members asked for, absent ones included."""
        return {row["name"]: MemberRecord(**row) for row in self.about["members"]}

    def n_reference(self) -> NDArray[np.int64]:
        """Return the reference cells at or below each term of the ontology, int64 (n_terms,)."""
        rows = self.about["terms"]
        above = self.ontology.ancestor_rows(self.ontology.indices([row["term"] for row in rows]))
        n_cells = np.array([row["n_cells"] for row in rows], np.int64)
        return np.asarray(n_cells @ above.astype(np.int64), np.int64)

    def n_reference_donors(self) -> NDArray[np.int64] | None:
        """Return a lower bound of the donors at or below each term, int64 (n_terms,); None where they are not known.

        The most that any one reference term below it has.
        """
        rows = self.about["terms"]
        if any(row["n_donors"] is None for row in rows):
            return None
        above = self.ontology.ancestor_rows(self.ontology.indices([row["term"] for row in rows]))
        n_donors = np.array([row["n_donors"] for row in rows], np.int64)
        return np.asarray((above * n_donors[:, None]).max(axis=0), np.int64)

    @cached_property
    def references(self) -> References:
        """What it knows of its reference beyond its members."""
        return References.load(self.folder, self.ontology)

    @cached_property
    def profiles(self) -> Profiles:
        """How its reference expresses the marker genes; a jury of an earlier version knows only their names."""
        path = self.folder / "profiles.npz"
        if path.is_file():
            return Profiles.load(path)
        return Profiles.unknown({row["term"]: row["n_cells"] for row in self.about["terms"]}, self.about["markers"])

    @property
    def evidence(self) -> Path | None:
        """Folder of what held-out donors showed; None where there is no calibration."""
        home = self.folder / "calibration"
        return home if (home / "heldout.json").is_file() else None

    def background(self, record: dict[str, Any], config: Config) -> Background:
        """Return what reasons need to know of a run; ``record`` is what ``run.json`` says of its genes and members."""
        return Background(
            members=tuple(member["name"] for member in record["members"]),
            absent={member["name"]: member["absent"] for member in record["members"] if member["absent"]},
            n_reference=self.n_reference(),
            n_reference_donors=self.n_reference_donors(),
            rare_cells=config.review.rare_cells,
            rare_donors=config.review.rare_donors,
            calibrated_run=record["tier"] != "none",
            tier=record["tier"],
            alpha=record["alpha"],
            eps=config.calibration.eps if self.evidence and config.calibration.unseen else None,
            relations=load_relations(self.ontology),
            marker_table=self.references.markers.statements,
            organism=record["sample"]["organism"],
            tissue=record["sample"]["tissue"],
            n_shared=record["genes"]["n_shared"],
            n_genes=record["genes"]["n_reference"],
            low_share=config.genes.low_share,
        )

    def _own_settings(self, config: Config) -> Config:
        """Refuse settings that only a fit can use: a run would record them without having used them."""
        other = [
            name
            for name, given, own in (
                ("members", config.member_names, self.config.member_names),
                ("settings", config.settings, self.config.settings),
                ("ontology", config.ontology, self.config.ontology),
                ("genes.n_variable", config.genes.n_variable, self.config.genes.n_variable),
                *(
                    (f"calibration.{name}", getattr(config.calibration, name), getattr(self.config.calibration, name))
                    for name in ("enabled", "folds", "heavy_folds", "max_cells")
                ),
            )
            if given != own
        ]
        if config.proteins is not None and not self.proteins:
            other.append("proteins")
        if other:
            message = (
                f"{', '.join(other)}: set when a jury is fitted, and this one ({self.folder}) was fitted with other values."
                " Leave them out of the config of annotate, or fit another jury."
            )
            raise ConfigError(message)
        return config

    def view(self, cells: Cells, *, batch: str | None, config: Config) -> Query:
        """Return an opened query in the jury's genes; errors as in `Query.of`."""
        return Query.of(
            cells, self.genes, batch=batch, min_shared=config.genes.min_shared, block_size=config.block_size,
            proteins=self.proteins,
        )  # fmt: skip

    def _open(self, query: Any, config: Config) -> Cells:
        """Open a query. It may lack proteins under the key that the jury was fitted with, not under one of its own."""
        try:
            return open_cells(query, counts=config.counts, proteins=config.proteins)
        except MissingColumnError:
            if config.proteins != self.config.proteins:
                raise
            return open_cells(query, counts=config.counts)

    def _verdict(
        self, view: Query, folder: Path, records: dict[str, MemberRecord], config: Config, progress: Progress
    ) -> tuple[Verdict | None, dict[str, Any]]:
        """Return what a run's cells are judged by, None without a calibration, and what ``run.json`` says of it."""
        if self.evidence is None:
            return None, {
                "rule": config.reduce.effective(calibrated=False), "tier": "none", "alpha": None, "calibration": None,
                "promise": "Not calibrated: agreement is a share of votes, not a probability of being right, and no"
                " error rate is promised. Whether a cell belongs to the reference at all was not tested in this run.",
            }  # fmt: skip
        progress("judge the run", 0, 1)
        sample = view.sample(per_batch=config.sample_per_batch)
        held, matching = held_out_for(
            self.evidence, sample, self.members, folder / "adapted", share=view.alignment.report.share,
            ontology=self.ontology, config=config, progress=progress,
        )  # fmt: skip
        predicted, score, why = find_doublets(view, folder, config, progress)
        verdict = reach_verdict(
            folder, held, self.references, ontology=self.ontology,
            terms=self.ontology.indices([row["term"] for row in self.about["terms"]]),
            absent=tuple(record.name for record in records.values() if record.absent), batches=view.batches,
            sample=sample, doublet=(predicted, score), config=config,
        )  # fmt: skip
        progress("judge the run", 1, 1)
        return verdict, describe_verdict(
            verdict, held, matching, why, batches=view.batches, ontology=self.ontology, settings=config.reduce
        )

    # Annotating -----------------------------------------------------------------------------------------------------

    def annotate(
        self,
        query: Any,
        *,
        batch: str | None = None,
        out: Path | str | None = None,
        config: Config | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> Run:
        """Let the members vote on a query and reduce their votes to calls.

        Parameters
        ----------
        query
            Path of an h5ad, h5mu or zarr; AnnData; MuData. Never changed.
        batch
            Column of ``obs`` with the query's batches; one batch if None.
        out
            Folder of the run; a temporary one if None.
        config
            Settings of this run; those of the jury if None. What members learned with stays the jury's.
        resume
            Go on with an interrupted run in ``out`` at the first missing part.

        Returns
        -------
        The run: ``votes/``, ``calls/``, ``calls.parquet`` and ``run.json``.
        """
        config = self._own_settings(config or self.config)
        config.reduce.effective(calibrated=self.evidence is not None)  # refused before any work
        inputs = (query, self.folder)
        if out:
            check_folder(Path(out), owned="run.json", overwrite=overwrite, inputs=inputs)
        started, began = cpu_seconds(), now()
        cells = self._open(query, config)
        sample_of(cells, config)  # an unknown organism is an error before any work
        view = self.view(cells, batch=batch, config=config)
        # Only now: a query at fault leaves an earlier result where it is.
        folder = Path(out) if out else Path(tempfile.mkdtemp(prefix="celljury-run-"))
        if out:
            make_folder(folder, owned="run.json", overwrite=overwrite, inputs=inputs)
        hashed = cells.fingerprint()
        # All that decides the votes: a resumed run must not join parts that were made differently.
        key = {"jury": sha256(self.folder / "jury.json"), "query": hashed, "counts_in": cells.counts_in, "batch": batch,
               "block_size": config.block_size, "sample": config.sample_per_batch, "seed": config.seed,
               "threads": config.threads, "versions": versions(), "proteins": config.proteins}  # fmt: skip
        unfinished = folder / "unfinished.json"
        same = holds_json(unfinished, key)
        if not (resume and same):
            for part in ("votes", "calls", "adapted"):
                shutil.rmtree(folder / part, ignore_errors=True)
        write_json(unfinished, key)
        with log_to(folder / "log.jsonl"):
            log.info("%s: raw counts in %s, %d cells", cells.where, cells.counts_in, cells.n_cells)
            log.info("%s: %s", cells.where, view.alignment.report.sentence())
            if view.proteins is not None:
                log.info("%s: %s", cells.where, view.proteins.report()["sentence"])
            records = collect_votes(
                self.folder, self.members, view, folder, ontology=self.ontology,
                references=self.references if self.evidence else None, config=config, progress=progress,
            )  # fmt: skip
            report = view.alignment.report
            verdict, told = self._verdict(view, folder, records, config, progress)
            record = {
                "genes": as_dict(report) | {"sentence": report.sentence()},
                **({"proteins": view.proteins.report()} if view.proteins else {}),
                "sample": sample_of(cells, config),
                "members": [member.as_dict() for member in records.values()],
                **told,
            }
            flagged = {
                kind: [row["term"] for row in self.about["terms"] if row[kind]] for kind in ("broad", "obsolete")
            }
            write_calls(
                folder, self.background(record, config), ontology=self.ontology, flagged=flagged, config=config,
                progress=progress, verdict=verdict,
            )  # fmt: skip
        if verdict is not None:
            n_unseen = count_unseen(folder)
            record["calibration"]["n_unseen"] = n_unseen
            if note := unseen_note(n_unseen, cells.n_cells):
                record["calibration"]["notes"].insert(0, note)
            if n_reviewed := sum(row["n_items"] for row in self.about.get("reviewed", [])):
                said = f"Members' weights also rest on {n_reviewed:,} reviewed items (jury.json: reviewed)."
                record["calibration"]["notes"].append(said)
        write_json(
            folder / "run.json",
            {
                "command": "annotate",
                "began": began, "ended": now(),
                "versions": versions(),
                "config": config.model_dump(mode="json"),
                "ontology": self.about["ontology"],
                "jury": {"folder": str(self.folder), "sha256": key["jury"], "made": self.about["made"]},
                "query": {
                    "file": cells.where, "sha256": hashed, "n_cells": cells.n_cells, "counts_in": cells.counts_in,
                    "batch": batch, "batches": view.batches,
                },
                **record,
                "reference_terms": [row["term"] for row in self.about["terms"]],
                "cpu_seconds": round(cpu_seconds() - started, 2),
                "peak_memory_mb": peak_memory_mb(),
            },
        )  # fmt: skip
        unfinished.unlink()
        shutil.rmtree(folder / "adapted", ignore_errors=True)
        return Run(folder)
