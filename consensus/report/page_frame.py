"""The frame of our pages: head with the rules for the browser, header, links to the blocks, blocks, footer.

A page is one HTML file that asks for nothing outside itself. What the browser may do is said in the page: nothing, but
the images inside it and, where there is one, the one script that is known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from celljury.markup import Html, el, joined
from celljury.report.page_style import STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping


def page_of(
    *,
    kind: str,
    subject: str,
    title: str,
    about: str,
    places: Mapping[str, str],
    blocks: Mapping[str, Html | None],
    footer: Any,
    style: str = "",
    script: str = "",
    images: bool = False,
) -> str:
    """Return a page.

    Parameters
    ----------
    kind, subject
        What the page is, and of what: its first line.
    title
        What a browser's tab shows.
    about
        The most important numbers in a line.
    places
        Name of a block -> what the link to it says.
    blocks
        Name -> block (`celljury.markup.section` of that name), in their order; None = the page has no such block.
    style
        Rules beside those that all pages share.
    script
        A script that the browser may run; empty = none.
    images
        Whether there are images, inside the page.
    """
    there = {name: block for name, block in blocks.items() if block is not None}
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", **{"http-equiv": "Content-Security-Policy"}, content=policy(script=script, images=images)),
        el("title", f"{title} · celljury"),
        el("style", Html(STYLE + style)),
    )
    body = el(
        "body",
        el("header", el("h1", kind, el("span", subject)), el("p", about)),
        el("nav", *(el("a", places[at], href=f"#{at}") for at in there), aria_label="On this page"),
        el("main", *there.values()),
        el("footer", footer),
        *((el("script", Html(script)),) if script else ()),
    )
    return joined((Html("<!doctype html>\n"), el("html", head, body, lang="en"), Html("\n")))


def policy(*, script: str = "", images: bool = False) -> str:
    """Return what a browser may load and run, should any text ever get through as markup (CSP level 3)."""
    parts = ["default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'"]
    if images:
        parts.insert(1, "img-src data:")
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
        parts.append(f"script-src 'sha256-{digest}'")
    return "; ".join(parts)
