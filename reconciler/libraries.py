"""click, msgspec, and of the standard library what they and we import, without what nothing here uses, or not yet.

To be imported before anything else, by the program alone: whoever imports a module of ours for other ends has imported
them as ever. What is left out (`lean_import`):

- typing_extensions, of which msgspec wants what Python 3.11 has;
- gettext: click's words have no translations that anybody installs with it.

What is imported when it is needed: inspect, locale, ipaddress, platform, compression, and what msgspec knows of JSON
Schema.
"""

from __future__ import annotations

import os
from importlib import import_module

from reconciler.lean_import import Later, StandIn, import_lean, later, patterns_later

__all__: list[str] = []


def _one_or_many(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def _cleaned(text: str) -> str:
    """As inspect.cleandoc, which click asks about the help of every option."""
    return _cleandoc(text) if "\n" in text or "\t" in text else text.lstrip()


_cleandoc = later("inspect", "cleandoc")


def _import(name: str, *stand_ins: Later | StandIn, without: tuple[str, ...] = ()) -> None:
    import_lean(name, lambda: import_module(name), *stand_ins, patterns_later(), without=without)


# It asks for the system's name, which it does not need before it makes an id from a network card's address.
_import("uuid", Later("platform", system=lambda: os.uname().sysname if hasattr(os, "uname") else "Windows"))
_import(
    "msgspec",
    Later("msgspec.inspect"),
    StandIn(
        "msgspec._json_schema",
        schema=later("msgspec._json_schema", "schema"),
        schema_components=later("msgspec._json_schema", "schema_components"),
    ),
    without=("typing_extensions",),
)
_import("subprocess", Later("locale"))
_import("shutil", Later("zlib"), Later("bz2"), Later("lzma"))  # it only asks whether they are there
_import("urllib.parse", Later("ipaddress"))
_import(
    "click",
    Later("inspect", cleandoc=_cleaned),
    StandIn("gettext", gettext=lambda words: words, ngettext=_one_or_many),
)
