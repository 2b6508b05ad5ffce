"""What was read of a file of state, kept on disk by the id of its blob, for runs to come and on other machines.

Takes a folder; gives back what was put there under the same blob, by the same version of the reader and of the schemas,
and nothing else: a file that is damaged, or of another kind, counts as not there. It can be deleted at any time, and be
used by several processes at once. Nothing that goes wrong here is ever an error: the state is read then.

Its folder is `RECONCILE_CACHE_DIR`, else `reconcile` below `XDG_CACHE_HOME`, else `~/.cache/reconcile`. Set to nothing,
the variable switches it off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from reconciler.digests import blake2b

__all__ = ["VARIABLE", "ParseCache", "folder"]

VARIABLE = "RECONCILE_CACHE_DIR"

_FORMAT = 1
"""Changes with what is kept, and with what it means."""

_CHECK_BYTES = 16
_KEPT_S = 30 * 86_400
"""So long a file stays: what is still needed is read again after it."""


def folder() -> Path | None:
    """Where it is; None where there is to be none."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111, raises nothing
    return Path(home) / "reconcile" if home.startswith("/") else None


class ParseCache:
    """What was read by one version of the reader and of the schemas (`definitions`, a hexadecimal id)."""

    def __init__(self, root: Path | None, definitions: str) -> None:
        self._root = root
        self._folder = root / f"parsed-{_FORMAT}-{definitions[:32]}" if root is not None else None

    def get(self, blob: str) -> bytes | None:
        """What was kept of this blob."""
        if self._folder is None:
            return None
        try:
            data = (self._folder / blob).read_bytes()
        except OSError:
            return None
        check, payload = data[:_CHECK_BYTES], data[_CHECK_BYTES:]
        return payload if check == _check(blob, payload) else None

    def put(self, blob: str, payload: bytes) -> None:
        """Keep this, if that is possible."""
        if self._folder is None:
            return
        with suppress(OSError):
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)
                self._drop_what_is_old()
            with NamedTemporaryFile(dir=self._folder, prefix=".new-", delete=False) as file:
                try:
                    file.write(_check(blob, payload) + payload)
                    file.close()
                    Path(file.name).replace(self._folder / blob)
                except OSError:
                    Path(file.name).unlink(missing_ok=True)

    def _drop_what_is_old(self) -> None:
        """Called when a version of the schemas is new here, which is seldom, and when others may be over."""
        assert self._root is not None
        before = time.time() - _KEPT_S
        for path in self._files():
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
        for below in self._root.glob("parsed-*"):
            with suppress(OSError):
                if below != self._folder:
                    below.rmdir()  # if nothing is left in it

    def _files(self) -> Iterator[Path]:
        assert self._root is not None
        return self._root.glob("parsed-*/*")


def _check(blob: str, payload: bytes) -> bytes:
    check = blake2b(blob.encode(), digest_size=_CHECK_BYTES)
    check.update(payload)
    return check.digest()
