"""Numbers as people read them: with as many digits as mean something, and an interval behind its number."""

from math import floor, log10

from dienjax.report.section import Interval

UNDEFINED = "undefined"
MOST = 6
"""Decimals."""


def written(number: float | Interval | None) -> tuple[str, str]:
    """A number, and what follows it: ("0.787", "0.772 to 0.801") for an interval, ("7,120", "") for a count.

    None, which the data does not define, is "undefined". The minus is a minus sign, not a hyphen.
    """
    if not isinstance(number, Interval):
        return (UNDEFINED if number is None else plain(number)), ""
    value, low, high = number
    if value is None:
        return UNDEFINED, ""
    if low is None or high is None:
        return plain(value), f"interval {UNDEFINED}"
    decimals = usual_decimals(max(abs(value), abs(low), abs(high)))
    if high > low:  # two digits of its width
        decimals = min(MOST, max(decimals, 1 - floor(log10(high - low))))
    return fixed(value, decimals), f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def plain(number: float) -> str:
    """Whole numbers in full; others with three decimals, or fewer where they are large, or two digits if tiny."""
    if number == round(number):
        return fixed(number, 0)
    if abs(number) < 0.0005:
        return f"{number:.2g}".replace("-", "−")
    return fixed(number, usual_decimals(number))


def usual_decimals(number: float) -> int:
    """How many decimals a number of this size is written with."""
    return 3 if abs(number) < 100 else 1 if abs(number) < 10_000 else 0


def fixed(number: float, decimals: int) -> str:
    """A number with separators of thousands; one that rounds to 0 has no sign."""
    return f"{number:z,.{decimals}f}".replace("-", "−")
