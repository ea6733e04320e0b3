"""Expressions against Python's own eval of each row; what they refuse, and that nothing in them is ever run."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dienjax.preparation import files
from dienjax.preparation.expression import names_in, numbers
from dienjax.preparation.read import Roles, rows

COLUMNS = {"r": [5, 3, 4, 1], "p": [0.5, -2.0, 3.25, 4.0], "b": [True, False, True, True], "c": ["x", "y", "4", "x"]}
TYPED = pa.RecordBatch.from_pydict(COLUMNS)
TEXT = pa.RecordBatch.from_pydict({name: [str(v) for v in values] for name, values in COLUMNS.items()})


def value(expression, batch=TYPED, unit=False):
    return numbers(batch, names_in(expression, batch.schema.names), expression, "row {}".format, unit).tolist()


@pytest.mark.parametrize("batch", [TYPED, TEXT], ids=["typed", "text"])
@pytest.mark.parametrize(
    "expression",
    [
        "r >= 4", "r == 4", "r != 4.0", "4 < r", "1 < r <= 4", "p < 0.5", "-p > -1e0", "r + p * 2 - 1", "r / 4 > 1",
        "(r - 1) / (p + 10)", "r >= 4 and p > 0", "r >= 4 or p < 0 and not r == 3", "not (r > 3)", "r in [1, 5]",
        "r in (1,)", "r not in [3, -4]", "c == 'x'", "c != 'x'", "c >= 'x'", "c in ['x', 'z']", "'y' == c", "b == True",
        "b and r > 3", "(r > 3) * 2 + 1", "c == '4' or r == 1", "1 < r < 9 and c != 'y'", "r - p", "b != False",
    ],
)  # fmt: skip
def test_each_row_is_what_python_says(expression, batch):
    each = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]
    assert value(expression, batch) == [np.float32(eval(expression, {}, row)) for row in each]


def test_logical_operators_of_pandas():
    assert value("(r > 3) & ~(c == 'x') | (r == 3)") == [0, 1, 1, 0]
    with pytest.raises(ValueError, match="bind closer than a comparison"):
        value("r >= 4 & p > 0")


@pytest.mark.parametrize("batch", [TYPED, TEXT], ids=["typed", "text"])
def test_a_column_by_its_name(batch):
    assert value("p", batch) == COLUMNS["p"]
    assert value("b", TYPED) == [1, 0, 1, 1]
    assert value("r", pa.RecordBatch.from_pydict({"r": [" 4", "5 "]})) == [4, 5]
    odd = batch.rename_columns(["a b", "r.real", "3", "c"])
    assert value("a b", odd) == COLUMNS["r"] and value("r.real", odd) == COLUMNS["p"]


@pytest.mark.parametrize(
    ("column", "expression", "message"),
    [
        ([5, None], "x >= 4", "column 'x' has no value in row 1"),
        ([5.0, float("nan")], "x", "column 'x' has no value in row 1"),
        (["5", None], "x == '5'", "column 'x' has no value in row 1"),
        (["5", "N/A"], "x >= 4", "'x' is 'N/A' in row 1; expected a finite number"),
        (["5", "N/A"], "x + 1 > 4", "'x' is 'N/A' in row 1"),
        (["5", "N/A"], "x", "'x' is 'N/A' in row 1"),
        (["5", "nan"], "x >= 4", "'x' is 'nan' in row 1"),
        (["true", "maybe"], "x == True", "'x' is 'maybe' in row 1; expected true or false"),
        (["true", "maybe"], "x and x", "'x' is 'maybe' in row 1; expected true or false"),
        ([5, 2**53], "x >= 4", "'x' is '9007199254740992' in row 1; expected a finite number below 2^53"),
        (["5", "9007199254740993"], "x >= 4", "'x' is '9007199254740993' in row 1"),
        ([5.0, float("inf")], "x >= 4", "'x' is 'inf' in row 1"),
        ([5, 0], "1 / x > 2", "'1 / x' is inf in row 1"),
        ([5, 0], "x / x", "'x / x' is nan in row 1"),
        ([1e200, 1e308], "x * 10", "'x * 10' is inf in row 1"),
        ([1, 1e39], "x", "'x' is '1e+39' in row 1; expected a finite number"),
        ([5, 4], "x == 'five'", "a number with text"),
        ([5, 4], "x in [4, 'five']", "a number with text"),
        (["5", "4"], "x < x", "two columns of text"),
        (["5", "4"], "x + 'a' > 1", "computes with the text 'a'"),
        ([5, 4], "x and x > 4", "'x' is neither true nor false in every row"),
        ([pd.Timestamp(0)] * 2, "x >= 4", "column 'x' holds timestamp"),
        ([pd.Timestamp(0)] * 2, "x", "column 'x' holds timestamp"),
        (["a", "b"], "(x)", "it is text"),
    ],
)
def test_what_is_wrong_with_a_value(column, expression, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        value(expression, pa.RecordBatch.from_pydict({"x": column}))


@pytest.mark.parametrize(
    "expression",
    [
        "r.__init__.__globals__['sys'].exit(3)",
        "r.mean() > r",
        "exit(3)",
        "r[0] > 1",
        "r ** 99999 > 1",
        "r if r else r",
        "(lambda: r)()",
        "(x := r) > 1",
        "[r for r in (1, 2)]",
        "f'{r}' == 'x'",
        "@r > 1",
        "r // 2",
        "r % 2",
        "r << 2",
        "r is None",
        "r in c",
        "r in []",
        "r in {1, 2}",
        "r == None",
        "r == b'x'",
        "r > 1j",
        "r > 1e999",
        f"r > {10**30}",
        "r > 9007199254740992",
        "r; r",
        "r\0",
        "r = 1",
        "await r",
        "*r",
        "r >",
        "",
        "4",
        "1 < 2",
        "(" * 5000 + "r" + ")" * 5000,
        "not " * 2000 + "r",
        "-" * 5000 + "r",
        "r" + " + r" * 2000,
        "f(" * 150 + ")" * 150,
        "r == " + "9" * 9000,
        "r" * 20_000,
        "r in [" + "[" * 80 + "]" * 80 + "]",
        "\ud800 > 1",
    ],
)
def test_nothing_else_is_an_expression(expression):
    with pytest.raises(ValueError, match=r"neither a column|holds|missing|deep|characters|a value per row") as error:
        value(expression)
    assert len(str(error.value)) < 25_000


def test_a_wrong_expression_stops_before_a_row_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("u,i,t,r\n")
    with pytest.raises(ValueError, match=r"holds 'r.mean\(\)'"):
        list(rows(tmp_path / "a.csv", Roles("u", "i", "t", (), {"liked": "r >= r.mean()"})))


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_how_a_log_is_cut_changes_nothing(block, tmp_path, monkeypatch):
    """One odd value changes no other row: its own line is named, in whichever block it stands."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    lines = [f"{n},{n % 3},{n},{n % 6}" for n in range(60)]
    roles = Roles("u", "i", "t", (), {"liked": "r >= 3", "text": "r == '4'"})

    def liked(files):
        return [v for b in rows(files, roles) for v in zip(b.numbers["liked"], b.numbers["text"], strict=True)]

    (tmp_path / "a.csv").write_text("\n".join(["u,i,t,r", *lines]))
    for n, part in enumerate([lines[:25], lines[25:]]):
        (tmp_path / f"{n}.part.csv").write_text("\n".join(["u,i,t,r", *part]))
    assert liked(tmp_path / "a.csv") == liked(f"{tmp_path}/*.part.csv") == [(n % 6 >= 3, n % 6 == 4) for n in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["u,i,t,r", *lines, "1,1,1,N/A"]))
    with pytest.raises(ValueError, match=r"'r' is 'N/A' in line 62 of .*a.csv"):
        liked(tmp_path / "a.csv")


@pytest.mark.parametrize("block", [64, 1 << 20])
@pytest.mark.parametrize(
    "expression", ["r == 'a'", "r > ''", "'x' != r", "not r in ['a', 'b']", "k == 'x' and r < 'b'"]
)
def test_numbers_beside_text_are_refused_in_text_files_too(expression, block, tmp_path, monkeypatch):
    """Only the whole log tells; one value that is no number, in whichever block, makes the column text."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    roles = Roles("u", "i", "t", (), {"liked": expression})
    lines = ["u,i,t,r,k", *(f"{n},{n % 3},{n},{n % 6},x" for n in range(60))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    said = re.escape(f"expression {expression!r} compares 'r' with text, and every value of it is a number")
    with pytest.raises(ValueError, match=said):
        list(rows(tmp_path / "a.csv", roles))
    (tmp_path / "a.csv").write_text("\n".join([*lines, "1,1,1,odd,x"]))
    assert sum(len(b.time_R) for b in rows(tmp_path / "a.csv", roles)) == 61


def test_a_code_that_is_a_number_is_text_where_the_constant_is(tmp_path):
    (tmp_path / "a.csv").write_text("u,i,t,r\n1,1,1,4\n1,1,2,5\n")
    for expression in ["r == '4'", "r in ['4', 'x']", "r == '4' and r != ' 5'"]:
        (block,) = rows(tmp_path / "a.csv", Roles("u", "i", "t", (), {"liked": expression}))
        assert block.numbers["liked"].tolist() == [1, 0]
