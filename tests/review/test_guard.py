"""Who is let in and what is refused, before any route is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import JSONResponse

from celljury.errors import OutputError
from celljury.review.guard import HEADERS, LARGEST_BODY, Guard, _name_of
from celljury.review.sessions import IDLEST, LONGEST, N_SESSIONS, SessionsInMemory, form_token, new_secret, same

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TOKEN = "t" * 43
HOST = "127.0.0.1:8765"
BASE = f"http://{HOST}"


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """What is guarded: it tells what reached it."""
    request = Request(scope, receive)
    state = request.state
    said = {"path": request.url.path}
    if hasattr(state, "visit"):
        said |= {"reviewer": state.visit.reviewer, "csrf": state.visit.form_token}
    await JSONResponse(said | {"form": getattr(state, "form", None)})(scope, receive, send)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """A browser's worth of requests to an app in this process; cookies are kept."""

    def __init__(self, app: Any) -> None:
        self.app, self.cookies = app, httpx.Cookies()

    def __call__(self, method: str, url: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=BASE, cookies=self.cookies) as client:
                answer = await client.request(method, url, headers=headers, **more)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(clock: Clock) -> Client:
    return Client(Guard(behind, SessionsInMemory(clock), reviewer="mk", token=TOKEN, cookie="c"))


@pytest.fixture
def inside(client: Client) -> Client:
    assert client("GET", f"/?token={TOKEN}").status_code == 303
    return client


def csrf(client: Client) -> str:
    return str(client("GET", "/x").json()["csrf"])


def post(client: Client, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    fields = {"csrf": csrf(client)} | (form or {})
    return client("POST", "/x", data=fields, headers={name.replace("_", "-"): value for name, value in headers.items()})


# Coming in ------------------------------------------------------------------------------------------------------------


def test_token_is_exchanged_for_a_cookie_and_leaves_the_address(client: Client) -> None:
    answer = client("GET", f"/?token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client("GET", "/x").json()["reviewer"] == "mk"


def test_cookie_is_secure_behind_tls(client: Client) -> None:
    answer = client("GET", f"/?token={TOKEN}", headers={"x-forwarded-proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "url", ["/?token=wrong", f"/?token={TOKEN}x", f"/?token={TOKEN[:-1]}", "/?token=", "/?token=%ff"]
)
def test_wrong_token_is_refused_and_gets_no_cookie(client: Client, url: str) -> None:
    answer = client("GET", url)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "Open the address that celljury review printed" in answer.text


def test_token_from_a_page_elsewhere_is_led_on_by_a_page_of_ours(client: Client) -> None:
    """A redirect of a navigation that another page began does not carry a strict cookie; one that we begin does."""
    answer = client("GET", f"/?token={TOKEN}", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/">' in answer.text
    assert TOKEN not in answer.text
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert client("GET", "/").json()["reviewer"] == "mk"
    for typed in ("none", "same-origin"):
        assert client("GET", f"/?token={TOKEN}", headers={"sec-fetch-site": typed}).status_code == 303


@pytest.mark.parametrize("url", ["/", "/x", f"/x?token={TOKEN}", "/points", "/login"])
def test_without_a_session_nothing_is_shown(client: Client, url: str) -> None:
    answer = client("GET", url)
    assert answer.status_code == 403
    assert "Try again" in answer.text


def test_made_up_session_is_none(client: Client) -> None:
    client.cookies.set("c", "made-up", domain="127.0.0.1")
    assert client("GET", "/x").status_code == 403


def test_session_ends_without_use_and_in_any_case(inside: Client, clock: Clock) -> None:
    clock.now += IDLEST - 1
    assert inside("GET", "/x").status_code == 200
    clock.now += IDLEST + 1
    assert inside("GET", "/x").status_code == 403
    inside("GET", f"/?token={TOKEN}")
    for _ in range(int(LONGEST / IDLEST * 2)):
        assert inside("GET", "/x").status_code == 200
        clock.now += IDLEST / 2
    clock.now += 1
    assert inside("GET", "/x").status_code == 403


def test_sessions_are_bounded_and_end(clock: Clock) -> None:
    sessions = SessionsInMemory(clock)
    first = sessions.begin("a")
    others = [sessions.begin("b") for _ in range(N_SESSIONS)]
    assert sessions.reviewer_of(first) is None
    assert sessions.reviewer_of(others[-1]) == "b"
    sessions.end(others[-1])
    sessions.end("never was")
    assert sessions.reviewer_of(others[-1]) is None


def test_without_a_token_people_are_sent_to_log_in() -> None:
    client = Client(Guard(behind, SessionsInMemory(), cookie="c"))
    answer = client("GET", "/item/x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert client("GET", "/login").json()["reviewer"] is None
    assert client("GET", "/?token=", headers={"accept": "*/*"}).status_code == 303
    assert client("GET", "/item/x", headers={"hx-request": "true"}).status_code == 403


def test_log_in_form_needs_the_cookie_that_it_came_with() -> None:
    client = Client(Guard(behind, SessionsInMemory(), cookie="c"))
    token = client("GET", "/login").json()["csrf"]
    assert client("POST", "/login", data={"csrf": token}).status_code == 403
    client.cookies.set("c", "visit", domain="127.0.0.1")
    assert client("POST", "/login", data={"csrf": form_token("visit")}).status_code == 200


# Posts ----------------------------------------------------------------------------------------------------------------


def test_own_form_passes_with_its_fields(inside: Client) -> None:
    answer = post(inside, {"note": "ü & <b>", "empty": ""}, origin=BASE, sec_fetch_site="same-origin")
    assert answer.status_code == 200
    form = answer.json()["form"]
    assert (form["note"], form["empty"]) == ("ü & <b>", "")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no_browser"),
        pytest.param({"referer": f"{BASE}/item/x"}, id="referer_of_ours"),
        pytest.param({"origin": "null", "sec_fetch_site": "same-origin"}, id="plain_form_of_a_page_without_referrer"),
    ],
)
def test_ways_in_which_own_posts_come(inside: Client, headers: dict[str, str]) -> None:
    assert post(inside, **headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"origin": "http://evil.example"}, id="origin_elsewhere"),
        pytest.param({"origin": "http://127.0.0.1:9999"}, id="other_port"),
        pytest.param({"origin": f"http://{HOST}.evil.example"}, id="origin_that_begins_like_ours"),
        pytest.param({"origin": "null"}, id="origin_withheld"),
        pytest.param({"origin": "http://[x"}, id="origin_that_is_no_address"),
        pytest.param({"referer": "http://[::1"}, id="referer_that_is_no_address"),
        pytest.param({"referer": "http://evil.example/127.0.0.1:8765"}, id="referer_elsewhere"),
        pytest.param({"sec_fetch_site": "cross-site"}, id="browser_says_cross_site"),
        pytest.param({"origin": BASE, "sec_fetch_site": "cross-site"}, id="browser_contradicts_the_origin"),
        pytest.param({"origin": "null", "sec_fetch_site": "cross-site"}, id="sandboxed_frame"),
        pytest.param({"origin": BASE, "sec_fetch_site": "same-site"}, id="neighbour_on_the_same_site"),
    ],
)
def test_cross_origin_post_is_refused_though_the_token_is_right(inside: Client, headers: dict[str, str]) -> None:
    answer = post(inside, **headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


@pytest.mark.parametrize("token", ["", "wrong", "0" * 64, "ü"])
def test_missing_or_wrong_csrf_is_refused(inside: Client, token: str) -> None:
    assert post(inside, {"csrf": token}).status_code == 403
    assert inside("POST", "/x", data={"other": "1"}).status_code == 403


def test_csrf_of_another_session_is_refused(inside: Client) -> None:
    assert post(inside, {"csrf": form_token(new_secret())}).status_code == 403


@pytest.mark.parametrize("n_bytes", [LARGEST_BODY + 1, 10 * LARGEST_BODY])
def test_oversized_post_is_refused(inside: Client, n_bytes: int) -> None:
    assert post(inside, {"note": "x" * n_bytes}).status_code == 413


def test_oversized_post_without_a_length_is_refused_while_it_is_read(inside: Client) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(1000):
            sent += 8192
            yield b"x" * 8192

    head = {"content-type": "application/x-www-form-urlencoded"}
    answer = inside("POST", "/x", content=chunks(), headers=head)
    assert answer.status_code == 413
    assert sent <= LARGEST_BODY + 2 * 8192, "what is too much is not read to its end"


@pytest.mark.parametrize("length", ["-1", "1e9", "99999999999999999999", "x"])
def test_false_length_is_refused(inside: Client, length: str) -> None:
    head = {"content-type": "application/x-www-form-urlencoded", "content-length": length}
    assert inside("POST", "/x", content=b"a=1", headers=head).status_code == 413


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/plain", ""])
def test_only_plain_forms_are_read(inside: Client, kind: str) -> None:
    assert inside("POST", "/x", content=b"csrf=x", headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("body", [b"a=%ff", "a=ü".encode(), b"&".join(b"f%d=1" % i for i in range(100))])
def test_unreadable_form_is_refused(inside: Client, body: bytes) -> None:
    head = {"content-type": "application/x-www-form-urlencoded"}
    assert inside("POST", "/x", content=body, headers=head).status_code == 400


@given(st.binary(max_size=300))
def test_no_body_breaks_the_guard(body: bytes) -> None:
    client = Client(Guard(behind, SessionsInMemory(), reviewer="mk", token=TOKEN, cookie="c"))
    client("GET", f"/?token={TOKEN}")
    head = {"content-type": "application/x-www-form-urlencoded"}
    assert client("POST", "/x", content=body, headers=head).status_code in (400, 403)


# Requests -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:99", "[::1]:8765", "127.0.0.1:1"])
def test_own_names_are_answered_at_any_port(inside: Client, host: str) -> None:
    assert inside("GET", "/x", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1.evil.example", "evil.example:8765", "", "localhost@evil.example", "127.0.0.1:x",
        "127.0.0.1/x", "[::1", "localhost evil.example",
    ],
)  # fmt: skip
def test_other_names_are_refused(inside: Client, host: str) -> None:
    answer = inside("GET", "/x", headers={"host": host})
    assert answer.status_code == 400
    assert "not reached under the name" in answer.text


@given(st.text(max_size=40))
def test_no_host_breaks_the_guard(host: str) -> None:
    assert isinstance(_name_of(host), str)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(inside: Client, method: str) -> None:
    assert inside(method, "/x").status_code == 405


def test_long_query_is_refused(inside: Client) -> None:
    assert inside("GET", "/x?text=" + "x" * 5000).status_code == 414


@pytest.mark.parametrize("url", ["/x", "/static/review.css", "/nowhere"])
@pytest.mark.parametrize("entered", [True, False], ids=["inside", "outside"])
def test_every_answer_carries_the_headers(client: Client, url: str, *, entered: bool) -> None:
    if entered:
        client("GET", f"/?token={TOKEN}")
    answer = client("GET", url)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_static_files_need_no_session_and_take_no_posts(client: Client) -> None:
    assert client("GET", "/static/review.css").json()["path"] == "/static/review.css"
    assert client("POST", "/static/review.css", data={}).status_code == 405


def test_websockets_are_refused() -> None:
    sent: list[dict[str, Any]] = []

    async def talk() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        await Guard(behind, SessionsInMemory(), token=TOKEN)({"type": "websocket"}, receive, send)

    asyncio.run(talk())
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_sessions_that_cannot_be_read_are_said_with_our_headers() -> None:
    class Gone(SessionsInMemory):
        def reviewer_of(self, session_id: str) -> str | None:
            message = "the database is gone"
            raise OutputError(message)

    client = Client(Guard(behind, Gone(), token=TOKEN, cookie="c"))
    client.cookies.set("c", "x", domain="127.0.0.1")
    answer = client("GET", "/x")
    assert answer.status_code == 503
    assert "the database is gone" in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


def test_secrets_are_long_and_stay_out_of_texts() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) >= 43
    assert TOKEN not in repr(Guard(behind, SessionsInMemory(), token=TOKEN))
    assert same("a", "a")
    assert not same("a", "b")
    assert not same("\udcff", "ÿ")
    assert form_token("x") != form_token("y")
