"""libyaml's events, through PyYAML, imported without the half of PyYAML that makes Python objects of them.

Import it before any other module of PyYAML; gives the events, the error that a parser raises, and `EventParser`: the
parser itself, or, where PyYAML was built without libyaml, `fallback_parser`. PyYAML's loaders and dumpers, which the
package imports for its own functions, are left out (`lean_import`): they compile the regular expressions of YAML 1.1.
Whoever wants one imports its module: `yaml.loader`.
"""

from __future__ import annotations

from contextlib import suppress

from reconciler.lean_import import Absent, StandIn, import_lean

__all__ = [
    "HAS_LIBYAML",
    "AliasEvent",
    "EventParser",
    "MappingEndEvent",
    "MappingStartEvent",
    "MarkedYAMLError",
    "ScalarEvent",
    "SequenceEndEvent",
    "SequenceStartEvent",
    "StreamEndEvent",
]


def _load() -> None:
    import yaml.parser  # isort: skip  the C module takes its errors from here, and from what is left out of the package
    import yaml._yaml  # noqa: F401


_LEFT_OUT = ("reader", "composer", "constructor", "emitter", "serializer", "representer")
_CLASSES = ("Loader", "FullLoader", "UnsafeLoader")

with suppress(ImportError):
    import_lean(
        "yaml",
        _load,
        StandIn("yaml.loader", **dict.fromkeys(_CLASSES, Absent), **{name: StandIn(name) for name in _LEFT_OUT}),
        StandIn("yaml.dumper", Dumper=Absent),
        StandIn("yaml.cyaml"),
    )

from yaml.error import MarkedYAMLError  # noqa: E402  the package is there by now
from yaml.events import (  # noqa: E402
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

HAS_LIBYAML = True
try:
    from yaml._yaml import CParser as EventParser
except ImportError:
    from reconciler.fallback_parser import FallbackParser as EventParser  # type: ignore[assignment]

    HAS_LIBYAML = False
