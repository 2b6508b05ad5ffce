"""The health check that asks a URL: a provider's status page, or a single test request.

Takes the declaration and the environment; gives what it saw. `$NAME` in the URL or in a header's value is the
environment's; neither is ever shown, and so no text of an error that could quote one.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from string import Template

from reconciler import __version__
from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.policy import HttpCheck


def check_http(check: HttpCheck, environment: Mapping[str, str]) -> CheckResult:
    """The URL must answer with exactly the status. Redirects are not followed: they are an answer of their own."""
    try:
        url = Template(check.url).substitute(environment)
        headers = {name: Template(value).substitute(environment) for name, value in check.headers.items()}
    except KeyError as missing:
        return _not_made(f"{missing.args[0]} is not set")
    except ValueError:
        return _not_made("a $ in the URL or a header begins no name")
    if not url.startswith(("http://", "https://")):
        return _not_made("the URL is neither http nor https")
    started = time.perf_counter()
    try:
        status = _status(check, url, {"User-Agent": f"reconcile/{__version__}", **headers})
    except urllib.error.URLError as error:
        reason = error.reason
        return CheckResult(False, f"no answer: {reason if isinstance(reason, OSError) else type(reason).__name__}")
    except OSError as error:
        return CheckResult(False, f"no answer: {error}")
    except http.client.InvalidURL:
        return _not_made("the URL holds a space or a character that does not print, perhaps a line's end")
    except http.client.HTTPException as error:
        return CheckResult(False, f"no answer that is HTTP ({type(error).__name__})")
    except ValueError:  # UnicodeError included
        return _not_made("the URL or a header holds what HTTP cannot send, perhaps a line's end")
    took = (time.perf_counter() - started) * 1000
    return CheckResult(status == check.status, f"status {status} in {took:.0f} ms (wanted {check.status})")


def _status(check: HttpCheck, url: str, headers: Mapping[str, str]) -> int:
    body = check.body.encode() if check.body is not None else None
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=check.method)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds(check.timeout)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _not_made(why: str) -> CheckResult:
    return CheckResult(False, f"could not be made: {why}", made=False)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none."""
