"""The health check that asks a URL: a provider's status page, or a single test request.

Takes the declaration and the environment; gives what it saw. `$NAME` in the URL or in a header's value is the
environment's; neither is ever shown.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from string import Template

from reconciler.fields import seconds
from reconciler.guards import CheckResult
from reconciler.policy import HttpCheck


def check_http(check: HttpCheck, environment: Mapping[str, str]) -> CheckResult:
    """The URL must answer with exactly the status. Redirects are not followed: they are an answer of their own."""
    try:
        url = Template(check.url).substitute(environment)
        headers = {name: Template(value).substitute(environment) for name, value in check.headers.items()}
    except KeyError as missing:
        return CheckResult(False, f"could not be made: {missing.args[0]} is not set", made=False)
    except ValueError:
        return CheckResult(False, "could not be made: a $ in the URL or a header begins no name", made=False)
    if not url.startswith(("http://", "https://")):
        return CheckResult(False, "could not be made: the URL is neither http nor https", made=False)
    body = check.body.encode() if check.body is not None else None
    request = urllib.request.Request(url, data=body, headers=headers, method=check.method)
    started = time.perf_counter()
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds(check.timeout)) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
    except OSError as error:
        reason = getattr(error, "reason", error)
        return CheckResult(False, f"no answer: {reason}")
    took = (time.perf_counter() - started) * 1000
    return CheckResult(status == check.status, f"status {status} in {took:.0f} ms (wanted {check.status})")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none."""
        return None
