"""The review screen's routes: a page for each item, a form for each press."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from celljury.review.drafts import new_key
from celljury.review.events import Action
from celljury.review.filters import Filters
from celljury.review.guard import LOOPBACK, Guard, give_cookie, is_secure
from celljury.review.lists import PAGE
from celljury.review.pages import STATIC, page, part_url
from celljury.review.points import item_points
from celljury.review.press import Press, RefusedPressError
from celljury.review.problems import HANDLERS

if TYPE_CHECKING:
    from starlette.requests import Request

    from celljury.review.accounts import Accounts
    from celljury.review.desk import Desk
    from celljury.review.guard import Visit
    from celljury.review.sessions import Sessions

MARKS: Final = {"open": "", "decided": "✓", "conflict": "!", "skipped": "~", "reopened": "↻", "split": "⑂"}
"""Signs beside the words for what an item is."""

_YEAR: Final = 365 * 24 * 3600


def review_app(
    desk: Desk,
    sessions: Sessions,
    *,
    reviewer: str = "",
    token: str = "",
    accounts: Accounts | None = None,
    hosts: frozenset[str] = LOOPBACK,
    cookie: str = "celljury",
) -> Guard:
    """Return the review of a desk as an ASGI application, guarded.

    Parameters
    ----------
    reviewer, token
        Whoever brings the token is this reviewer.
    accounts
        Without a token: who may log in.
    hosts
        Names under which the server is reached, in lower case, without ports.
    cookie
        Name of the session's cookie; another one for each server on a machine.
    """
    if bool(token) == (accounts is not None):
        message = "a review is entered either by a token or by accounts: give one of the two."
        raise ValueError(message)
    routes = _Routes(desk, sessions, accounts, cookie)
    app = Starlette(
        routes=[
            Route("/", routes.start),
            Route("/login", routes.login, methods=["GET", "POST"]),
            Route("/logout", routes.logout, methods=["POST"]),
            Route("/terms", routes.terms),
            Route("/points", routes.points),
            Route("/static/{name}", routes.static),
            Route("/item/{part_id:path}/points", routes.item_points),
            Route("/item/{part_id:path}/act", routes.act, methods=["POST"]),
            Route("/item/{part_id:path}/take", routes.take, methods=["POST"]),
            Route("/item/{part_id:path}", routes.item),
        ],
        exception_handlers=HANDLERS,
    )
    return Guard(app, sessions, reviewer=reviewer, token=token, hosts=hosts, cookie=cookie)


@dataclass(frozen=True, slots=True)
class _Routes:
    desk: Desk
    sessions: Sessions
    accounts: Accounts | None
    cookie: str

    # Pages ----------------------------------------------------------------------------------------------------------

    def start(self, request: Request) -> Response:
        """Go to the first item that is to do, in the list that is asked for."""
        filters = Filters.of(request.query_params)
        seen = self.desk.seen(_visit(request).reviewer or "")
        first = self.desk.lists.first(filters, seen)
        return _to_item(first, filters) if first else self._screen(request, filters, "")

    def item(self, request: Request) -> Response:
        """Show an item or part; what was split, or put together again, leads to what stands for it now."""
        filters = Filters.of(request.query_params)
        part_id = request.path_params["part_id"]
        self.desk.pack.rows_of(part_id)
        seen = self.desk.seen(_visit(request).reviewer or "")
        live = seen.live(part_id)
        if live != part_id:
            return _to_item(live, filters, said=_number(request, "said"))
        return self._screen(request, filters, part_id)

    def _screen(self, request: Request, filters: Filters, part_id: str) -> Response:
        visit, desk = _visit(request), self.desk
        reviewer = visit.reviewer or ""
        lock = desk.enter(part_id, reviewer) if part_id else None
        seen = desk.seen(reviewer)
        said = _number(request, "said")
        return page(
            "review.html",
            item=desk.item(part_id, filters, seen, lock) if part_id else None,
            next_open=desk.lists.after(part_id, filters, seen) if part_id else "",
            window=desk.lists.window(filters, seen, page=_number(request, "page"), here=part_id),
            choices=desk.lists.choices(seen),
            progress=desk.lists.progress(seen),
            heading=desk.heading,
            embedding=desk.embedding,
            said=desk.say(said, seen) if said else "",
            reviewer=reviewer,
            blind=desk.blind,
            can_log_out=self.accounts is not None,
            csrf=visit.form_token,
            new_key=new_key,
            marks=MARKS,
            page_size=PAGE,
        )

    def terms(self, request: Request) -> Response:
        """Suggest terms for what was typed."""
        text = request.query_params.get("term", "").strip()
        found = self.desk.search(text, request.query_params.get("item", ""))
        return page("terms.html", terms=found, asked=text)

    # Presses --------------------------------------------------------------------------------------------------------

    def act(self, request: Request) -> Response:
        """Do what a form asks for, and go on with the next item."""
        form, filters = request.state.form, Filters.of(request.query_params)
        press = _press(form, request.path_params["part_id"], _visit(request).reviewer or "")
        done = self.desk.act(press, filters)
        return _to_item(done.goto, filters, said=done.number) if done.goto else RedirectResponse("/", 303)

    def take(self, request: Request) -> Response:
        """Take an item over from who is on it."""
        part_id = request.path_params["part_id"]
        self.desk.pack.rows_of(part_id)
        self.desk.enter(part_id, _visit(request).reviewer or "", force=True)
        return _to_item(part_id, Filters.of(request.query_params))

    # Numbers and files ----------------------------------------------------------------------------------------------

    def points(self, request: Request) -> Response:
        """Send the background cells, once for as long as they stay the same."""
        return _cached(request, self.desk.drawn)

    def item_points(self, request: Request) -> Response:
        """Send all cells of an item or part."""
        return _cached(request, item_points(self.desk.pack, request.path_params["part_id"]))

    def static(self, request: Request) -> Response:
        """Send one of the known files."""
        file = STATIC.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        headers = {"Cache-Control": f"public, max-age={_YEAR}, immutable"}
        return Response(file.body, media_type=file.kind, headers=headers)

    # Coming and going -----------------------------------------------------------------------------------------------

    def login(self, request: Request) -> Response:
        """Ask for a name and password, and begin a session."""
        if self.accounts is None:
            raise HTTPException(404)
        visit, secure = _visit(request), is_secure(request)
        wrong, name, status = "", "", 200
        if request.method == "POST":
            name = request.state.form.get("name", "")
            found = self.accounts.log_in(name, request.state.form.get("password", ""))
            if found.right:
                if visit.reviewer is not None:
                    self.sessions.end(visit.session_id)
                home = RedirectResponse("/", status_code=303)
                give_cookie(home, self.cookie, self.sessions.begin(name), secure=secure)
                return home
            wrong = "Name or password is wrong."
            status = 403
            if found.wait > 0:
                wrong, status = f"Too many wrong passwords. Wait {int(found.wait) + 1} seconds.", 429
        answer = page(
            "login.html", status=status, csrf=visit.form_token, wrong=wrong, name=name[:64], secure=secure
        )  # fmt: skip
        # Nobody yet, but the form needs a cookie that it can be bound to.
        give_cookie(answer, self.cookie, visit.session_id, secure=secure)
        return answer

    def logout(self, request: Request) -> Response:
        """End the session."""
        self.sessions.end(_visit(request).session_id)
        answer = RedirectResponse("/login" if self.accounts is not None else "/", status_code=303)
        answer.delete_cookie(self.cookie, path="/")
        return answer


def _visit(request: Request) -> Visit:
    found: Visit = request.state.visit
    return found


def _number(request: Request, name: str) -> int:
    """Return a small number of the query; 0 where it is none."""
    said = request.query_params.get(name, "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 10 else 0


def _press(form: dict[str, str], part_id: str, reviewer: str) -> Press:
    """Return what a form asks for: ``do`` is an action, or an action with what it is about, ``choose:CL:0000084``."""
    do, _, what = form.get("do", "").partition(":")
    redo = do == "redo"
    status, term = "resolved", what or form.get("term", "")
    if do == "settle":
        status, _, term = what.partition(":")
    try:
        action = Action("undo" if redo else do)
    except ValueError:
        message = f"{do[:40]!r} is nothing that can be done here. Load the page again."
        raise RefusedPressError(message) from None
    return Press(
        reviewer=reviewer, part_id=part_id, action=action, key=form.get("key", ""),
        term="" if action is Action.SPLIT else term.strip(), status=status,
        note=form.get("note", "").replace("\r\n", "\n"), by=what if action is Action.SPLIT else "",
        alike=bool(form.get("alike")), redo=redo,
    )  # fmt: skip


def item_url(part_id: str) -> str:
    """Return the path of an item's page."""
    return f"/item/{part_url(part_id)}"


def _to_item(part_id: str, filters: Filters, *, said: int = 0) -> Response:
    return RedirectResponse(item_url(part_id) + filters.query(said=said or ""), status_code=303)


def _cached(request: Request, body: bytes) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    # Kept by the browser alone, and asked for again each time: who is no longer let in no longer sees them.
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/octet-stream", headers=headers)
