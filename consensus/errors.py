"""Every error celljury raises on purpose: what, where, expected, got, next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class CelljuryError(Exception):
    """Base of all errors that celljury raises; each child is also the builtin it refines."""

    exit_status: ClassVar[int] = 1

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; people read these messages.
        return str(self.args[0]) if self.args else ""


class InputError(CelljuryError, ValueError):
    """An input is at fault in a way that none of the children names."""


class ConfigError(CelljuryError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class OntologyError(CelljuryError, ValueError):
    """An ontology file or extra term is inconsistent: a cycle, a clash, a missing parent."""


class UnknownTermError(CelljuryError, KeyError):
    """A term, label or synonym is not in the loaded ontology."""

    @classmethod
    def for_text(cls, text: str, *, release: str, near: Sequence[tuple[str, str]] = ()) -> Self:
        """Build the error for ``text``, naming ``near`` as (id, label) pairs."""
        hint = ", ".join(f"{term_id} {label!r}" for term_id, label in near)
        tail = f" Nearest: {hint}." if hint else " Look it up with: celljury ontology search TEXT."
        return cls(f"{text!r} is no id, label or synonym of a live term in CL {release}.{tail}")


class UnknownLabelError(CelljuryError, KeyError):
    """A label has no Cell Ontology term."""

    @classmethod
    def for_labels(
        cls, labels: Iterable[tuple[str, int, Sequence[tuple[str, str]]]], *, column: str, where: str
    ) -> Self:
        """Build the error for (label, cells, nearest (id, label) pairs) of one column."""
        lines = []
        for label, n_cells, near in labels:
            hint = ", ".join(f"{term_id} {name!r}" for term_id, name in near) or "nothing similar"
            lines.append(f"  {label!r} ({n_cells:,} cells); nearest: {hint}")
        return cls(
            f"{len(lines)} label(s) in column {column!r} of {where} match no Cell Ontology term:\n"
            + "\n".join(lines)
            + f"\nDraft a map with: celljury map {where} --labels {column} --out map.sssom.tsv; finish it by hand and pass"
            " it with --map. Or pass --on-unmapped abstain to leave these cells out."
        )


class MissingColumnError(CelljuryError, KeyError):
    """A named column is not there."""

    @classmethod
    def for_column(cls, column: str, *, where: str, have: Iterable[str], option: str = "") -> Self:
        """Build the error for ``column`` missing from ``where``."""
        names = list(have)
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        tail = f" Pass another with {option}." if option else ""
        return cls(f"{where} has no column {column!r}. It has: {shown or 'no columns'}.{tail}")


class CountsError(CelljuryError, ValueError):
    """No raw counts were found."""


class GenesError(CelljuryError, ValueError):
    """Too few genes are shared between query and reference, or gene names cannot be read."""


class CellsError(CelljuryError, ValueError):
    """Cell names are duplicated, or there are no cells."""


class BatchError(CelljuryError, ValueError):
    """A batch column is empty or has missing values."""


class UnreadableFileError(CelljuryError, OSError):
    """A file is missing, truncated, of another format, or a directory."""


class OutputError(CelljuryError, OSError):
    """An output cannot be written."""

    @classmethod
    def for_path(cls, path: Path, reason: str, *, option: str = "--out") -> Self:
        """Build the error for ``path``, which ``option`` named."""
        return cls(f"cannot write to {path}: {reason}. Pass another place with {option}.")


class JuryVersionError(CelljuryError, ValueError):
    """A jury folder was written by a version of celljury whose format this one does not read."""


class UntrustedModelError(CelljuryError, PermissionError):
    """Loading a file would run code from it, and nobody said that it may."""

    @classmethod
    def for_path(cls, path: Path) -> Self:
        """Build the error for the model file ``path``."""
        return cls(
            f"{path} is a pickle: loading it can run any code that its author put in it. If you trust where it came"
            " from, say so with --trust-model."
        )


class MemberError(CelljuryError, RuntimeError):
    """A member failed, and the run was told not to go on without it."""

    exit_status = 3


class MemberUnavailableError(CelljuryError, ImportError):
    """A member's library is not installed."""

    exit_status = 3

    @classmethod
    def for_member(cls, name: str, *, missing: Sequence[str], extra: str) -> Self:
        """Build the error for member ``name`` that lacks the modules ``missing``."""
        return cls(f"member {name!r} needs {', '.join(missing)}. Install: pip install 'celljury[{extra}]'")


class MissingLibraryError(CelljuryError, ImportError):
    """An optional library that an output needs is not installed."""

    exit_status = 3

    @classmethod
    def for_output(cls, what: str, *, missing: str, extra: str, instead: str = "") -> Self:
        """Build the error for ``what``, which needs the library ``missing``; ``instead`` is another way out."""
        return cls(
            f"{what} needs {missing}. Install: pip install 'celljury[{extra}]'{f'; {instead}' if instead else ''}."
        )
