"""Sends entries to one webhook: a POST each, signed, one after the other.

Takes the URL as the schema has it, the environment and entries; gives a Result for each that was tried. The first that
gets no answer ends the attempt, and so does the time. The address is never shown: with many a service its path is the
secret. Redirects are not followed, as a POST would become a GET.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): headers `webhook-id` (the effect's id),
`webhook-timestamp` (seconds), and `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from reconciler.canonical import to_text
from reconciler.effects.outbox import Entry, Result
from reconciler.effects.payloads import host_of

_TRY_AGAIN = (408, 425, 429)
"""Statuses below 500 that are no judgement on the request."""


class NotConfigured(Exception):
    """A variable that a webhook needs is not set, or holds nothing that can be used."""


class WebhookDelivery:
    """One URL, in a thread of its own, which is left behind where the other side keeps it for too long."""

    def __init__(self, url: str, environment: Mapping[str, str], timeout_s: float) -> None:
        self._url = url
        self._environment = environment
        self._timeout_s = timeout_s
        self._results: list[Result] = []
        self._entries: Sequence[Entry] = ()
        self._deadline = 0.0
        self._thread: threading.Thread | None = None

    def start(self, entries: Sequence[Entry]) -> None:
        """Begin to send; at most `timeout_s` seconds go by until the last is begun."""
        self._entries, self._results = entries, []
        self._deadline = time.monotonic() + self._timeout_s
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def results(self) -> list[Result]:
        """What has become of the entries, once all are sent or the time is over. Those not tried are left out."""
        assert self._thread is not None
        self._thread.join(max(self._deadline - time.monotonic(), 0.0) + self._timeout_s)
        results = list(self._results)
        if self._thread.is_alive() and len(results) < len(self._entries):
            late = self._entries[len(results)]
            results.append(Result(late, f"{host_of(self._url)}: no answer within {self._timeout_s:g} s"))
        return results

    def _send(self) -> None:
        for entry in self._entries:
            if time.monotonic() > self._deadline:
                return
            error, refused = self._post(entry)
            self._results.append(Result(entry, error and f"{host_of(self._url)}: {error}", refused))
            if error is not None and not refused:
                return

    def _post(self, entry: Entry) -> tuple[str | None, bool]:
        """(what went wrong, whether the other side has refused this very entry)."""
        try:
            request = self._request(entry)
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self._timeout_s):
                return None, False
        except NotConfigured as error:
            return str(error), False
        except urllib.error.HTTPError as error:
            error.close()
            return f"status {error.code}", error.code < 500 and error.code not in _TRY_AGAIN
        except OSError as error:
            return f"no answer: {getattr(error, 'reason', error) or type(error).__name__}", False
        except Exception as error:  # an address that is none, an answer that is no HTTP: its text may hold the address
            return f"no answer: {type(error).__name__}", False

    def _request(self, entry: Entry) -> urllib.request.Request:
        body = to_text(entry.payload["body"]).encode()
        headers = {"content-type": "application/json", "user-agent": "reconcile", "webhook-id": entry.id}
        if entry.payload["secret"]:
            headers |= signature(entry.id, int(time.time()), body, self._variable(entry.payload["secret"]))
        url = self._variable(self._url[1:]) if self._url.startswith("$") else self._url
        if not url.startswith(("https://", "http://")):
            raise NotConfigured("it holds no URL")
        return urllib.request.Request(url, data=body, headers=headers, method="POST")

    def _variable(self, name: str) -> str:
        value = self._environment.get(name, "").strip()
        if not value:
            raise NotConfigured(f"{name} is not set")
        return value


def signature(id: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers that sign a body. A secret that begins with `whsec_` is base64, any other is taken as it is."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    except ValueError:
        raise NotConfigured("the secret begins with whsec_, and is no base64 after it") from None
    signed = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none."""
