"""Expressions of labels: what is taken gives what Python gives row by row; what would run code is refused unread."""

import operator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from campaign import CLEAN, command, scratch, start

from dienjax import prepare

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

HOSTILE = [
    "rating.__init__.__globals__['sys'].modules['os'].mkdir('{canary}')",
    "rating.__class__.__mro__[1].__subclasses__()",
    "__import__('os').mkdir('{canary}')",
    "@__import__('os').mkdir('{canary}')",
    "@pd.io.common.os.mkdir('{canary}')",
    "(lambda: __import__('os').mkdir('{canary}'))()",
    "[x for x in ().__class__.__base__.__subclasses__()]",
    "f'{{__import__(\"os\").mkdir(\"{canary}\")}}'",
    "exec(\"import os; os.mkdir('{canary}')\")",
    "eval('1')", "open('{canary}', 'w')", "rating.to_pickle('{canary}')", "rating.to_csv('{canary}') == 1",
    "rating.to_json('{canary}')", "rating.map(print)", "rating.apply('__class__')", "(rating := 1)",
    "rating if rating else 1",
    "rating = 1", "category = 'x'", "rating; rating", "rating\nrating", "await rating", "yield rating", "*rating",
    "{{rating: 1}}",
    "rating[0]", "rating[rating > 1]", "rating.values", "rating.mean()", "rating >= rating.mean()",
    "category.str.len()",
    "9 ** 9 ** 9 ** 9 > rating", "rating ** 99999999", "1 << 99999999999 > rating", "'a' * 99999999999 == category",
    "-" * 100_000 + "rating", "(" * 5000 + "rating" + ")" * 5000, "rating" + " + rating" * 50_000,
    "not " * 50_000 + "(rating > 1)",
    " ", "\x00", "rating >=", "category > 1", "category == 1", "category + 1 == 2",
    "rating > 'a'", "rating == 'a'", "rating in ['a', '']", "'' == rating",
    "rating in 5", "nosuch > 1", "True", "1", "index >= 0", "rating and category", "sin(rating) > 0",
    "rating @ rating", "...",
]  # fmt: skip
"""None of them is a value for each row made of columns, constants and plain operators; the log is a text file."""


def test_hostile_expressions(with_store, counted, many, tmp_path):
    with counted("hostile expressions") as tally:
        for number, expression in enumerate(HOSTILE[:: max(1, round(len(HOSTILE) / many(len(HOSTILE))))]):
            with scratch(tmp_path, f"case {number}") as folder:
                canary = folder / "canary"
                text = expression.replace("{canary}", str(canary)).replace("{{", "{").replace("}}", "}")
                argv = ["prepare", "--events", with_store.log, "--user", "user", "--item", "item", "--time", "time"]
                argv += ["--out", folder / "store", "--quiet", f"--hist-label={text}"]
                ended = start(folder, command, *argv, memory=3 << 30).end(limit=60)
                outcome = ended.outcome()
                if outcome == "accepted rightly":
                    outcome = "wrong accepted"
                if canary.exists():
                    outcome = "outside the target"
                tally.add(outcome, f"{text[:70]!r}: {ended}")


COLUMNS = {
    "rating": [1, 2, 3, 4, 5, 3],
    "price": [0.5, 1.5, 2.0, 0.25, 1.0, 4.0],
    "kind": ["a", "b", "a", "c", "b", "a"],
}
COMPARE = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
TEXT_ENDS = [("== 'a'", False), ("in ['a']", False), ("> ''", True)]
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


class NoValue(Exception):
    """The expression has none in this row: something is missing, or numbers meet text."""


def numeric():
    leaf = st.one_of(
        st.sampled_from(["rating", "price"]).map(lambda n: (n, lambda row: given(row, n))),
        st.integers(1, 6).map(lambda c: (str(c), lambda row: c)),
        st.sampled_from([0.5, 1.25, 2.0]).map(lambda c: (str(c), lambda row: c)),
    )

    def bigger(inner):
        return st.tuples(inner, st.sampled_from([*"+-*"]), inner).map(
            lambda t: (f"({t[0][0]} {t[1]} {t[2][0]})", lambda row: ARITHMETIC[t[1]](t[0][1](row), t[2][1](row)))
        ) | st.tuples(inner, st.integers(1, 4)).map(
            lambda t: (f"({t[0][0]} / {t[1]})", lambda row: t[0][1](row) / t[1])
        )

    return st.recursive(leaf, bigger, max_leaves=4)


def truth():
    # With a constant: two bare columns of a text file may be meant as text or as numbers.
    compared = st.tuples(numeric(), st.sampled_from([*COMPARE]), st.sampled_from([1, 2.5, 4])).map(
        lambda t: (f"{t[0][0]} {t[1]} {t[2]}", lambda row: COMPARE[t[1]](t[0][1](row), t[2]))
    )
    texts = st.tuples(st.sampled_from(["==", "!="]), st.sampled_from([*"abcd"])).map(
        lambda t: (f"kind {t[0]} '{t[1]}'", lambda row: COMPARE[t[0]](given(row, "kind"), t[1]))
    )
    member = st.lists(st.sampled_from([*"abcd"]), min_size=1, max_size=3).map(
        lambda names: (f"kind in {names}", lambda row: given(row, "kind") in names)
    )
    mixed = st.sampled_from([("kind > 3", missing), ("kind == 1", missing)]) | st.sampled_from(
        [(f"{name} {end}", text_if_odd(name, value)) for name in ["rating", "price"] for end, value in TEXT_ENDS]
    )

    def bigger(inner):
        return st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(both) | inner.map(
            lambda t: (f"not ({t[0]})", lambda row: not t[1](row))
        )

    return st.recursive(compared | compared | texts | member | mixed, bigger, max_leaves=4)


def both(t):
    """Both sides are evaluated: what is missing on the right is missing, whatever the left is."""
    (left, f), word, (right, g) = t
    act = {"and": lambda a, b: a and b, "or": lambda a, b: a or b}[word]
    return f"({left}) {word} ({right})", lambda row: act(*(h(row) for h in (f, g)))


def missing(row):
    raise NoValue


def text_if_odd(name, value):
    """Numbers in a text file are text where one among them is no number."""
    return lambda row: value if row["odd"] == name else missing(row)


def given(row: dict[str, Any], name: str) -> Any:
    if row[name] is None:
        raise NoValue
    return row[name]


@pytest.mark.parametrize("form", ["frame", "csv"])
def test_expressions_mean_what_python_means(form, counted, request, many, tmp_path):
    """A missing value, N/A among numbers, and numbers beside text are errors where the expression reads them."""
    with counted(f"expressions: {form}") as tally:

        @hypothesis.seed(request.config.getoption("campaign_seed"))
        @hypothesis.settings(max_examples=many(150), database=None, deadline=None)
        @hypothesis.given(truth(), st.sampled_from(["", "", "rating", "price", "kind"]), st.booleans())
        def each(expression, hole, odd):
            text, meaning = expression
            columns = {name: list(values) for name, values in COLUMNS.items()}
            if hole:
                odd = odd and form == "csv" and hole != "kind"
                columns[hole][2] = "N/A" if odd else None
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            rows = [{k: None if v == "N/A" else v for k, v in row.items()} for row in rows]
            rows = [row | {"odd": hole if odd else ""} for row in rows]
            try:
                want = [float(meaning(row)) for row in rows]
            except NoValue:
                want = None
            frame = pd.DataFrame(columns).assign(user=[0, 0, 0, 0, 1, 1], item=[*"xyzyzx"], time=range(6))
            with scratch(tmp_path, "case") as folder:
                frame.to_csv(folder / "log.csv", index=False)
                log = frame if form == "frame" else folder / "log.csv"
                try:
                    roles = {"user": "user", "item": "item", "time": "time", "protocol": "all"}
                    store = prepare(log, folder / "store", **roles, hist_label=text)
                    wrong = want is None or not np.array_equal(store.hist_label_E, np.float32(want))
                    said = f"{text}, {hole} missing: {store.hist_label_E}, expected {want}"
                    tally.add("wrong accepted" if wrong else "accepted rightly", said)
                except CLEAN as error:
                    right = want is None or not any(name in text for name in COLUMNS)  # constants are no value per row
                    tally.add(
                        "refused cleanly" if right else "wrong accepted", f"{text}: refused though right: {error}"
                    )
                except Exception as error:
                    tally.add("tracebacks", f"{text}: {type(error).__name__}: {error}")

        each()
