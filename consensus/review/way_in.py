"""How this machine's browser is given the address with the token: by a page that only its owner can read."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from tempfile import _TemporaryFileWrapper

# Nothing in the URL needs escaping: a name of this machine, a port, and a token of letters that URLs can hold.
_LEADS_ON: Final = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>celljury review</title>'
    '<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={url}">'
    '<p><a href="{url}">Open the review</a></p></html>'
)


@contextmanager
def way_in(url: str, folder: Path) -> Iterator[str]:
    """Give the address of a page in ``folder`` that leads on to ``url``; it is removed at the end.

    Every user of a machine can read the arguments that programs were started with, so a browser is not given a URL that is
    a key. The page is kept with the run where that can be written: browsers that are packaged as snaps cannot read the
    system's temporary folder.
    """
    with _file(folder) as page:
        page.write(_LEADS_ON.format(url=url))
        page.flush()
        yield Path(page.name).resolve().as_uri()


def _file(folder: Path) -> _TemporaryFileWrapper[str]:
    """Return a new file of mode 0600."""
    try:
        return tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, prefix="open-", suffix=".html")
    except OSError:
        return tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="celljury-open-", suffix=".html")
