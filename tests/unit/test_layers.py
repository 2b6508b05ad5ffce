"""Imports point one way, and the program knows no table by name: read from the source, so that no slip stays unseen.

The order of the layers is the one in pyproject.toml, which import-linter reads too; this test also sees imports inside
functions, and finds a module that nobody has given a place.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "reconciler"
MODULES = {".".join(path.relative_to(TOP).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


def layers_of(pyproject: str) -> list[list[str]]:
    """The modules of each layer, the highest first, as the first contract of import-linter lists them."""
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip() for name in re.split("[:|]", line)] for line in layers]


@cache
def parsed(source: str) -> ast.Module:
    """The source as a tree; each is looked at several times."""
    return ast.parse(source)


def part_of(module: str) -> str:
    """The module or package directly below ours: `report` for `reconciler.report.text`; none for ours itself."""
    return module.split(".")[1] if "." in module else ""


def imports_of(module: str, source: str) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in the source, inside functions too, with its line."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: -node.level]
                base = ".".join([*parts, *([base] if base else [])])
            # `from reconciler import git` names a module, `from reconciler.git import x` what is in it.
            yield from ((f"{base}.{alias.name}" if base == "reconciler" else base, node.lineno) for alias in node.names)


def violations(sources: Mapping[str, str], layers: list[list[str]]) -> list[str]:
    """Imports that point upwards."""
    height = {name: -index for index, line in enumerate(layers) for name in line}
    found = []
    for module, source in sources.items():
        for imported, line in imports_of(module, source):
            here, there = part_of(module), part_of(imported)
            ours = imported.split(".")[0] == "reconciler" and here in height and there in height
            if ours and height[there] > height[here]:
                found.append(f"{module}:{line} imports {imported}")
    return found


SOURCES = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
LAYERS = layers_of((TOP / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_module_has_exactly_one_place_in_the_layers() -> None:
    listed = [name for line in LAYERS for name in line]
    there = {part_of(module.removesuffix(".__init__")) for module in MODULES} - {""}
    assert sorted(listed) == sorted(there)


def test_no_import_points_upwards() -> None:
    assert violations(SOURCES, LAYERS) == []


def test_no_module_imports_itself_over_others() -> None:
    """Modules of one layer may import one another, but not in a circle."""
    graph = {
        module.removesuffix(".__init__"): {name for name, _ in imports_of(module, source) if name in SOURCES}
        for module, source in SOURCES.items()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("reconciler.low", "import reconciler.high"),
        ("reconciler.low", "from reconciler.high import x"),
        ("reconciler.low", "from reconciler import high"),
        ("reconciler.low", "from .high import x"),
        ("reconciler.low", "def f():\n    from reconciler.high import x"),
        ("reconciler.pack.inner", "from ..high import x"),
    ],
)
def test_an_import_that_points_upwards_is_found_however_it_is_written(module: str, source: str) -> None:
    assert len(violations({module: source}, [["high"], ["low", "pack"]])) == 1
    assert violations({"reconciler.high": "from reconciler.low import x"}, [["high"], ["low", "pack"]]) == []


def test_no_import_hides_from_the_order_behind_type_checking() -> None:
    assert [module for module, source in SOURCES.items() if "TYPE_CHECKING" in source] == []


def test_the_program_imports_neither_its_tests_nor_what_is_not_installed_with_it() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["embedded"], *extras["drill"]]
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower().replace("-", "_") for one in wanted}
    provided = (names - {"pyyaml"}) | {"yaml", "reconciler"} | sys.stdlib_module_names
    foreign = {
        f"{module} imports {imported}"
        for module, source in SOURCES.items()
        for imported, _ in imports_of(module, source)
        if imported.split(".")[0].lower() not in provided
    }
    assert foreign == set()


def test_no_module_is_a_drawer_for_everything() -> None:
    assert {module.rpartition(".")[2] for module in MODULES} & {"utils", "util", "helpers", "common", "misc"} == set()


def test_json_is_decoded_by_decoders_that_were_made_at_the_import() -> None:
    """msgspec learns a type when it is first needed: two threads that need it at that moment end with SIGSEGV, as a
    `doctor` did whose lanes read the catalog for the first time at once.
    """
    found = [
        f"{module}:{node.lineno}"
        for module, source in SOURCES.items()
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "msgspec.json.decode"
        and any(argument.arg == "type" for argument in node.keywords)
    ]
    assert found == []


# The words of the platform ------------------------------------------------------------------------------------------

ORM_HABITS = {"createdAt", "updatedAt"}
"""Columns that every table of a common ORM has: no names of this platform."""


def words_of_platform() -> set[str]:
    """Tables and columns of the platform that could be nobody else's."""
    text = (TOP / "demo" / "platform.sql").read_text(encoding="utf-8")
    tables = set(re.findall(r"CREATE TABLE (\w+)", text)) - {"users"}
    return tables | set(re.findall(r'"([a-z]+[A-Z]\w*)"', text)) - ORM_HABITS | {"WhatsApp", "OpenRouter", "Supabase"}


def strings_that_run(source: str) -> Iterator[tuple[str, int]]:
    """Every string of the source but docstrings and the texts below a value, which explain and are not run."""
    tree = parsed(source)
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value, node.lineno


def test_the_program_knows_no_table_and_no_column_by_name() -> None:
    words = re.compile(rf"\b({'|'.join(map(re.escape, sorted(words_of_platform())))})\b", re.IGNORECASE)
    found = [
        f"{module}:{line} says {match[0]}"
        for module, source in SOURCES.items()
        for text, line in strings_that_run(source)
        for match in words.finditer(text)
        if match[0] not in sys.stdlib_module_names
    ]
    assert found == []


def test_the_words_of_the_platform_are_known_and_a_string_that_holds_one_is_found() -> None:
    assert {"tenants", "system_settings", "audit_logs", "isWhatsappEnabled", "stripeCustomerId"} <= words_of_platform()
    source = '"""About tenants."""\nx = "SELECT 1"\n"""Below x: tenants."""\ny = f"UPDATE {x} tenants"\n'
    assert [line for text, line in strings_that_run(source) if "tenants" in text] == [4]
