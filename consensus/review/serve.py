"""The review server: where it listens, who may come in, and the address that it prints."""

from __future__ import annotations

import getpass
import webbrowser
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import uvicorn

from celljury.errors import InputError
from celljury.progress import silent
from celljury.review.account_sessions import AccountSessions
from celljury.review.accounts import Accounts
from celljury.review.app import review_app
from celljury.review.decisions import Decisions
from celljury.review.desk import Desk
from celljury.review.drafts import check_name
from celljury.review.listening import PORT, hosts_of, is_loopback, listen, shown_host
from celljury.review.locks import Locks
from celljury.review.log_place import log_of
from celljury.review.packing import ensure_pack
from celljury.review.sessions import SessionsInMemory, new_secret
from celljury.review.way_in import way_in

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from celljury.progress import Progress
    from celljury.review.guard import Guard
    from celljury.review.sessions import Sessions


class NoUsersError(InputError):
    """A server that others can reach knows nobody who may come in."""

    @classmethod
    def for_host(cls, host: str, run_folder: Path) -> Self:
        """Build the error for a host."""
        return cls(
            f"--host {host} lets other machines reach this review, so everybody must have a name and a password, and no"
            f" user is known yet. Add each with: celljury review {run_folder} --add-user NAME. Or leave --host out: then"
            " only this machine reaches it, and the printed address is the key."
        )


def default_reviewer() -> str:
    """Return the name that decisions are signed with unless one is given: that of the operating system's user."""
    try:
        return check_name(getpass.getuser())
    except (OSError, KeyError, ImportError, InputError):
        return "reviewer"


@dataclass(frozen=True, slots=True)
class ReviewServer:
    """A server that listens already and answers once it runs.

    Attributes
    ----------
    folder
        The run's.
    url
        Where to open it; with the token, where there is one.
    note
        What should be known of the address; "" = nothing.
    users
        Who may log in; empty where the address is the key.
    """

    folder: Path
    server: uvicorn.Server
    listening: socket.socket
    decisions: Decisions
    url: str
    note: str
    users: tuple[str, ...] = ()

    @property
    def url_is_key(self) -> bool:
        """Whether the address holds the token; else people log in."""
        return not self.users

    def run(self) -> None:
        """Answer until it is told to end: by Ctrl-C, or by `stop` from another thread."""
        try:
            self.server.run(sockets=[self.listening])
        except KeyboardInterrupt:
            # It has ended cleanly by then; what it was waiting for is answered.
            pass
        finally:
            self.listening.close()
            self.decisions.close()

    def stop(self) -> None:
        """Ask it to end; what it is answering is answered first."""
        self.server.should_exit = True


def make_server(
    run_folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    reviewer: str = "",
    blind: bool = False,
    database: str | None = None,
    log_name: str = "",
    names: Sequence[str] = (),
    progress: Progress = silent,
) -> ReviewServer:
    """Return a server for the review of a run, listening already.

    Parameters
    ----------
    host
        Address to listen on. Any but this machine's own demands named users.
    port
        Where it is taken, the next free one; 0 = any free one.
    reviewer
        Whose decisions they are; without it the operating system's user. Not used where people log in.
    blind
        Nobody sees others' decisions on an item before their own.
    database
        A database URL for teams; None = `celljury.review.log_place.own_file`.
    log_name
        Name of this run's log in that database; needed where one is named.
    names
        Further names under which the server is reached, as through a reverse proxy.

    Raises
    ------
    LogNameError
        If a database is named, and no log in it.
    NoUsersError
        If others can reach it and no user is known.
    OutputError
        If the run's own log is a link.
    PortError
        If it cannot listen.
    """
    local = is_loopback(host)
    name = check_name(reviewer) if reviewer else default_reviewer()
    where, log = log_of(run_folder, database=database, log_name=log_name)
    pack = ensure_pack(run_folder, progress=progress)
    decisions = Decisions.open(where, run=log)
    try:
        accounts = None if local else Accounts(decisions.database)
        users = accounts.names() if accounts is not None else ()
        if accounts is not None and not users:
            raise NoUsersError.for_host(host, run_folder)
        listening = listen(host.strip("[]"), port)
    except BaseException:
        decisions.close()
        raise
    bound = listening.getsockname()[1]
    token = new_secret() if local else ""
    desk = Desk(pack, decisions, locks=Locks(decisions.database, decisions.run), blind=blind)
    sessions: Sessions = SessionsInMemory() if accounts is None else AccountSessions(decisions.database)
    app = review_app(
        desk, sessions, reviewer=name, token=token, accounts=accounts,
        hosts=hosts_of(host, names), cookie=f"celljury_{bound}",
    )  # fmt: skip
    note = f"Port {port} is taken; listening on {bound}." if port not in (0, bound) else ""
    at = f"http://{shown_host(host)}:{bound}/"
    url = f"{at}?token={token}" if token else at
    return ReviewServer(run_folder, _uvicorn(app), listening, decisions, url, note, users)


def serve(server: ReviewServer, *, open_browser: bool = False, tell: Callable[[str], None] = print) -> None:
    """Say where a server is, and let it answer until Ctrl-C.

    Parameters
    ----------
    open_browser
        Open the address in this machine's browser.
    tell
        Is given the lines for people: the address, and how to end.
    """
    folder = server.folder
    if server.note:
        tell(server.note)
    tell(f"Review {folder} at: {server.url}")
    if server.url_is_key:
        tell("Whoever has this address decides under your name: do not pass it on. Ctrl-C ends; decisions are kept.")
    else:
        tell(f"Who may log in: {', '.join(server.users)}.")
        tell("Put a reverse proxy with TLS in front: without it passwords travel in the clear. Ctrl-C ends.")
    with ExitStack() as until_the_end:
        if open_browser:
            page = server.url
            if server.url_is_key:
                page = until_the_end.enter_context(way_in(server.url, folder / "review"))
            # The socket listens already: a browser that is faster than the server waits.
            webbrowser.open(page)
        server.run()
    tell(
        f"Ended. Decisions are in {server.decisions.database.name}; put them into the run with: celljury apply {folder}"
    )


def _uvicorn(app: Guard) -> uvicorn.Server:
    # No access log: it would hold the token. Headers of proxies are not believed; no header says what software this is.
    return uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none", lifespan="off",
            timeout_keep_alive=60, timeout_graceful_shutdown=5, limit_concurrency=200, log_config=None,
        )
    )  # fmt: skip
