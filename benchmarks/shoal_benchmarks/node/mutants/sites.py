"""Small changes that can be made to a source, one at a time, each as a mistake might make it.

What is not behaviour is left as it is: docstrings, annotations, texts (and so what is formatted),
what is logged, what is raised (but not that it is raised), assertions, how things are shown,
decorators, and how a class is kept in memory.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NAMED = {"min": "max", "max": "min", "any": "all", "all": "any"}
LOG = "log"
SHOWN = ("__repr__", "__str__")
OF_MEMORY = ("frozen", "slots", "gc", "kw_only", "eq", "order")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mutant:
    """One change: bytes ``start`` to ``end`` of the file ``path`` become ``text``. It is in the
    line ``line``, and runs when the function runs that begins in the line ``function`` (0: when the
    module is imported). ``before`` and ``after`` are the lines that differ, for people."""

    path: str
    line: int
    function: int
    start: int
    end: int
    text: str
    before: str
    after: str

    def applied(self, source: bytes) -> bytes:
        """The source of ``path`` with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.before} -> {self.after}"


def draw(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` different ones at random (all, in some order, where there are fewer)."""
    return random.Random(seed).sample(mutants, min(count, len(mutants)))


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """All changes to one file, in the order of the file."""
    return list(_Finder(path, source).found)


class _Finder:
    """Walks the tree of one file."""

    def __init__(self, path: str, source: bytes) -> None:
        self._path, self._source = path, source
        self._begins = [0]
        for line in source.splitlines(keepends=True):
            self._begins.append(self._begins[-1] + len(line))

    @property
    def found(self) -> Iterator[Mutant]:
        for statement in ast.parse(self._source).body:
            yield from self._within(statement, None)

    def _within(self, node: ast.AST, function: Function | None) -> Iterator[Mutant]:
        for text in _changes(node, function):
            yield self._mutant(node, text, function)
        for condition in _conditions(node):
            yield self._mutant(condition, _negated(condition), function)
        for child, inside in _parts(node, function):
            yield from self._within(child, inside)

    def _mutant(self, node: ast.AST, text: str, function: Function | None) -> Mutant:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._begins[node.lineno - 1] + node.col_offset
        end = self._begins[node.end_lineno - 1] + node.end_col_offset
        first, last = self._begins[node.lineno - 1], self._begins[node.end_lineno]
        lines = self._source[first:last].decode()
        changed = (self._source[first:start] + text.encode() + self._source[end:last]).decode()
        return Mutant(
            path=self._path,
            line=node.lineno,
            function=_begin(function),
            start=start,
            end=end,
            text=text,
            before=" ".join(lines.split()),
            after=" ".join(changed.split()),
        )


def _begin(function: Function | None) -> int:
    """The line in which Python says that a function begins."""
    if function is None:
        return 0
    return min([function.lineno, *(each.lineno for each in function.decorator_list)])


def _parts(node: ast.AST, function: Function | None) -> Iterator[tuple[ast.AST, Function | None]]:
    """What is to be looked at within a node, and the function that it is in."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if node.name not in SHOWN:
                defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                yield from ((each, function) for each in defaults)
                yield from ((each, node) for each in node.body)
        case ast.ClassDef():
            told = [each.value for each in node.keywords if each.arg not in OF_MEMORY]
            yield from ((each, function) for each in (*told, *node.body))
        case ast.AnnAssign():
            if node.value is not None and ast.unparse(node.annotation) != "TypeAlias":
                yield node.value, function
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass
        case ast.Raise() | ast.Assert() | ast.JoinedStr():
            pass
        case ast.Call(func=ast.Name(id="isinstance" | "cast" | "TypeVar")):
            pass
        case ast.Call() if _logs(node):
            pass
        case ast.arguments():  # of a lambda
            yield from ((each, function) for each in (*node.defaults, *node.kw_defaults) if each)
        case _:
            yield from ((child, function) for child in ast.iter_child_nodes(node))


def _changes(node: ast.AST, function: Function | None) -> Iterator[str]:
    """What a node may become, one at a time."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                changed = copy.deepcopy(node)
                changed.ops[place] = COMPARED[type(operator)]()
                yield ast.unparse(changed)
        case ast.BoolOp():
            other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield f"({ast.unparse(ast.BoolOp(other, node.values))})"
        case ast.BinOp() if type(node.op) in COUNTED and not _joins_texts(node):
            yield f"({ast.unparse(ast.BinOp(node.left, COUNTED[type(node.op)](), node.right))})"
        case ast.UnaryOp(op=ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.UnaryOp(op=ast.USub()):
            yield ast.unparse(node.operand)
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=float() as value) if value:
            yield str(value * 2)
            yield str(value / 2)
        case ast.Constant(value=int() | float() as value):
            yield str(value + 1)
            yield str(value - 1) if value else "(-1)"
        case ast.Call(func=ast.Name(id=name)) if name in NAMED:
            changed_call = copy.copy(node)
            changed_call.func = ast.Name(NAMED[name])
            yield ast.unparse(changed_call)
        case ast.Return(value=ast.expr()) if _may_be_none(function) and not _none(node.value):
            yield "return None"
        case ast.Expr(value=ast.Call() as call) if not _logs(call):
            yield "pass"
        case ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "pass"
        case _:
            pass


def _conditions(node: ast.AST) -> list[ast.expr]:
    """What decides a branch and may be turned to its contrary. (A comparison of two, and what is
    negated, is so by its own change.)"""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            tests = [test]
        case ast.comprehension(ifs=tests):
            pass
        case _:
            return []
    return [each for each in tests if not _has_a_contrary(each)]


def _negated(test: ast.expr) -> str:
    return f"({ast.unparse(ast.UnaryOp(ast.Not(), test))})"


def _has_a_contrary(test: ast.expr) -> bool:
    match test:
        case ast.Compare(
            ops=[ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]
        ):
            return True
        case ast.UnaryOp(op=ast.Not()) | ast.Constant(value=bool()) | ast.Name(id="TYPE_CHECKING"):
            return True
    return False


def _logs(call: ast.Call) -> bool:
    return (
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == LOG
    )


def _joins_texts(node: ast.BinOp) -> bool:
    return any(
        isinstance(each, ast.JoinedStr)
        or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in (node.left, node.right)
    )


def _may_be_none(function: Function | None) -> bool:
    return (
        function is not None
        and function.returns is not None
        and any(_none(each) for each in ast.walk(function.returns))
    )


def _none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
