"""What stands behind the name of a column."""

import pytest

from dienjax.preparation.suffixes import numbers_of, sets_of


def test_sets():
    assert sets_of(["tags|", "a b", "words ", "c;", "d,", "e/", "|", "x||"]) == (
        ("tags", "a b", "words", "c", "d", "e", "|", "x|"),
        {"tags": "|", "words": " ", "c": ";", "d": ",", "e": "/", "x|": "|"},
    )


def test_numbers():
    given = ["price", "a:log", "b:raw", "c:12", "d:standard", "e:f", "x:y:log", ":log", "g:", "h:1.5", "i:²"]
    assert numbers_of(given, "standard") == {
        "price": "standard", "a": "log", "b": "raw", "c": 12, "d": "standard", "e:f": "standard", "x:y": "log",
        ":log": "standard", "g:": "standard", "h:1.5": "standard", "i:²": "standard",
    }  # fmt: skip
    assert numbers_of(["ctr"], "raw") == {"ctr": "raw"}


@pytest.mark.parametrize(
    ("given", "message"), [(["a:1"], "1 bucket"), (["a:0"], "0 bucket"), (["a", "a:log"], "twice")]
)
def test_what_cannot_be(given, message):
    with pytest.raises(ValueError, match=message):
        numbers_of(given, "standard")
