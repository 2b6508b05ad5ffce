"""Rules over the desired state that must hold or nothing is applied.

Takes rules as text and rows of desired values; gives Problems. The language is simpleeval's: Python's operators over
names and constants, `in`, `and`, `or`, `not`, without functions, attributes or loops, and never `eval`
(https://github.com/danthedeckie/simpleeval). Names are the table's fields. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from operator import itemgetter
from typing import Any

from reconciler.errors import Problem, nearest
from reconciler.model import Json, Row

_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.In,
    ast.NotIn,
    ast.Is,
    ast.IsNot,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.List,
    ast.Tuple,
)


def rule_problems(rule: str, fields: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(what is wrong, hint) of a rule that cannot be asked."""
    if len(rule) > LONGEST:
        yield f"longer than {LONGEST} characters", "state it as several rules"
        return
    try:
        tree = _parse(rule)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
        yield f"not an expression: {reason}", "for example: dailyLimit <= monthlyLimit"
        return
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            yield f"{type(node).__name__} is not part of the language", "see docs/guards.md, Invariants"
            return
    known = sorted(fields)
    names = names_in(rule)
    if not names:
        yield "the rule names no field", ""
    for name in names:
        if name not in known:
            yield f'the table has no managed field "{name}"', nearest(name, known)


LONGEST = 500
"""Characters of a rule: what is longer is no rule that anybody reviews, and could be nested too deep to be read."""


def _parse(rule: str) -> ast.Expression:
    return ast.parse(" ".join(rule.splitlines()).strip(), mode="eval")


def names_in(rule: str) -> list[str]:
    """The fields that a rule names, sorted. `true`, `false` and `null` are constants, as in YAML."""
    return sorted({node.id for node in ast.walk(_parse(rule)) if isinstance(node, ast.Name)} - _CONSTANTS.keys())


_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


class _Exact(ast.NodeTransformer):
    """Numbers with a point become decimals, as values are: 0.1 is a tenth."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        """A constant of the rule."""
        if not isinstance(node.value, float):
            return node
        return ast.copy_location(ast.Constant(Decimal(repr(node.value))), node)  # type: ignore[arg-type]


def broken(rule: str, message: str, rows: Iterable[Row]) -> Iterator[Problem]:
    """A Problem for each row that breaks the rule, at the values involved.

    Rows in which git does not name every field of the rule are not asked. The same values are asked once.
    """
    from simpleeval import EvalWithCompoundTypes, InvalidExpression  # type: ignore[import-untyped]

    names = names_in(rule)
    evaluator = EvalWithCompoundTypes(functions={})
    parsed = _Exact().visit(_parse(rule)).body
    verdicts: dict[tuple[int, ...], str | None] = {}
    pick = itemgetter(*names, names[0])  # the first once more: of one name alone no tuple would be made
    for row in rows:
        try:
            picked: tuple[Json, ...] = pick(row.data)
        except KeyError:
            continue
        # Equal scalars of a field are one object (see `desired`), and all of them live as long as their rows.
        asked = tuple(map(id, picked))
        if verdicts.get(asked, message) is None:
            continue
        if asked not in verdicts:
            evaluator.names = {**_CONSTANTS, **dict(zip(names, picked[:-1], strict=True))}
            try:
                verdicts[asked] = None if evaluator.eval(rule, previously_parsed=parsed) else message
            except (InvalidExpression, TypeError, ValueError, ArithmeticError, RecursionError) as error:
                verdicts[asked] = f"{message} (the rule could not be asked: {error})"
        verdict = verdicts[asked]
        if verdict is None:
            continue
        given = [row.values[name] for name in names]
        # At the last of the values: the one that is most likely to have been added.
        last = max(given, key=lambda value: (value.file, value.line))
        shown = ", ".join(f"{name} at {value.location}" for name, value in zip(names, given, strict=True))
        yield Problem(f"{row.table} {row.key}: {verdict}", last.location, f"rule: {rule.strip()}; {shown}")
