"""What stands between the network and the review screen: it lets in whom it knows, from our own pages only.

Refused before a route sees it: a Host that we do not serve (DNS rebinding), a request without a session, a post from
another site or without the session's form token, a body that is large, slow or no plain form. Every answer carries the
headers that keep other people's text harmless in our pages.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from celljury.errors import CelljuryError
from celljury.review.pages import problem
from celljury.review.sessions import form_token, new_secret, same

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from celljury.review.sessions import Sessions

LARGEST_BODY: Final = 64 * 1024
LONGEST_QUERY: Final = 4 * 1024
MOST_FIELDS: Final = 40
SLOWEST_BODY: Final = 20.0
"""Seconds within which a form must have come."""

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Refused(Exception):
    """A request that gets no further, with the status and the page that say why."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(text)
        self.status, self.title, self.text = status, title, text


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks: the reviewer (None = nobody yet, on the page that asks for a name), the cookie, and the token of forms."""

    reviewer: str | None
    session_id: str

    @property
    def form_token(self) -> str:
        """What forms must carry."""
        return form_token(self.session_id)


@dataclass(frozen=True, slots=True)
class Guard:
    """Middleware; routes find `Visit` in ``request.state.visit`` and a post's fields in ``request.state.form``.

    Attributes
    ----------
    app
        What is guarded.
    sessions
        Who keeps sessions.
    reviewer
        Whose session the token begins.
    token
        The secret of the printed URL; "" = people log in by name on ``/login``.
    hosts
        Names, in lower case and without a port, under which we are reached.
    cookie
        The cookie's name. Cookies do not know ports: two servers on one machine need two names.
    """

    app: ASGIApp
    sessions: Sessions
    reviewer: str = ""
    token: str = field(default="", repr=False)
    hosts: frozenset[str] = LOOPBACK
    cookie: str = "celljury"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Refused as refusal:
            answer = problem(refusal.status, refusal.title, refusal.text)
        except CelljuryError as error:
            # Sessions may be in a database, and that may be gone.
            answer = problem(503, "Not now", str(error))
        await (answer or self.app)(scope, receive, _sealed(send))

    async def _answer(self, request: Request) -> Response | None:
        """Return our own answer, or None where the request may pass; raise Refused where it may not."""
        self._check_host(request)
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(405, "Not a thing to ask for", "Only GET and POST are answered here.")
        if len(request.url.query) > LONGEST_QUERY:
            raise Refused(414, "Too long", f"The address has more than {LONGEST_QUERY:,} characters.")
        path = request.url.path
        if path.startswith("/static/"):
            return None if request.method != "POST" else _not_here()
        if self.token and path == "/" and request.method == "GET" and "token" in request.query_params:
            return await self._exchange(request)
        session_id = request.cookies.get(self.cookie, "")
        reviewer = await run_in_threadpool(self.sessions.reviewer_of, session_id) if session_id else None
        if reviewer is None and not (path == "/login" and not self.token):
            return self._stranger(request)
        visit = Visit(reviewer, session_id or new_secret())
        scope_state = request.scope.setdefault("state", {})
        scope_state["visit"] = visit
        if request.method == "POST":
            self._check_origin(request)
            form = await _form(request)
            if not session_id or not same(form.get("csrf", ""), visit.form_token):
                raise Refused(
                    403,
                    "This form is not valid any more",
                    "It was made for another session. Load the page again, then repeat it.",
                )
            scope_state["form"] = form
        return None

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if _name_of(host) not in self.hosts:
            text = f"This server is not reached under the name {host[:100]!r}. Open the address that it printed."
            raise Refused(400, "Unknown host", text)

    def _check_origin(self, request: Request) -> None:
        """Refuse a post that another site's page sends. Without any of the three headers no browser sent it."""
        fetched = request.headers.get("sec-fetch-site")
        came_from = request.headers.get("origin") or request.headers.get("referer")
        try:
            sender = urlsplit(came_from or "").netloc.lower()
        except ValueError:
            sender = ""
        # Plain forms of a page without referrers carry the origin "null"; then the browser itself says whose page it was.
        ours = (
            fetched == "same-origin"
            if came_from in (None, "null") and fetched is not None
            else came_from is None or sender == request.headers.get("host", "").lower()
        )
        if not ours or fetched not in (None, "same-origin"):
            text = "It was sent by a page of another site, or by a browser that does not say whose page it was."
            raise Refused(403, "Not from here", text)

    async def _exchange(self, request: Request) -> Response:
        if not same(request.query_params["token"], self.token):
            raise Refused(403, "Wrong token", _HOW_TO_COME_IN)
        # After a link on another page, such as `celljury.review.way_in`'s, a redirect would not carry the strict cookie; a
        # page of ours that leads on does.
        from_elsewhere = request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        answer: Response = HTMLResponse(_LEADS_ON) if from_elsewhere else RedirectResponse("/", status_code=303)
        session_id = await run_in_threadpool(self.sessions.begin, self.reviewer)
        give_cookie(answer, self.cookie, session_id, secure=is_secure(request))
        return answer

    def _stranger(self, request: Request) -> Response:
        waits = request.method == "POST" or request.headers.get("hx-request")
        if self.token and not waits:
            raise Refused(403, "Who is there?", _HOW_TO_COME_IN)
        if waits:
            how = "Open the address that celljury review printed last" if self.token else "Log in again"
            text = f"Your session is over. {how} in another tab; what is on this page stays as it is."
            raise Refused(403, "Your session is over", text)
        return RedirectResponse("/login", status_code=303)


_HOW_TO_COME_IN: Final = (
    "Open the address that celljury review printed when it started, with its whole token. A session ends after 12 hours,"
    " or 2 hours without use, and with the server. If you have just opened that address, choose Try again."
)

_LEADS_ON: Final = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>celljury review</title>'
    '<link rel="icon" href="data:,"><meta http-equiv="refresh" content="0; url=/"><p><a href="/">Open the review</a></p></html>'
)


def give_cookie(answer: Response, name: str, session_id: str, *, secure: bool) -> None:
    """Give the browser its session: out of reach of scripts, and sent from our own pages only."""
    answer.set_cookie(name, session_id, httponly=True, samesite="strict", secure=secure, path="/")


def is_secure(request: Request) -> bool:
    """Return whether the browser's side of the connection is encrypted, by us or by a proxy before us."""
    # A forged header would only make the cookie stricter.
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "") == "https"


def _not_here() -> Response:
    raise Refused(405, "Not a thing to ask for", "Nothing is posted here.")


def _name_of(host: str) -> str:
    """Return the name in a Host header without its port, in lower case; "" where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    plain = parts.netloc == host and parts.username is None and "/" not in host
    return (parts.hostname or "").rstrip(".") if plain else ""


async def _form(request: Request) -> Mapping[str, str]:
    """Return the fields of a plain form, the last of each name; raise Refused where it is none, or too large."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "Not a form", f"Expected application/x-www-form-urlencoded, got {kind[:80]!r}.")
    too_large = Refused(413, "Too large", f"A form may hold {LARGEST_BODY:,} bytes. A note is meant to be short.")
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > LARGEST_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BODY:
                    raise too_large
    except TimeoutError:
        raise Refused(408, "Too slow", "The form did not arrive. Send it again.") from None
    try:
        return dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
        )
    except ValueError:
        raise Refused(400, "Not a form", "The form's text cannot be read.") from None


def _sealed(send: Send) -> Send:
    """Return a sender that adds our headers to an answer; a page is not kept by caches unless it says otherwise."""

    async def sealed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sealed
