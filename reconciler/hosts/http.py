"""One JSON API over HTTP, with the patience that its limits ask for.

Takes a base address, headers and requests; gives Answers. A rate limit (`Retry-After`, or `X-RateLimit-Remaining: 0`
with the time of its end) is waited for as long as the Client's patience lasts; an answer of 500 or more, and none at
all, is tried again where trying again cannot do a thing twice. A host that stays away is asked no more: a job does not
wait for it at every step.

Redirects are followed for GET alone, and the token goes to no other host: an artifact's address leads to a store that
must not see it, and refuses a request that shows it.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import msgspec

__all__ = ["Answer", "Client", "HostProblem"]

_SECONDS = 20
"""For one request."""

_PAUSES = (0.1, 0.5, 1.5)
"""Seconds before a request is tried again that can be."""

_LONGEST_ANSWER = 64 << 20
_MOST_REDIRECTS = 3
_MOST_PAGES = 50

_REPEATABLE = frozenset({"GET", "PATCH", "PUT", "DELETE"})
"""Methods that may be sent twice: all of ours set a thing to what it shall be."""


class HostProblem(Exception):
    """The host did not do what was asked; the text is a clause without a secret. `status` is None without an answer."""

    def __init__(self, text: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


class Answer(msgspec.Struct, frozen=True):
    """`headers` have names in lower case; `body` is what came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """A host's API below `base`. `patience_s` is how long it waits for limits, all requests together."""

    def __init__(self, base: str, headers: Mapping[str, str], *, patience_s: float = 60.0) -> None:
        self.base = base.rstrip("/")
        self._headers = {"User-Agent": "reconcile", "Accept": "application/json", **headers}
        self._patience_s = patience_s
        self._gone: str | None = None
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer, of a status below 400. Raises HostProblem for any other, and for none."""
        address = f"{self.base}{path}" + (f"?{urlencode(query)}" if query else "")
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._patiently(method, address, document)
            if not 300 <= answer.status < 400:
                return answer
            if method != "GET":
                raise HostProblem(f"HTTP {answer.status}: it has moved", answer.status)
            address = urljoin(address, answer.headers.get("location", ""))
            if urlsplit(address).scheme not in ("http", "https"):
                break
        raise HostProblem("it leads nowhere, by redirects")

    def pages(self, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        """The items of a list, page by page, for as long as the caller takes them. Raises HostProblem."""
        for page in range(1, _MOST_PAGES + 1):
            answer = self.ask("GET", path, query={**query, "per_page": "100", "page": str(page)})
            items = answer.document
            if isinstance(items, dict):  # GitHub puts some lists below their name, beside `total_count`
                items = next((value for value in items.values() if isinstance(value, list)), None)
            if not isinstance(items, list):
                raise HostProblem("its answer is no list")
            yield from items
            if len(items) < 100:
                return
        raise HostProblem(f"its list is longer than {_MOST_PAGES * 100} items")

    def _patiently(self, method: str, address: str, document: Mapping[str, Any] | None) -> Answer:
        if self._gone is not None:
            raise HostProblem(f"not asked any more: {self._gone}")
        pauses = iter(_PAUSES if method in _REPEATABLE else ())
        while True:
            answer, problem = self._once(method, address, document)
            wait: float | None = None
            if answer is not None:
                limited = _limited_for_s(answer)
                if limited is not None:
                    cost = max(limited, 1.0)  # so that a host which always says "at once" is not asked for ever
                    if cost > self._patience_s:
                        problem = f"{_problem(answer)}. It wants {limited:,.0f} s of rest, which this job does not wait"
                        raise self._give_up(problem, answer.status)
                    self._patience_s -= cost
                    wait = limited
                elif answer.status < 500:
                    if answer.status >= 400:
                        raise HostProblem(_problem(answer), answer.status)
                    return answer
                else:
                    problem = _problem(answer)
            if wait is None and (wait := next(pauses, None)) is None:
                raise self._give_up(problem, answer.status if answer is not None else None)
            time.sleep(wait)

    def _give_up(self, problem: str, status: int | None) -> HostProblem:
        self._gone = problem
        return HostProblem(problem, status)

    def _once(self, method: str, address: str, document: Mapping[str, Any] | None) -> tuple[Answer | None, str]:
        """One request: its answer, of whatever status, or why there is none."""
        headers = dict(self._headers)
        if _origin(address) != _origin(self.base):
            headers = {"User-Agent": headers["User-Agent"]}
        data = None
        if document is not None:
            data = json.dumps(document).encode()
            headers["Content-Type"] = "application/json"
        try:
            request = urllib.request.Request(address, data, headers, method=method)
            with self._opener.open(request, timeout=_SECONDS) as found:
                return Answer(found.status, _lower(found.headers), found.read(_LONGEST_ANSWER)), ""
        except urllib.error.HTTPError as error:
            with error:
                try:
                    body = error.read(1 << 20)
                except (OSError, http.client.HTTPException):
                    body = b""
                return Answer(error.code, _lower(error.headers), body), ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Without the error's own text: it may quote what was sent.
            return None, f"no answer ({type(getattr(error, 'reason', error)).__name__})"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would take the token along, wherever it is sent."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing: the answer comes as an HTTPError."""
        return


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _limited_for_s(answer: Answer) -> float | None:
    """For how many seconds the host wants to be left alone, None where it does not say so.

    GitHub's secondary limits come as 403 or 429 with `Retry-After`, its primary one as either with no request remaining
    and the second of its end; GitLab's as 429.
    """
    if answer.status not in (403, 429, 503):
        return None
    after = answer.headers.get("retry-after", "")
    if after.isascii() and after.isdigit():
        return float(after)
    if answer.status == 503:
        return None
    reset = answer.headers.get("x-ratelimit-reset", answer.headers.get("ratelimit-reset", ""))
    remaining = answer.headers.get("x-ratelimit-remaining", answer.headers.get("ratelimit-remaining"))
    if remaining == "0" and reset.isascii() and reset.isdigit():
        return max(float(reset) - time.time(), 0.0)
    # A secondary limit without a time: GitHub asks for a minute at least.
    return 60.0 if answer.status == 429 or b"secondary rate limit" in answer.body.lower() else None


def _problem(answer: Answer) -> str:
    """A refusal in a few words: the status, and what the host says about it."""
    found = answer.document
    texts: list[str] = []
    if isinstance(found, dict):
        said = found.get("message", found.get("error"))
        texts.append(said if isinstance(said, str) else json.dumps(said) if said else "")
        errors = found.get("errors")
        for one in errors if isinstance(errors, list) else ():
            texts.append(str(one.get("message", "")) if isinstance(one, dict) else "")
    text = " ".join(", ".join(filter(None, texts)).split())
    printable = "".join(character for character in text if character.isprintable())
    return f"HTTP {answer.status}" + (f": {printable[:200]}" if printable else "")
