"""Arithmetic of others, worked out without running anything of theirs."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

from mistral_tui.tools.errors import ToolError

LONGEST = 1000  # characters of an expression
_MOST_BITS = 8192  # of any whole number on the way, about 2500 digits
_MOST_ARGUMENTS = 100

_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
# How many arguments, and the function.
_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "abs": (1, 1, abs),
    "round": (1, 2, round),
    "int": (1, 1, int),
    "float": (1, 1, float),
    "min": (1, _MOST_ARGUMENTS, lambda *values: min(values)),
    "max": (1, _MOST_ARGUMENTS, lambda *values: max(values)),
    "sum": (1, _MOST_ARGUMENTS, lambda *values: sum(values)),
    "sqrt": (1, 1, math.sqrt),
    "cbrt": (1, 1, math.cbrt),
    "exp": (1, 1, math.exp),
    "log": (1, 2, math.log),
    "ln": (1, 1, math.log),
    "log2": (1, 1, math.log2),
    "log10": (1, 1, math.log10),
    "sin": (1, 1, math.sin),
    "cos": (1, 1, math.cos),
    "tan": (1, 1, math.tan),
    "asin": (1, 1, math.asin),
    "acos": (1, 1, math.acos),
    "atan": (1, 1, math.atan),
    "atan2": (2, 2, math.atan2),
    "sinh": (1, 1, math.sinh),
    "cosh": (1, 1, math.cosh),
    "tanh": (1, 1, math.tanh),
    "degrees": (1, 1, math.degrees),
    "radians": (1, 1, math.radians),
    "hypot": (1, _MOST_ARGUMENTS, math.hypot),
    "floor": (1, 1, math.floor),
    "ceil": (1, 1, math.ceil),
    "trunc": (1, 1, math.trunc),
    "gcd": (1, _MOST_ARGUMENTS, math.gcd),
    "lcm": (1, _MOST_ARGUMENTS, math.lcm),
    "factorial": (1, 1, math.factorial),
    "comb": (2, 2, math.comb),
    "perm": (2, 2, math.perm),
}
_COUNTED = ("factorial", "comb", "perm")  # grow faster than their arguments
_LARGEST_COUNT = 900
_TOO_LARGE = "The result, or a number on the way to it, is too large."


def calculate(expression: str) -> str:
    """The value of an expression as Python writes it.

    Raises:
        ToolError: it is none, or too large, or asks for more than arithmetic.
    """
    text = expression.strip()
    if not text:
        raise ToolError("The expression is empty.")
    if len(text) > LONGEST:
        raise ToolError(f"The expression is too long: at most {LONGEST} characters are read.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval")
        return str(_value(tree.body))
    except SyntaxError:
        raise ToolError("The expression is no arithmetic that can be read.") from None
    except ZeroDivisionError:
        raise ToolError("The expression divides by zero.") from None
    except OverflowError:
        raise ToolError(_TOO_LARGE) from None
    except (RecursionError, MemoryError):
        raise ToolError("The expression is nested too deeply.") from None
    except (ValueError, TypeError) as error:
        raise ToolError(f"The expression cannot be worked out: {error}.") from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.Name):
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        hint = " needs its arguments in parentheses" if node.id in _FUNCTIONS else " is not known"
        raise ToolError(f"{node.id:.40}{hint}.")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, ast.BinOp):
        return _bounded(_binary(node))
    if isinstance(node, ast.Compare):
        return _compared(node)
    if isinstance(node, ast.Call):
        return _bounded(_called(node))
    raise ToolError("Only numbers, + - * / // % **, comparisons and functions are worked out.")


def _binary(node: ast.BinOp) -> Any:
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Pow):
        return _power(left, right)
    if isinstance(node.op, ast.BitXor):
        raise ToolError("^ is no power here: write **.")
    if type(node.op) not in _BINARY:
        raise ToolError("Of the operators there are + - * / // % and **.")
    return _BINARY[type(node.op)](left, right)


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent > 0 and base.bit_length() * exponent > _MOST_BITS:
        raise ToolError(_TOO_LARGE)
    return base**exponent


def _compared(node: ast.Compare) -> bool:
    left = _value(node.left)
    for operation, other in zip(node.ops, node.comparators, strict=True):
        right = _value(other)
        if type(operation) not in _COMPARED:
            raise ToolError("Of the comparisons there are == != < <= > and >=.")
        if not _COMPARED[type(operation)](left, right):
            return False
        left = right
    return True


def _called(node: ast.Call) -> Any:
    if not isinstance(node.func, ast.Name):
        raise ToolError("A * is missing before a parenthesis, or something is called by no name.")
    name = node.func.id
    if name not in _FUNCTIONS:
        known = ", ".join(_FUNCTIONS)
        raise ToolError(f"The function {name:.40} is not known; there are {known}.")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise ToolError(f"{name} takes numbers only.")
    least, most, function = _FUNCTIONS[name]
    if not least <= len(node.args) <= most:
        raise ToolError(f"{name} takes {least if least == most else f'{least} to {most}'} numbers.")
    values = [_value(argument) for argument in node.args]
    if name in _COUNTED and any(value > _LARGEST_COUNT for value in values):
        raise ToolError(f"{name} takes whole numbers up to {_LARGEST_COUNT}.")
    if name == "round" and len(values) == 2 and abs(values[1]) > _LARGEST_COUNT:
        raise ToolError(f"round takes up to {_LARGEST_COUNT} places.")
    return function(*values)


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ToolError(_TOO_LARGE)
    if isinstance(value, complex):
        raise ToolError("The result is no real number.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolError(_TOO_LARGE if math.isinf(value) else "The result is no number.")
    return value
