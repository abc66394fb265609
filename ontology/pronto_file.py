"""Open a Cell Ontology release file (OBO, OWL, OBO-graph JSON) through pronto; whatever is wrong with it is one error."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from celljury.errors import MemberUnavailableError, UnreadableFileError
from celljury.ontology.release import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What pronto 2.7 raised on truncated, binary, empty and unrelated files; xml and JSON errors are children of these.
PRONTO_ERRORS: Final = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Give the file's pronto ontology, to be read inside the block: pronto finds some faults only when asked for a term.

    Imports are not followed.

    Raises
    ------
    UnreadableFileError
        If the file is missing, truncated, of another format, a directory, or holds no Cell Ontology term.
    MemberUnavailableError
        If pronto is not installed.
    """
    if find_spec("pronto") is None:
        message = f"reading {path} needs pronto. Install: pip install 'celljury[ontology]'"
        raise MemberUnavailableError(message)
    import pronto

    try:
        with warnings.catch_warnings():
            # pronto reports every clause that it does not model; none of them is read here.
            warnings.simplefilter("ignore")
            ontology = pronto.Ontology(path, import_depth=0, threads=1)
            holds_terms = any(term.id.startswith(PREFIX) and not term.obsolete for term in ontology.terms())
            if holds_terms:
                yield ontology
    except PRONTO_ERRORS as error:
        message = (
            f"cannot read {path} as an ontology: {_first_line(error)}. Expected a complete OBO, OWL or OBO-graph JSON"
            " file such as cl.obo. Download it again, or leave it out to use the release that is installed."
        )
        raise UnreadableFileError(message) from error
    if not holds_terms:
        message = f"{path} holds no Cell Ontology term (ids CL:...). Expected a release of CL such as cl.obo."
        raise UnreadableFileError(message)


def release_date(ontology: Any) -> str:
    """Return the date in the file's data version, the version itself if it holds none, ``unknown`` without one."""
    version = ontology.metadata.data_version or ""
    match = re.search(r"\d{4}-\d{2}-\d{2}", version)
    return match[0] if match else (version or "unknown")


def _first_line(error: BaseException) -> str:
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    return text.splitlines()[0][:200] if text.strip() else type(error).__name__
