"""Importing a library without those of its parts that this program never calls.

Takes the names of modules; while the block runs, stand-ins take their places, and afterwards leave them, so that
whoever wants the real ones imports them as ever. One switch is flipped by a process that has just started: what its
libraries import for others is a quarter of its time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

__all__ = ["Absent", "StandIn", "import_lean"]


class Absent(BaseException):
    """Any class or function of a module that is not there: it can be caught, inherited from and subscripted, which is
    all that an import does with it.
    """

    def __init__(self, *_arguments: object, **_named: object) -> None:
        raise RuntimeError("this part of a library was left out (see reconciler.lean_import)")

    def __class_getitem__(cls, _item: object) -> type[Absent]:
        return cls


class StandIn(ModuleType):
    """A module that has every name, most of them Absent. `names` it has, and gives to `import *`."""

    def __init__(self, name: str, **names: object) -> None:
        super().__init__(name)
        self.__dict__.update(names, __all__=list(names))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what the import machinery asks every module for
        return Absent


def import_lean(name: str, load: Callable[[], object], *stand_ins: ModuleType, without: Sequence[str] = ()) -> None:
    """Import the library `name` by calling `load`, with stand-ins for modules that nobody has imported yet, and
    `without` modules that it can do without by itself.

    Where it asks for more than they have, as a version might that is newer than we know, it is imported as ever.
    """
    if name in sys.modules:
        return
    before = set(sys.modules)
    try:
        with _in_place(dict.fromkeys(without) | {module.__name__: module for module in stand_ins}):
            load()
    except Exception:
        for half_imported in [module for module in sys.modules.keys() - before if module.startswith(name)]:
            del sys.modules[half_imported]
        load()


@contextmanager
def _in_place(stand_ins: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """None makes an import of that name fail (`sys.modules` in Python's documentation of the import system)."""
    placed = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(cast(Mapping[str, ModuleType], placed))
    try:
        yield
    finally:
        for name in placed:
            sys.modules.pop(name, None)
