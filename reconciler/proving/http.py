"""The proof that asks the application, as its users do: one GET for each row, a few at a time.

Takes the question and the environment; gives what was seen. Redirects are not followed: they are an answer. Nothing of
the environment is shown, and no text of an answer, as it may hold what is nobody's business.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from decimal import Decimal
from string import Template as EnvironmentTemplate
from typing import Any
from urllib.parse import quote

from reconciler import __version__
from reconciler.canonical import equal, from_text, to_text
from reconciler.model import Json
from reconciler.proving.sight import SEEN, Sighting, Target
from reconciler.verify.compiled import HttpQuestion

AT_ONCE = 8
"""Requests that are on their way at the same time."""

_LONGEST_ANSWER = 1_000_000


class NotConfigured(Exception):
    """What the question needs is not in the environment, or is no URL."""


class HttpAsker:
    """One question. Requests run in threads that are left behind where the other side keeps them for too long."""

    def __init__(self, question: HttpQuestion, environment: Mapping[str, str]) -> None:
        self._question = question
        self._environment = environment

    def ask(self, targets: Sequence[Target], until: float) -> Mapping[int, Sighting]:
        """A request for each target; at most AT_ONCE at a time."""
        try:
            base, headers = self._base(), self._headers()
        except NotConfigured as error:
            return dict.fromkeys((target.number for target in targets), Sighting(False, str(error), True))
        to_ask: queue.SimpleQueue[Target] = queue.SimpleQueue()
        for target in targets:
            to_ask.put(target)
        seen: dict[int, Sighting] = {}
        threads = [
            threading.Thread(target=self._work, args=(to_ask, base, headers, until, seen), daemon=True)
            for _ in range(min(AT_ONCE, len(targets)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))
        found = dict(seen)
        silent = Sighting(False, "gives no answer in time")
        return {
            target.number: _placed(found.get(target.number, silent), self._place(target)) for target in targets
        }

    def close(self) -> None:
        """Nothing is kept open."""

    def _work(
        self,
        to_ask: queue.SimpleQueue[Target],
        base: str,
        headers: Mapping[str, str],
        until: float,
        seen: dict[int, Sighting],
    ) -> None:
        while True:
            try:
                target = to_ask.get_nowait()
            except queue.Empty:
                return
            left = until - time.monotonic()
            if left <= 0:
                return
            seen[target.number] = self._ask(target, base, headers, min(left, self._question.timeout_s))

    def _place(self, target: Target) -> str:
        return self._question.place + self._path(target)

    def _path(self, target: Target) -> str:
        """Every value percent-encoded, so that none can lead elsewhere."""
        path = self._question.path
        return path.render_text({name: _encoded(target.values[name]) for name in path.names})

    def _ask(self, target: Target, base: str, headers: Mapping[str, str], timeout_s: float) -> Sighting:
        question = self._question
        url = base + self._path(target)
        try:
            request = urllib.request.Request(url, headers=dict(headers), method=question.method)
            try:
                with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as answer:
                    return self._judged(target, int(answer.status), answer)
            except urllib.error.HTTPError as error:
                with error:
                    return self._judged(target, error.code, error)
        except TimeoutError:
            return Sighting(False, f"gives no answer within {timeout_s:.2g} s")
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                return Sighting(False, f"gives no answer within {timeout_s:.2g} s")
            # Only the system's own words: another text may hold what the environment has for the URL.
            said = error.reason.strerror if isinstance(error.reason, OSError) else None
            return Sighting(False, f"cannot be asked: {said or type(error.reason).__name__}")
        except OSError as error:
            return Sighting(False, f"cannot be asked: {error.strerror or type(error).__name__}")
        except (http.client.HTTPException, ValueError) as error:
            return Sighting(False, f"cannot be asked: {type(error).__name__}")

    def _judged(self, target: Target, status: int, answer: Any) -> Sighting:
        question = self._question
        if status != question.status:
            return Sighting(False, f"still answers {status}, not {question.status}")
        if question.json is None and question.text is None:
            return SEEN
        body = answer.read(_LONGEST_ANSWER)
        if question.text is not None and question.text.render_text(target.values).encode() not in body:
            return Sighting(False, f"still answers {status} without the text that is to be in it")
        if question.json is not None:
            try:
                found = from_text(body.decode())
            except ValueError:  # msgspec's errors, and those of decoding, are of it
                return Sighting(False, f"still answers {status} with what is no JSON")
            wrong = _difference(question.json.render(target.values), found, "")
            if wrong is not None:
                return Sighting(False, f"still answers with {wrong}")
        return SEEN

    def _base(self) -> str:
        url = self._question.url
        if url.startswith("$"):
            url = self._environment.get(url[1:], "").strip()
            if not url:
                raise NotConfigured(f"{self._question.url[1:]} is not set")
            if not url.startswith(("https://", "http://")):
                raise NotConfigured(f"{self._question.url[1:]} holds no URL")
        return url.rstrip("/") if self._question.path.render_text(_ANY).startswith("/") else url

    def _headers(self) -> dict[str, str]:
        given = {"user-agent": f"reconcile/{__version__}", "cache-control": "no-cache"}
        for name, value in self._question.headers.items():
            try:
                given[name] = EnvironmentTemplate(value).substitute(self._environment)
            except KeyError as missing:
                raise NotConfigured(f"{missing.args[0]} is not set") from None
        return given


def _encoded(value: Json) -> str:
    return "" if value is None else quote(value if isinstance(value, str) else to_text(value), safe="")


class _Anything(dict[str, Json]):
    def __missing__(self, _name: str) -> Json:
        return ""


_ANY = _Anything()
"""Values for a look at how a path begins."""


def _placed(sighting: Sighting, place: str) -> Sighting:
    return sighting if sighting.seen or sighting.final else Sighting(False, f"{place} {sighting.said}")


def _difference(wanted: Any, found: Any, path: str) -> str | None:
    """Where the answer is not as wanted, None where it is. Mappings may have more; no text of it is shown."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return f"no mapping{path and f' at {path}'}"
        for name, value in wanted.items():
            inner = f"{path}.{name}" if path else name
            if name not in found:
                return f"no {inner}"
            wrong = _difference(value, found[name], inner)
            if wrong is not None:
                return wrong
        return None
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return f"another list{path and f' at {path}'}"
        pairs = enumerate(zip(wanted, found, strict=True))
        return next((w for i, (one, other) in pairs if (w := _difference(one, other, f"{path}[{i}]"))), None)
    if equal(wanted, found):
        return None
    shown = to_text(found) if found is None or isinstance(found, bool | int | Decimal) else "another value"
    return f"{path} = {shown}" if path else shown


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none."""
