"""What went wrong is answered with the status that says whether a second try can help."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from celljury.errors import CelljuryError, InputError, OutputError, UnknownTermError
from celljury.review.pack import UnknownItemError
from celljury.review.press import RefusedPressError
from celljury.review.problems import HANDLERS

if TYPE_CHECKING:
    from starlette.requests import Request


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(UnknownItemError("no such item"), 404, id="no_such_item"),
        pytest.param(RefusedPressError("locked"), 409, id="refused_press"),
        pytest.param(InputError("too long"), 400, id="wrong_input"),
        pytest.param(OutputError("disk full"), 503, id="log_that_cannot_be_written"),
        pytest.param(UnknownTermError("'CL:1' is no id"), 500, id="files_that_do_not_fit_together"),
    ],
)
def test_status_says_whether_to_try_again(error: CelljuryError, status: int) -> None:
    async def fails(request: Request) -> NoReturn:
        raise error

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=[Route("/", fails)], exception_handlers=HANDLERS))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/")

    answer = asyncio.run(ask())
    assert answer.status_code == status
    assert str(error).split("'")[-1] in answer.text
