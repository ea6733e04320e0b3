"""The curves show what is in a metrics file, in the order of its steps."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from dienjax.drawing import curves


def train(step, **more):
    return {"kind": "train", "step": step, "epoch": 0, "loss": 1.3 - step / 100, "ctr_loss": 0.7 - step / 200, **more}


def valid(step, **more):
    return {"kind": "valid", "step": step, "epoch": 0, **more}


FULL = [train(s, auxiliary_loss=0.6, auc=0.5) for s in range(0, 50, 10)] + [
    valid(s, auc=a, gauc=0.6) for s, a in ((10, 0.61), (20, 0.72), (30, 0.68))
]


def test_series_sorts_skips_the_undefined_and_lets_the_later_line_count():
    lines = [
        valid(30, auc=0.6),
        valid(10, auc=0.5),
        valid(20, auc=None),
        valid(30, auc=0.7),
        valid(40, auc=float("nan")),
    ]
    step, value = curves.series([*lines, valid(50), train(5, auc=0.9)], "valid", "auc")
    np.testing.assert_array_equal(step, [10, 30])
    np.testing.assert_array_equal(value, [0.5, 0.7])


def drawn(monkeypatch, tmp_path, lines):
    """The texts and the number of lines in each panel of the figure that was saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    curves.plot_curves(lines, tmp_path / "curves.png", "a run")
    assert imread(tmp_path / "curves.png").shape == (570, 750 * len(figures[0].axes), 4)
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    return [(a.get_title("left"), [t.get_text() for t in a.texts], len(a.lines)) for a in figures[0].axes]


def test_full_run(monkeypatch, tmp_path):
    left, right = drawn(monkeypatch, tmp_path, FULL)
    assert left == ("training loss", ["ctr 0.500", "auxiliary 0.600", "total 0.900"], 3)
    assert right == ("validation AUC", ["best 0.7200 at step 20"], 2)


def test_log_loss_has_a_panel_of_its_own(monkeypatch, tmp_path):
    lines = [valid(s, auc=a, logloss=x) for s, a, x in ((10, 0.61, 0.643), (20, 0.72, 0.9))]
    _, auc, logloss = drawn(monkeypatch, tmp_path, lines)
    assert auc == ("validation AUC", ["best 0.7200 at step 20"], 2)
    assert logloss == ("validation log loss", ["best 0.6430 at step 10"], 2)


@pytest.mark.parametrize(
    ("lines", "left", "right"),
    [
        ([], "no training step recorded yet", "no validation yet"),
        ([train(1)], "loss 0.695", "no validation yet"),
        ([train(1), valid(1, auc=None)], "loss 0.695", "AUC undefined: the validation rows have one class"),
        ([train(s) for s in range(5)] + [valid(3, auc=0.5)], "loss 0.680", "best 0.5000 at step 3"),
        ([valid(1, rmse=0.5), valid(2, rmse=0.4)], "no training step recorded yet", "best 0.4000 at step 2"),
    ],
)
def test_missing_series(monkeypatch, tmp_path, lines, left, right):
    panels = drawn(monkeypatch, tmp_path, lines)
    assert [texts for _, texts, _ in panels] == [[left], [right]]


def test_long_curves_are_thinned_to_means():
    step, value = curves.thinned(np.arange(1000.0), np.arange(1000.0) % 2)
    assert len(step) == curves.POINTS
    np.testing.assert_allclose(step[:2], [2.0, 7.0])
    assert value.mean() == pytest.approx(0.5)


def test_pyplot_and_its_global_state_stay_out(tmp_path):
    program = (
        "import sys, dienjax.drawing.curves as c; assert 'matplotlib' not in sys.modules; "
        "c.plot_curves([], sys.argv[1], 't'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.png")], check=True)
