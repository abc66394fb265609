"""What went wrong, as a page: what happened and the way on, never a traceback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException

from celljury.errors import CelljuryError, InputError, UnknownTermError
from celljury.review.pack import UnknownItemError
from celljury.review.pages import part_url, problem
from celljury.review.press import RefusedPressError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)


def unknown_item(request: Request, error: Exception) -> Response:
    """Say that there is no such item, or part of one."""
    return problem(404, "No such item", str(error))


def refused(request: Request, error: Exception) -> Response:
    """Say why a press was not done, with the way back to its item."""
    part_id = request.path_params.get("part_id", "")
    return problem(409, "Not done", str(error), again=f"/item/{part_url(part_id)}" if part_id else "/")


def wrong(request: Request, error: Exception) -> Response:
    """Say what was wrong with what was sent."""
    return problem(400, "Not done", str(error))


def unavailable(request: Request, error: Exception) -> Response:
    """Say that the log could not be written or read; the press may be sent again."""
    _log.error("%s", error)
    return problem(503, "Not done", str(error))


def inconsistent(request: Request, error: Exception) -> Response:
    """Say that the run's files do not fit together, which no second try changes."""
    _log.error("%s", error)
    text = f"{error} The files of this review do not fit together: take the folder review/pack away and start it again."
    return problem(500, "This cannot be shown", text)


def http(request: Request, error: Exception) -> Response:
    """Say that there is no such page."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text = "There is no such page." if status == 404 else "That cannot be asked for here."
    return problem(status, "Not here" if status == 404 else "Not done", text)


def broken(request: Request, error: Exception) -> Response:
    """Say that it was our fault."""
    # The traceback goes to the server's log; a page of ours never shows one.
    return problem(500, "Something went wrong here", "It was a fault of this program; its terminal says more.")


HANDLERS: Final[dict[Any, Any]] = {
    UnknownItemError: unknown_item,
    RefusedPressError: refused,
    InputError: wrong,
    UnknownTermError: inconsistent,
    CelljuryError: unavailable,
    HTTPException: http,
    Exception: broken,
}
"""Who answers for which error; the nearest class counts."""
