"""The numbers of a column, or of an expression over columns such as "rating >= 4 and price < 10", row by row.

Only comparisons, `in`, and / or / not, + - * /, names of columns and constants are evaluated; no function is called.
How a text column is read follows from the expression alone: as text beside a text constant, as true or false beside a
logical operator, as a number elsewhere. So it depends neither on other rows nor on how a log is cut into files. If a
column that is compared with non-numeric text holds only numbers in the whole log, the comparison is refused.
"""

import ast
import operator
from collections.abc import Callable, Collection
from functools import reduce
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dienjax.errors import nearest
from dienjax.preparation.columns import EXACT, Where

LONGEST, DEEPEST = 10_000, 50
"""The most characters and nesting levels of an expression."""

ARITHMETIC: dict[type, Callable] = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide}
COMPARISON: dict[type, Callable] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
LOGIC: dict[type, Callable] = {
    ast.And: np.logical_and, ast.BitAnd: np.logical_and, ast.Or: np.logical_or, ast.BitOr: np.logical_or,
}  # fmt: skip

Value: TypeAlias = Any
"""float64 or bool [R], an Arrow column of text, or a constant."""


def names_in(expression: str, known: Collection[str]) -> list[str]:
    """The columns that an expression reads; a column's own name is one.

    Raises:
      ValueError: an unknown column, or text that is not an expression.
    """
    if expression in known:
        return [expression]
    tree = _parsed(expression, known)
    _check(tree, expression)
    found = list(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))
    for name in found:
        if name not in known:
            raise ValueError(f"column {name!r} of {expression!r} is missing; {nearest(name, known)}")
    if not found:
        raise ValueError(f"{expression!r} does not give a value per row; expected one such as 'rating >= 4'")
    return found


def meant_as_text(expression: str) -> set[str]:
    """The columns that an expression compares with text constants, none of which is a number."""
    found = set()
    for node in ast.walk(ast.parse(expression, mode="eval")):
        if isinstance(node, ast.Compare):
            for sides in pairwise([node.left, *node.comparators]):
                parts = [part for side in sides for part in getattr(side, "elts", [side])]
                texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
                if texts and not any(holds_numbers(pa.array([text])) for text in texts):
                    found |= {side.id for side in sides if isinstance(side, ast.Name)}
    return found


def holds_numbers(column: pa.Array) -> bool:
    """Whether a column is text whose values are all numbers."""
    column = _decoded(column)
    if not _is_text(column.type):
        return False
    try:
        pc.utf8_trim_whitespace(column).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def numbers(
    batch: pa.RecordBatch,
    names: Collection[str],
    expression: str,
    where: Where,
    unit: bool = False,
    missing: bool = False,
) -> np.ndarray:
    """Finite numbers [R] (float32), in [0, 1] if `unit`: a column, or the value of an expression for each row.

    With `missing` a column may have rows without a value, which are NaN.

    Args:
      names: the result of `names_in`; the batch has all of these columns.

    Raises:
      ValueError: a value that is missing or not such a number, a number compared with text, a division by zero.
    """
    if expression in names:
        value_R = _number_column(batch.column(expression), expression, where, missing)
    else:
        try:
            value = _value(ast.parse(expression, mode="eval").body, batch, where)
            if isinstance(value, pa.Array):
                raise ValueError("it is text; expected a comparison or a number")
        except ValueError as error:
            raise ValueError(f"expression {expression!r} cannot be evaluated: {error}") from error
        value_R = np.broadcast_to(value, len(batch))
    with np.errstate(over="ignore"):
        number_R = value_R.astype(np.float32)
    if missing:
        # NaN has many forms; one of them, so that equal logs give equal bytes.
        number_R[np.isnan(number_R)] = np.nan
    good_R = (number_R >= 0) & (number_R <= 1) if unit else np.isfinite(number_R) | (missing & np.isnan(number_R))
    if not good_R.all():
        row = int(np.argmin(good_R))
        raise ValueError(
            f"{expression!r} is '{value_R[row]:.9g}' in {where(row)}; expected "
            f"{'0 to 1' if unit else 'a finite number'}: correct or drop these rows"
        )
    return number_R


def _parsed(expression: str, known: Collection[str]) -> ast.expr:
    if len(expression) > LONGEST:
        raise ValueError(
            f"expression {expression[:40]!r}... has {len(expression):,} characters; expected at most {LONGEST:,}"
        )
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{expression!r} is neither a column nor an expression such as 'rating >= 4'; {nearest(expression, known)}"
        ) from error


def _check(node: ast.expr, expression: str, depth: int = 0) -> None:
    """Raises ValueError for anything but the few forms that `_value` knows."""
    if depth > DEEPEST:
        raise ValueError(
            f"expression {expression[:40]!r}... is nested more than {DEEPEST} deep; expected a simpler one"
        )
    parts: list[ast.expr] = []
    match node:
        case ast.Name():
            pass
        case ast.Constant(value=bool() | str()):
            pass
        case ast.Constant(value=int() | float() as value) if abs(value) < (EXACT if isinstance(value, int) else np.inf):
            pass
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert(), operand=part):
            parts = [part]
        case ast.BoolOp(values=parts):
            pass
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC or type(op) in LOGIC:
            parts = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others):
            parts = [left]
            for comparison, other in zip(ops, others, strict=True):
                listed = isinstance(comparison, ast.In | ast.NotIn)
                if listed and isinstance(other, ast.List | ast.Tuple) and other.elts:
                    parts += other.elts
                elif not listed and type(comparison) in COMPARISON:
                    parts.append(other)
                else:
                    raise _no_form(node, expression)
        case _:
            raise _no_form(node, expression)
    for part in parts:
        _check(part, expression, depth + 1)


def _no_form(node: ast.expr, expression: str) -> ValueError:
    part = ast.get_source_segment(expression, node) or expression
    return ValueError(
        f"expression {expression[:80]!r} holds {part[:80]!r}; expected columns, constants (numbers below 2^53), "
        "comparisons, `in` a list of constants, and / or / not, + - * /: compute anything else into a column first"
    )


def _value(node: ast.expr, batch: pa.RecordBatch, where: Where) -> Value:
    match node:
        case ast.Name(id=name):
            column = _present(batch.column(name), name, where)
            if _is_text(column.type):
                return column
            if pa.types.is_boolean(column.type):
                return column.to_numpy(zero_copy_only=False)
            return _exact_column(column, name, where)
        case ast.Constant(value=value):
            return float(value) if type(value) is int else value
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -_number(part, batch, where)
        case ast.UnaryOp(operand=part):
            return np.logical_not(_truth(part, batch, where))
        case ast.BoolOp(op=op, values=parts):
            return reduce(LOGIC[type(op)], [_truth(part, batch, where) for part in parts])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in LOGIC:
            return LOGIC[type(op)](_truth(left, batch, where), _truth(right, batch, where))
        case ast.BinOp(left=left, op=op, right=right):
            with np.errstate(all="ignore"):
                value = ARITHMETIC[type(op)](_number(left, batch, where), _number(right, batch, where))
            if not np.isfinite(value).all():
                row = int(np.argmin(np.isfinite(value)))
                raise ValueError(f"{ast.unparse(node)!r} is {np.ravel(value)[row]} in {where(row)}; correct these rows")
            return value
        case ast.Compare(left=left, ops=ops, comparators=others):
            lefts = [left, *others[:-1]]
            found = [_compared(*pair, batch, where) for pair in zip(lefts, ops, others, strict=True)]
            return reduce(np.logical_and, found)
    raise AssertionError(ast.dump(node))


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, batch: pa.RecordBatch, where: Where) -> Value:
    if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.List | ast.Tuple):
        equal = reduce(np.logical_or, [_compared(left, ast.Eq(), one, batch, where) for one in right.elts])
        return equal if isinstance(op, ast.In) else np.logical_not(equal)
    pair = [_value(side, batch, where) for side in (left, right)]
    are_text = [isinstance(value, str | pa.Array) for value in pair]
    what = f"{ast.unparse(left)!r} with {ast.unparse(right)!r}"
    if any(isinstance(value, str) for value in pair):
        if not all(are_text):
            raise ValueError(f"it compares {what}, a number with text; expected one kind: write numbers without quotes")
        pair = [value.to_numpy(zero_copy_only=False) if isinstance(value, pa.Array) else value for value in pair]
    elif all(are_text):
        raise ValueError(
            f"it compares {what}, two columns of text, which may be meant as numbers; expected a constant on one side, "
            "or for numbers a difference, such as 'a - b > 0'"
        )
    elif any(isinstance(value, bool) for value in pair) and any(are_text):
        pair = [_truth(side, batch, where) for side in (left, right)]
    else:
        pair = [_number(side, batch, where) for side in (left, right)]
    return COMPARISON[type(op)](*pair)


def _number(node: ast.expr, batch: pa.RecordBatch, where: Where) -> Value:
    """A number, or numbers [R]; true counts as 1, and a text column must hold numbers."""
    value = _value(node, batch, where)
    if isinstance(value, str):
        raise ValueError(f"it computes with the text {value!r}; expected a number")
    if isinstance(value, pa.Array):
        value = _exact_column(value, ast.unparse(node), where)
    return value + 0.0


def _truth(node: ast.expr, batch: pa.RecordBatch, where: Where) -> Value:
    """True or false, or bool [R]; 1 and 0 count as true and false, and a text column must hold true, false, 1 or 0."""
    value = _value(node, batch, where)
    if isinstance(value, pa.Array):
        value = _cast(value, pa.bool_(), ast.unparse(node), where).to_numpy(zero_copy_only=False)
    if isinstance(value, str) or not np.isin(value, (0, 1)).all():
        raise ValueError(
            f"{ast.unparse(node)!r} is neither true nor false in every row; expected comparisons beside and, or, not, "
            "&, |, ~ (these two bind closer than a comparison: put it in parentheses)"
        )
    return np.asarray(value, bool)


def _number_column(column: pa.Array, name: str, where: Where, missing: bool = False) -> np.ndarray:
    """float64 [R]; text must hold numbers. With `missing` they may be missing, NaN."""
    column = _decoded(column) if missing else _present(column, name, where)
    type = column.type
    if _is_text(type):
        column = _cast(column, pa.float64(), name, where)
    elif not (
        (missing and pa.types.is_null(type))
        or pa.types.is_boolean(type)
        or pa.types.is_integer(type)
        or pa.types.is_floating(type)
        or pa.types.is_decimal(type)
    ):
        raise ValueError(f"column {name!r} holds {type}; expected numbers, text or true and false: convert it")
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _exact_column(column: pa.Array, name: str, where: Where) -> np.ndarray:
    """Finite float64 [R], exactly the numbers of the column: a rounded whole number could overtake another one."""
    value_R = _number_column(column, name, where)
    good_R = np.isfinite(value_R) if pa.types.is_floating(column.type) else np.abs(value_R) < EXACT
    if not good_R.all():
        row = int(np.argmin(good_R))
        raise ValueError(f"{name!r} is {str(column[row])!r} in {where(row)}; expected a finite number below 2^53")
    return value_R


def _decoded(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _present(column: pa.Array, name: str, where: Where) -> pa.Array:
    column = _decoded(column)
    missing_R = column.is_null(nan_is_null=True)
    if missing_R.true_count:
        row = missing_R.index(True).as_py()
        raise ValueError(
            f"column {name!r} has no value in {where(row)}; expected one in every row: correct or drop these rows"
        )
    return column


def _cast(column: pa.Array, type: pa.DataType, name: str, where: Where) -> pa.Array:
    """A text column as numbers or bools, surrounding spaces ignored; an error names the first text that is neither."""
    column = pc.utf8_trim_whitespace(column)
    try:
        return column.cast(type)
    except pa.ArrowInvalid as error:
        row = next(row for row in range(len(column)) if not _can_be(column[row], type))
        expected = "true or false" if pa.types.is_boolean(type) else "a finite number"
        raise ValueError(
            f"{name!r} is {str(column[row])!r} in {where(row)}; expected {expected}: correct or drop these rows"
        ) from error


def _can_be(value: pa.Scalar, type: pa.DataType) -> bool:
    try:
        value.cast(type)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
