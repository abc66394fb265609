"""Pages from templates: text is escaped unless a function of ours made it markup; static files from a fixed table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

_HERE: Final = Path(__file__).parent

_KINDS: Final = {
    "review.css": "text/css; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "embedding.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "htmx.LICENSE.txt": "text/plain; charset=utf-8",
}
"""What is served under ``/static``; no other file is ever read."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent: bytes, kind, and a tag that changes with them."""

    body: bytes
    kind: str
    tag: str

    @classmethod
    def read(cls, name: str) -> StaticFile:
        """Read one of the known files."""
        body = (_HERE / "static" / name).read_bytes()
        return cls(body, _KINDS[name], hashlib.sha256(body).hexdigest()[:16])


STATIC: Final = {name: StaticFile.read(name) for name in _KINDS}


def static_url(name: str) -> str:
    """Return where a static file is; another version of it is elsewhere, so browsers may keep it."""
    return f"/static/{name}?v={STATIC[name].tag}"


def clock(at: str) -> str:
    """Return an ISO time as the hour and minute where the server stands."""
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M")


def day(at: str) -> str:
    """Return an ISO time as day, hour and minute where the server stands."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["static_url"] = static_url
    found.filters |= {"clock": clock, "day": day, "count": "{:,}".format, "plural": plural, "part_url": part_url}
    return found


def plural(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def part_url(part_id: str) -> str:
    """Return an item's or part's id as it stands in a path; members' names are in it, and may hold anything."""
    return quote(part_id, safe="~")


_PAGES: Final = _environment()


def page(template: str, *, status: int = 200, **said: Any) -> Response:
    """Return the page that a template makes."""
    return HTMLResponse(_PAGES.get_template(template).render(**said), status_code=status)


def problem(status: int, title: str, text: str, *, again: str = "/") -> Response:
    """Return the page that says what went wrong, with a way on."""
    return page("problem.html", status=status, code=status, title=title, text=text, again=again)
