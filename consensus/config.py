"""Every setting of a jury and of a run, in one checked model; unknown keys are refused."""

from __future__ import annotations

import json
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from celljury.errors import ConfigError

DEFAULT_MEMBERS = ("logistic", "celltypist", "symphony", "singler", "scvi_knn", "scanvi")

Share = Annotated[float, Field(ge=0, le=1)]

# Settings of members that name a file or folder of the user's.
MEMBER_FILES = (
    "model", "label_map", "checkpoint", "tokens", "medians", "gene_ids", "weights", "azimuth_reference", "python",
)  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OntologySettings(_Section):
    """Which Cell Ontology is used."""

    source: Path | None = Field(None, description="An OBO, OWL or OBO-graph JSON file; none = the release that ships.")
    release: str | None = Field(None, description="A release date that ships, e.g. 2026-03-26; none = the newest.")
    extra_terms: Path | None = Field(None, description="TSV of your own terms: id, label, parents, synonyms.")


class GeneSettings(_Section):
    """Which genes members learn from."""

    n_variable: int = Field(4000, ge=50, description="Highly variable genes that members learn from.")
    min_shared: int = Field(100, ge=10, description="A query sharing fewer of the jury's genes is refused.")
    low_share: Share = Field(0.5, description="Below this share of the jury's genes every cell carries low_genes.")


class TooGeneralSettings(_Section):
    """Which terms are no label: a call that ends there is unresolved."""

    terms: tuple[str, ...] | None = Field(None, description="Ids of too general terms; none = the list that ships.")
    max_descendants: int | None = Field(None, ge=1, description="Terms with more descendants are too general.")
    exceptions: tuple[str, ...] = Field((), description="Ids that are never too general.")


class ReduceSettings(_Section):
    """How votes become a term."""

    rule: Literal["auto", "calibrated", "lca", "quorum"] = Field(
        "auto",
        description="auto: calibrated where the jury has a calibration, else lca. lca: below all votes; quorum: below a"
        " share of them.",
    )
    quorum: float = Field(0.5, ge=0.5, le=1, description="Share of votes that must lie at or below the term.")
    on: Literal["votes", "mass"] = Field("votes", description="Count top votes, or pool the members' probabilities.")
    tail: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.05, description="Rule lca on mass: share of the pooled mass that may lie elsewhere."
    )

    def effective(self, *, calibrated: bool) -> Literal["calibrated", "lca", "quorum"]:
        """Return the rule in force.

        Raises
        ------
        ConfigError
            If ``calibrated`` is asked for and there is no calibration.
        """
        if self.rule == "calibrated" and not calibrated:
            message = (
                'reduce.rule = "calibrated" needs a jury with a calibration, and this one has none (calibration.enabled ='
                " false, or too few held-out cells). Fit it again with one, or use lca or quorum."
            )
            raise ConfigError(message)
        if self.rule == "auto":
            return "calibrated" if calibrated else "lca"
        return self.rule

    @property
    def threshold(self) -> float:
        """Share of votes or mass that must lie at or below the call.

        Probabilities have tails: on mass, "below everything" would nearly always be the root, so ``lca`` leaves ``tail``.
        """
        if self.rule == "quorum":
            return self.quorum
        return 1.0 - self.tail if self.on == "mass" else 1.0


class CalibrationSettings(_Section):
    """What held-out donors are used for."""

    enabled: bool = Field(
        default=True, description="Hold donors out when a jury is fitted; without it nothing is promised."
    )
    folds: int = Field(5, ge=2, description="Folds of donors (or of cells of one donor) for light members.")
    heavy_folds: int = Field(
        2, ge=1, description="The same for members that train for minutes; 1 = trained once, on half of the donors."
    )
    max_cells: int = Field(10_000, ge=50, description="Held-out cells kept, shared out over donors.")
    alpha: float = Field(0.05, gt=0, lt=1, description="Share of wrong calls that is aimed at.")
    tier: Literal["auto", "exact-donor", "cluster-t", "cell", "none"] = Field(
        "auto", description="Which promise is asked for (docs/tiers.md); auto = cluster-t, else cell."
    )
    loss: Literal["strict", "lenient"] = Field(
        "strict", description="lenient: a call below a coarse true label does not count as wrong."
    )
    strata: Literal["auto", "none"] = Field(
        "auto", description="auto: a threshold for each compartment where donors and cells allow."
    )
    pool: Literal["equal", "calibrated", "held-out", "reliability", "dawid-skene"] = Field(
        "reliability", description="How members are weighed: see docs/decision.md."
    )
    member: Literal["auto", "temperature", "confusion"] = Field(
        "auto", description="How a member's probabilities are calibrated; auto = what predicts other folds better."
    )
    prior_votes: float = Field(20.0, gt=0, description="Query votes that a held-out confusion row is worth.")
    eps: float = Field(0.05, gt=0, lt=1, description="Share of seen cells that may be called unseen.")
    unseen: bool = Field(default=True, description="Test whether cells belong to the reference.")
    match: Literal["auto", "always", "off"] = Field(
        "auto",
        description="Predict held-out cells again with the query's genes and depth: auto = where it lacks 5 % of the"
        " reference's counts or has half of its depth.",
    )


class ReviewSettings(_Section):
    """Which cells a curator should see."""

    max_conflict: Share = Field(0.25, description="A resolved call with more conflicting votes needs review.")
    rare_cells: int = Field(10, ge=0, description="A call resting on fewer reference cells carries rare_in_reference.")
    rare_donors: int = Field(2, ge=0, description="The same for fewer donors, where the jury knows them.")
    doublets: int = Field(
        50_000, ge=0, description="Queries of up to so many cells are searched for doublets (Scrublet); 0 = none."
    )


class Config(_Section):
    """All settings; the resolved ones stand in ``jury.json`` and ``run.json``."""

    members: Literal["default", "all-required"] | tuple[str, ...] = Field(
        "default", description="Names of members; all-required = the default ones, and stop where one is absent."
    )
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="[settings.NAME]: a member's own keys."
    )
    seed: int = Field(0, ge=0, description="Seeds every random choice.")
    threads: int = Field(
        1, ge=1, description="Threads a member may use; results differ in the last bits between counts."
    )
    engine: Literal["local", "processes"] = Field(
        "processes", description="processes: members work in processes of their own kind; local: in this one."
    )
    time_limit: float | None = Field(
        None, gt=0, description="Seconds a member may take for a step (engine processes); none = no limit."
    )
    block_size: int = Field(8192, ge=1, description="Cells read and predicted at once.")
    sample_per_batch: int = Field(2000, ge=1, description="Query cells per batch that members adapt on.")
    counts: str = Field("auto", description="Where raw counts are: auto, X, raw.X or layers/NAME.")
    proteins: str | None = Field(
        None, description="obsm key with protein counts, e.g. protein_expression: needed by totalvi_knn."
    )
    organism: str | None = Field(
        None, description="The samples' organism, e.g. human; none = obs['organism_ontology_term_id'] where it has one."
    )
    tissue: str | None = Field(
        None, description="Their tissue, e.g. UBERON:0002048; none = obs['tissue_ontology_term_id'] where it has one."
    )
    slim: str = Field(
        "cell_subclass", description="Level of tables/summary.tsv: a slim's name, depth:N or a file of ids."
    )
    embedding: Literal["auto", "umap", "pca"] = Field("auto", description="What the figures are drawn on.")
    ontology: OntologySettings = OntologySettings()
    genes: GeneSettings = GeneSettings()
    too_general: TooGeneralSettings = TooGeneralSettings()
    reduce: ReduceSettings = ReduceSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    review: ReviewSettings = ReviewSettings()

    @field_validator("members", mode="before")
    @classmethod
    def _check_members(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in value):
            if not value:
                message = "expected at least one member"
                raise ValueError(message)
            if len(set(value)) < len(value):
                message = "expected every member once: a member has one vote"
                raise ValueError(message)
        elif value not in ("default", "all-required"):
            message = 'expected "default", "all-required" or a list of names such as ["logistic", "singler"]'
            raise ValueError(message)
        return value

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the members asked for."""
        return DEFAULT_MEMBERS if isinstance(self.members, str) else self.members

    @property
    def all_required(self) -> bool:
        """Whether an absent member stops the run."""
        return self.members == "all-required"

    @classmethod
    def read(cls, path: Path | None = None, *, base: Self | None = None, **changes: Any) -> Self:
        """Read a TOML file (or nothing) and apply ``changes``, given as ``section__key=value``; None changes nothing.

        Keys that neither gives keep the value that ``base`` has, else their default.

        Raises
        ------
        ConfigError
            If the file cannot be read, or a key is unknown or out of range.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                # Editors on Windows write a byte order mark, which TOML does not know.
                values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            except OSError as error:
                message = (
                    f"config {path} cannot be read: {error.strerror}. Expected a TOML file (docs/configuration.md)."
                )
                raise ConfigError(message) from error
            except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                message = f"config {path} cannot be read as TOML: {error}. Expected lines such as: seed = 1."
                raise ConfigError(message) from error
            cls.checked(values, where=str(path))  # alone first, so that no option hides what is wrong in it
            _anchor(values, path.parent)
        if base is not None:
            values = _merged(base.model_dump(mode="json"), values)
        for key, value in changes.items():
            if value is None:
                continue
            *sections, last = key.split("__")
            change: dict[str, Any] = {last: value}
            for section in reversed(sections):
                change = {section: change}
            values = _merged(values, change)
        return cls.checked(values, where="the options")

    @classmethod
    def checked(cls, values: dict[str, Any], *, where: str) -> Self:
        """Build from plain values, with an error that names the key, the rule and what was given."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = []
            for problem in error.errors():
                key = ".".join(str(part) for part in problem["loc"])
                if problem["type"] == "extra_forbidden":
                    known = cls._section(problem["loc"])
                    near = get_close_matches(str(problem["loc"][-1]), known, n=1)
                    hint = f" Did you mean {near[0]}?" if near else ""
                    lines.append(f"  {key}: there is no such setting.{hint} Known here: {', '.join(known)}.")
                elif problem["type"] in ("model_type", "dict_type"):
                    lines.append(f"  {key}: expected a section of settings, [{key}], got {problem['input']!r}.")
                else:
                    rule = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
                    lines.append(f"  {key}: {rule}, got {problem['input']!r}.")
            message = (
                f"{where}: {len(lines)} setting(s) do not fit:\n"
                + "\n".join(lines)
                + "\nCorrect them; docs/configuration.md lists every setting."
            )
            raise ConfigError(message) from error

    @classmethod
    def _section(cls, loc: tuple[int | str, ...]) -> list[str]:
        model: Any = cls
        for part in loc[:-1]:
            field = model.model_fields.get(part)
            model = field.annotation if field else model
        return list(getattr(model, "model_fields", {}))

    def to_toml(self) -> str:
        """Return the resolved settings as TOML."""
        import tomli_w

        return tomli_w.dumps(json.loads(self.model_dump_json(exclude_none=True)))


def _anchor(values: dict[str, Any], folder: Path) -> None:
    """Make files that a config names absolute: they are meant relative to it, and a jury is used from elsewhere."""
    ontology = values.get("ontology")
    of_members = values.get("settings")
    sections = of_members.values() if isinstance(of_members, dict) else ()
    places = [(ontology, "source"), (ontology, "extra_terms"), (values, "slim")]
    for section, key in (*places, *((section, key) for section in sections for key in MEMBER_FILES)):
        if not isinstance(section, dict):
            continue
        name = section.get(key)
        if isinstance(name, str) and (folder / name).exists():
            section[key] = str((folder / name).resolve())


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return ``below`` with the keys of ``above`` laid over it, section by section."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
