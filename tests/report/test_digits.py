"""Numbers as people read them."""

import pytest

from dienjax.report.digits import written
from dienjax.report.section import Interval


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "undefined"),
        (0, "0"),
        (7120, "7,120"),
        (-3, "−3"),
        (1.0, "1"),
        (0.7871, "0.787"),
        (-0.0131, "−0.013"),
        (12.3456, "12.346"),
        (123.456, "123.5"),
        (17571.6, "17,572"),
        (0.00049, "0.00049"),
        (0.000012345, "1.2e−05"),
    ],
)
def test_a_number(number, text):
    assert written(number) == (text, "")


@pytest.mark.parametrize(
    ("interval", "text", "ends"),
    [
        ((0.7871, 0.7722, 0.8009), "0.787", "0.772 to 0.801"),
        ((1.0, 0.99, 1.0), "1.000", "0.990 to 1.000"),
        ((-0.0131, -0.02, 0.001), "−0.013", "−0.020 to 0.001"),
        ((0.00062, 0.0003, 0.00093), "0.00062", "0.00030 to 0.00093"),
        ((0.7871, 0.7, 0.87), "0.787", "0.700 to 0.870"),
        ((-1e-9, -1e-9, 1e-9), "0.000000", "0.000000 to 0.000000"),
        ((812.3, 801.0, 830.0), "812.3", "801.0 to 830.0"),
        ((0.5, 0.5, 0.5), "0.500", "0.500 to 0.500"),
        ((0.5, None, None), "0.500", "interval undefined"),
        ((1.0, None, None), "1", "interval undefined"),
        ((None, None, None), "undefined", ""),
    ],
)
def test_a_number_with_its_interval(interval, text, ends):
    assert written(Interval(*interval)) == (text, ends)
