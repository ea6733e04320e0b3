import math

import pytest

from dienjax.training.choosing import remarks, validation_score


def valid(step, auc, logloss, gauc=None):
    return {"kind": "valid", "step": step, "epoch": 0, "auc": auc, "gauc": gauc, "logloss": logloss}


@pytest.mark.parametrize(("choose", "most"), [("auc", 0.8), ("gauc", 0.7), ("logloss", -0.5)])
def test_more_is_better(choose, most):
    assert validation_score({"auc": 0.8, "gauc": 0.7, "logloss": 0.5}, choose, "binary") == most
    assert validation_score({"rmse": 2.0, "mae": 1.0}, choose, "regression") == -2.0
    assert math.isnan(validation_score({"auc": math.nan, "gauc": math.nan, "logloss": math.nan}, choose, "binary"))


LINES = [valid(300, 0.70, 0.643, 0.6), valid(900, 0.72, 0.879, 0.5), valid(950, 0.71, 0.7, None)]


def test_a_choice_that_the_log_loss_disagrees_with():
    (remark,) = remarks(LINES, "auc")
    assert "step 900 has validation log loss 0.879, step 300 had 0.643" in remark and 'fit.choose="logloss"' in remark
    assert remarks(LINES, "gauc") == remarks(LINES, "logloss") == []
    assert remarks([valid(300, 0.70, 0.643), valid(900, 0.72, 0.65)], "auc") == []


def test_an_auc_near_guessing():
    (remark,) = remarks([valid(300, 0.51, 0.7), valid(900, 0.49, 0.69)], "auc")
    assert "validation AUC is 0.510 at best" in remark and "data.train" in remark
    assert len(remarks([valid(300, 0.51, 0.7), valid(900, 0.49, 0.69)], "logloss")) == 1


@pytest.mark.parametrize("lines", [[], [valid(1, None, 0.3)], [{"kind": "valid", "step": 1, "rmse": 1.0, "mae": 0.5}]])
def test_nothing_is_said_where_nothing_was_chosen_by_auc(lines):
    assert remarks(lines, "auc") == []
