"""How a host's API is spoken to: what is tried again and what is not, and where the token goes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from reconciler.hosts.http import Client, HostProblem

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Host:
    """A server that answers with `replies`, one after the other, the last one for ever; and what it was asked."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def client(self, **options: Any) -> Client:
        """A client of it, with a token."""
        return Client(self.url, {"Authorization": "Bearer canary"}, **options)


@contextmanager
def serving() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            host.asked.append((self.command, self.path, self.headers.get("Authorization")))
            status, headers, body = host.replies.pop(0) if len(host.replies) > 1 else host.replies[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer  # noqa: N815, http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def host() -> Iterator[Host]:
    with serving() as served:
        yield served


OK: Reply = (200, {}, b"{}")


def test_what_sets_a_thing_is_tried_again_and_what_makes_one_is_not(host: Host) -> None:
    for method, times in (("GET", 2), ("PATCH", 2), ("POST", 1)):
        host.asked.clear()
        host.replies = [(502, {}, b""), OK]
        if times == 1:
            with pytest.raises(HostProblem, match="HTTP 502"):
                host.client().ask(method, "/x", {})
        else:
            host.client().ask(method, "/x")
        assert len(host.asked) == times


def test_a_host_that_stays_away_is_asked_no_more(host: Host) -> None:
    host.replies = [(503, {}, b"")]
    client = host.client()
    with pytest.raises(HostProblem):
        client.ask("POST", "/x", {})
    with pytest.raises(HostProblem, match="not asked any more: HTTP 503"):
        client.ask("GET", "/y")
    assert len(host.asked) == 1


def test_a_limit_is_waited_for_with_what_may_not_be_sent_twice_too(host: Host) -> None:
    host.replies = [(403, {"Retry-After": "0"}, b'{"message": "You have exceeded a secondary rate limit"}'), OK]
    host.client().ask("POST", "/x", {})
    assert len(host.asked) == 2


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"Retry-After": "61"}, b""),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}, b""),
        (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "99999999999"}, b""),
        (429, {"Retry-After": "soon"}, b""),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit."}'),
    ],
)
def test_a_limit_beyond_the_patience_is_told_at_once(
    host: Host, status: int, headers: dict[str, str], body: bytes
) -> None:
    host.replies = [(status, headers, body)]
    with pytest.raises(HostProblem, match="s of rest, which this job does not wait"):
        host.client(patience_s=59).ask("GET", "/x")
    assert len(host.asked) == 1


def test_limits_without_end_use_the_patience_up(host: Host) -> None:
    host.replies = [(429, {"Retry-After": "0"}, b"")]
    with pytest.raises(HostProblem, match="HTTP 429"):
        host.client(patience_s=3).ask("GET", "/x")
    assert len(host.asked) == 4


def test_a_refusal_is_told_with_the_hosts_own_words_on_one_line(host: Host) -> None:
    said = {"message": "Validation\nFailed \x1b[31m", "errors": [{"message": "title is too long"}]}
    host.replies = [(422, {}, json.dumps(said).encode())]
    with pytest.raises(HostProblem, match=r"^HTTP 422: Validation Failed \[31m, title is too long$") as caught:
        host.client().ask("POST", "/x", {})
    assert caught.value.status == 422


def test_the_token_goes_to_no_other_host(host: Host) -> None:
    with serving() as store:
        store.replies = [(200, {}, b"zip")]
        host.replies = [(302, {"Location": f"{store.url}/blob?sig=x"}, b"")]
        assert host.client().ask("GET", "/artifact").body == b"zip"
        assert store.asked == [("GET", "/blob?sig=x", None)]
    assert host.asked[0][2] == "Bearer canary"


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/x"])
def test_a_redirect_that_leads_elsewhere_or_round_is_not_followed(host: Host, where: str) -> None:
    host.replies = [(302, {"Location": where}, b"")]
    with pytest.raises(HostProblem, match="by redirects"):
        host.client().ask("GET", "/x")


def test_what_is_written_follows_no_redirect(host: Host) -> None:
    host.replies = [(301, {"Location": "/y"}, b"")]
    with pytest.raises(HostProblem, match="it has moved"):
        host.client().ask("POST", "/x", {})


def test_a_list_is_taken_page_by_page_and_only_as_far_as_it_is_read(host: Host) -> None:
    full = json.dumps(list(range(100))).encode()
    host.replies = [(200, {}, full), (200, {}, b'{"total_count": 101, "things": [100]}')]
    assert len(list(host.client().pages("/x", {"a": "b"}))) == 101
    assert [path for _, path, _ in host.asked] == ["/x?a=b&per_page=100&page=1", "/x?a=b&per_page=100&page=2"]
    host.asked.clear()
    host.replies = [(200, {}, full)]
    assert next(host.client().pages("/x", {})) == 0
    assert len(host.asked) == 1


def test_a_list_that_is_none_is_a_problem(host: Host) -> None:
    host.replies = [(200, {}, b"<html>")]
    with pytest.raises(HostProblem, match="no list"):
        list(host.client().pages("/x", {}))


def test_no_answer_is_told_without_what_was_sent() -> None:
    client = Client("http://127.0.0.1:9", {"Authorization": "Bearer canary"})
    with pytest.raises(HostProblem, match=r"no answer \(ConnectionRefusedError\)") as caught:
        client.ask("POST", "/x", {"body": "secret"})
    assert caught.value.status is None
