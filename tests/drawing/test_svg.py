"""Chips that are too many for their box."""

from dienjax.drawing import svg


def test_many_chips_become_a_count_with_the_names_in_a_hint():
    rows = svg._rows([f"field_{i}" for i in range(100)], 188)
    assert len(rows) == svg.MOST_ROWS
    shown = [text for row in rows for text, _ in row][:-1]
    count, hint = rows[-1][-1]
    assert shown == [f"field_{i}" for i in range(len(shown))]
    assert count == f"+ {100 - len(shown)} more"
    assert hint.split(", ") == [f"field_{i}" for i in range(len(shown), 100)]
