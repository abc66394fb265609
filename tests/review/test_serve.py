"""The server itself: where it listens, what it prints, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
import pytest
from review_pack import made_run

from celljury.errors import InputError, OutputError, UnreadableFileError
from celljury.review import errands
from celljury.review import serve as module
from celljury.review.accounts import Accounts
from celljury.review.decisions import Decisions
from celljury.review.listening import PortError, hosts_of, is_loopback, listen, shown_host
from celljury.review.log_place import LogNameError, database_of
from celljury.review.serve import NoUsersError, default_reviewer, make_server, serve
from celljury.review.way_in import way_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "run"
    made_run(folder, n_cells=200, n_items=8, n_review=40, n_samples=1, n_genes=30, n_terms=12)
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


# Where it listens -----------------------------------------------------------------------------------------------------


def test_taken_port_gives_the_next_with_a_clear_line(run: Path, taken: int) -> None:
    server = make_server(run, port=taken)
    try:
        port = server.listening.getsockname()[1]
        assert port > taken
        assert server.note == f"Port {taken} is taken; listening on {port}."
        assert server.url.startswith(f"http://127.0.0.1:{port}/?token=")
    finally:
        server.listening.close()
        server.decisions.close()


def test_port_0_is_any_free_one() -> None:
    with listen("127.0.0.1", 0) as one, listen("127.0.0.1", 0) as other:
        assert one.getsockname()[1] != other.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "port"),
    [pytest.param("127.0.0.1", 70_000, id="no_port"), pytest.param("192.0.2.1", 0, id="not_our_address")],
)
def test_where_nobody_can_listen_is_said(host: str, port: int) -> None:
    with pytest.raises(PortError, match="--port"):
        listen(host, port)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.9", True), ("LocalHost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),
     ("192.168.0.4", False), ("localhost.evil.example", False), ("::", False), ("", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host: str, loopback: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is loopback


def test_names_under_which_it_is_reached() -> None:
    assert hosts_of("127.0.0.1") == {"127.0.0.1", "localhost", "::1"}
    assert hosts_of("10.0.0.4", ["Review.Lab.org."]) == {"10.0.0.4", "review.lab.org"}
    assert socket.gethostname().lower() in hosts_of("0.0.0.0")
    assert "evil.example" not in hosts_of("0.0.0.0")
    assert shown_host("::1") == "[::1]"
    assert shown_host("0.0.0.0") == socket.gethostname()


# Who may come in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_need_named_users(run: Path, host: str) -> None:
    with pytest.raises(NoUsersError, match="--add-user NAME") as found:
        make_server(run, host=host, port=0)
    assert isinstance(found.value, InputError)


def test_with_users_it_listens_without_a_token(run: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'team.sqlite'}"
    with Decisions.open(url) as decisions:
        Accounts(decisions.database).add_user("mk", "correct horse")
    server = make_server(run, host="0.0.0.0", port=0, database=url, log_name="blood-2026")
    server.listening.close()
    server.decisions.close()
    assert "token" not in server.url
    assert server.users == ("mk",)
    assert server.decisions.run == "blood-2026"


def test_who_may_log_in_is_told_at_the_start(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    opened: list[str] = []
    url = f"sqlite:///{tmp_path / 'team.sqlite'}"
    with Decisions.open(url) as decisions:
        for name in ("mk", "Ada"):
            Accounts(decisions.database).add_user(name, "correct horse")
    monkeypatch.setattr(module.webbrowser, "open", opened.append)
    monkeypatch.setattr(module.ReviewServer, "run", lambda self: (self.listening.close(), self.decisions.close()))
    serve(
        make_server(run, host="0.0.0.0", port=0, database=url, log_name="blood-2026"),
        open_browser=True,
        tell=lines.append,
    )
    assert lines[1] == "Who may log in: Ada, mk."
    assert opened == [lines[0].split(" at: ")[1]]


def test_two_runs_in_folders_of_one_name_do_not_come_to_share_a_log(run: Path, tmp_path: Path) -> None:
    """A database needs a name for each run's log; what is proposed depends on the run, not on where its folder is."""
    url = f"sqlite:///{tmp_path / 'team.sqlite'}"
    proposed = []
    for place in ("lung", "lung_moved", "blood"):
        folder = tmp_path / place / "run"
        shutil.copytree(run, folder)
        if place == "blood":
            (folder / "run.json").write_text((folder / "run.json").read_text() + "\n")
        for open_log in (
            lambda folder=folder: make_server(folder, port=0, database=url),
            lambda folder=folder: errands.open_decisions(folder, database=url, log_name=" "),
            lambda folder=folder: errands.log_to_apply(folder, database=url),
        ):
            with pytest.raises(LogNameError, match="two runs under one name would share") as caught:
                open_log()
        assert isinstance(caught.value, InputError)
        proposed.append(str(caught.value).split("--log-name ")[-1])
    assert proposed[0].startswith("run-")
    assert proposed[0] == proposed[1] != proposed[2]
    assert not (tmp_path / "team.sqlite").exists()


def test_link_in_the_place_of_the_log_is_refused(run: Path, tmp_path: Path) -> None:
    """Whoever made a run's folder must not choose which file of ours is written."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for path in (folder / "review").glob("decisions.sqlite*"):
        path.unlink()
    database_of(folder).symlink_to(tmp_path / "elsewhere.sqlite")
    for open_log in (
        lambda: make_server(folder, port=0), lambda: errands.open_decisions(folder), lambda: errands.log_to_apply(folder)
    ):  # fmt: skip
        with pytest.raises(OutputError, match=r"decisions\.sqlite is a link to .*elsewhere\.sqlite"):
            open_log()
    assert not (tmp_path / "elsewhere.sqlite").exists()


def test_reviewer_is_the_systems_user_or_a_proper_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    assert default_reviewer() == "somebody"
    monkeypatch.setenv("LOGNAME", "a;b")
    assert default_reviewer() == "reviewer"
    with pytest.raises(InputError, match="reviewer's name"):
        make_server(run, port=0, reviewer="a;b")


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        make_server(tmp_path)


# Running --------------------------------------------------------------------------------------------------------------


def test_it_answers_over_a_socket_and_stops(run: Path) -> None:
    server = make_server(run, port=0, reviewer="mk")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        # Proxies of the machine that runs the tests are none of ours.
        with httpx.Client(follow_redirects=True, trust_env=False) as client:
            answer = client.get(server.url)
            assert answer.status_code == 200
            assert "token" not in str(answer.url)
            assert "server" not in answer.headers
            form = dict(re.findall(r'name="(csrf|key)" value="([^"]+)"', answer.text))
            item = re.search(r'id="screen" data-item="([^"]+)"', answer.text)
            assert item is not None
            root = server.url.partition("?")[0]
            done = client.post(
                f"{root}item/{item[1]}/act", data=form | {"do": "accept"}, headers={"origin": root.rstrip("/")}
            )
            assert "Z undoes." in done.text
            assert client.get(root, headers={"host": "evil.example"}).status_code == 400
    finally:
        server.stop()
        thread.join(timeout=20)
    assert not thread.is_alive()
    with Decisions.open(database_of(run)) as decisions:
        assert [event.reviewer for event in decisions.events()] == ["mk"]


def test_serve_tells_the_address_and_opens_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    opened: list[str] = []
    pages: list[tuple[int, str]] = []

    def served(server: module.ReviewServer) -> None:
        page = Path(url2pathname(urlsplit(opened[0]).path))
        pages.append((page.stat().st_mode & 0o777, page.read_text(encoding="utf-8")))
        server.listening.close()
        server.decisions.close()

    monkeypatch.setattr(module.webbrowser, "open", opened.append)
    monkeypatch.setattr(module.ReviewServer, "run", served)
    before = set(run.rglob("*"))
    serve(make_server(run, port=0, reviewer="mk"), open_browser=True, tell=lines.append)
    url = lines[0].split(" at: ")[1]
    assert "Ctrl-C ends" in lines[1]
    assert f"celljury apply {run}" in lines[2]
    # All users of a machine see what a browser was started with: it gets a page that leads on, which only its owner can read.
    assert opened[0].startswith("file:///")
    assert "token" not in opened[0]
    ((mode, text),) = pages
    assert mode == 0o600
    assert f'content="0; url={url}"' in text
    assert set(run.rglob("*")) <= before | set(database_of(run).parent.glob("decisions.sqlite*"))


def test_way_in_is_made_elsewhere_where_the_run_cannot_be_written(tmp_path: Path) -> None:
    with way_in("http://127.0.0.1:1/?token=t", tmp_path / "missing") as url:
        page = Path(url2pathname(urlsplit(url).path))
        assert page.stat().st_mode & 0o777 == 0o600
    assert not page.exists()


def test_interrupt_ends_it_cleanly(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from celljury.review.serve import make_server, serve;"
        "serve(make_server(Path(sys.argv[1]), port=0), tell=lambda line: print(line, flush=True))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert child.stdout is not None
    url = child.stdout.readline().split("at: ")[1].strip()
    assert httpx.get(url, trust_env=False).status_code == 303
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert "Ended." in out
    assert "Traceback" not in err
