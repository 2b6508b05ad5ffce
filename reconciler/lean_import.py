"""Importing a library without those of its parts that this program never calls, or not yet.

Takes the names of modules; while the library is imported, stand-ins take their places, and afterwards leave them, so
that whoever wants the real ones imports them as ever. One switch is flipped by a process that has just started: what
its libraries import for others is a third of its time.

What may be called later is `Later`, or `later`: it imports the real thing then, as Mercurial's and Bazaar's demand
imports do. What the library only names, or inherits from, is Absent.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast

__all__ = ["Absent", "AbsentClass", "Later", "StandIn", "import_lean", "later", "patterns_later"]


class AbsentClass:
    """A class of a module that is not there: it can be inherited from and subscripted, which is all that an import does
    with it.
    """

    def __init__(self, *_arguments: object, **_named: object) -> None:
        raise RuntimeError("this part of a library was left out (see reconciler.lean_import)")

    def __class_getitem__(cls, _item: object) -> type[AbsentClass]:
        return cls


class Absent(AbsentClass, BaseException):
    """Any class or function of a module that is not there: it can be caught, too."""


class StandIn(ModuleType):
    """A module that has every name, most of them Absent. `names` it has, and gives to `import *`."""

    def __init__(self, name: str, **names: object) -> None:
        super().__init__(name)
        self.__dict__.update(names, __all__=list(names))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what the import machinery asks every module for
        return Absent


class Later(ModuleType):
    """A module that is imported when something of it is first used. `names` it has before, and keeps."""

    def __init__(self, name: str, **names: object) -> None:
        super().__init__(name)
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # the library uses it while it is imported
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def later(module: str, name: str) -> Callable[..., Any]:
    """A function of a module that is imported when the function is first called. A class is one, to who only calls
    it.
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*arguments, **named)

    return call


def patterns_later() -> ModuleType:
    """A module `re` whose patterns are compiled when they are first used: a library has many, and needs few."""
    return Later("re", **{name: getattr(re, name) for name in re.__all__} | {"compile": _Pattern})


class _Pattern:
    """A regular expression that is compiled when one of its methods is first called, not when it is looked up."""

    def __init__(self, pattern: Any, flags: int = 0) -> None:
        self._what = pattern, flags

    def __getattr__(self, name: str) -> Any:
        if not callable(getattr(re.Pattern, name)):
            return getattr(re.compile(*self._what), name)

        def call(*arguments: Any, **named: Any) -> Any:
            method = getattr(re.compile(*self._what), name)
            setattr(self, name, method)
            return method(*arguments, **named)

        return call


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
    """None makes an import of that name fail (`sys.modules` in Python's documentation of the import system).

    What is imported already costs nothing and stays; but for `re`, whose patterns would be compiled.
    """
    placed = {name: module for name, module in stand_ins.items() if name not in sys.modules or name == re.__name__}
    before = {name: sys.modules[name] for name in placed if name in sys.modules}
    sys.modules.update(cast(Mapping[str, ModuleType], placed))
    try:
        yield
    finally:
        for name in placed:
            sys.modules.pop(name, None)
        sys.modules.update(before)
