from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import builders
from dienjax import PaddedArrays, fit
from dienjax.data.loader import Loader, Planned
from dienjax.training.evaluation import store_split
from dienjax.training.preflight import check_data, check_labels, larger_split


def arrays(schema, label, negatives=True):
    columns = {}
    for name in schema.sizes():
        columns |= {f"hist_{name}": np.full((4, 2), 2), name: np.full((4, 2), 3)}
        columns |= {f"neg_hist_{name}": np.full((4, 2), 4)} if negatives else {}
    return PaddedArrays(schema, columns, label)


HARD, SOFT = np.tile([1, 0], (4, 1)), np.tile([1, 0.3], (4, 1))


def test_an_auxiliary_loss_without_negatives_is_refused(config, drift_store, tmp_path):
    data = arrays(drift_store.schema, HARD, negatives=False)
    with pytest.raises(ValueError, match=r"give the columns neg_hist_item, neg_hist_category, or set loss.alpha=0"):
        fit(config, data, None, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    check_data(replace(config, loss=replace(config.loss, alpha=0.0)), Loader(data, 4), None)


@pytest.mark.parametrize(("train", "valid", "named"), [(SOFT, HARD, "training"), (HARD, SOFT, "validation")])
def test_soft_labels_are_refused_before_anything_is_written(config, drift_store, tmp_path, train, valid, named):
    train, valid = (arrays(drift_store.schema, label) for label in (train, valid))
    with pytest.raises(ValueError, match=rf"label holds 0.3\d* in row 0 of the {named} data; expected 0 or 1"):
        fit(config, train, valid, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_stored_candidates_are_checked_and_a_regression_takes_any_number(config, drift_store):
    split = store_split(config, drift_store, "valid", auxiliary=True)
    split.shown = SimpleNamespace(label_C=np.array([0, 1, 2.5]))
    loader = Loader(arrays(drift_store.schema, HARD), 4)
    with pytest.raises(ValueError, match=r"label holds 2\.5 in row 2 of the validation data"):
        check_data(config, loader, SimpleNamespace(dataset=split))
    check_data(replace(config, loss=replace(config.loss, task="regression")), loader, SimpleNamespace(dataset=split))


def test_a_batch_may_have_soft_labels_of_behaviours_and_anything_in_padding():
    batch, planned = builders.make_batch(), Planned(4, np.arange(10, 16))
    soft = np.where(batch.mask_BT, np.float32(0.3), 0)
    padded = np.where(batch.mask_BK, batch.label_BK, -1)
    check_labels(batch.replace(hist_label_BT=soft, label_BK=padded), planned.index, "binary")
    with pytest.raises(ValueError, match=r"label holds 0.5 in sample 10; expected 0 or 1 .* loss.task=\"regression\""):
        check_labels(batch.replace(label_BK=np.full_like(batch.label_BK, 0.5)), planned.index, "binary")
    with pytest.raises(ValueError, match=r"hist_label holds 2.0 in sample 10; expected 0 to 1"):
        check_labels(batch.replace(hist_label_BT=np.full_like(soft, 2)), planned.index, "regression")


def test_a_far_larger_training_split_is_named():
    def store(**samples):
        return SimpleNamespace(info={"samples": samples})

    hint = larger_split(store(train=2565, train_all=63982, test=9e9), "train")
    assert '"train" has 2,565 samples where "train_all" has 63,982; --set data.train=train_all' in hint
    assert larger_split(store(train=2565, train_all=63982), "train_all") == ""
    assert larger_split(store(train=100, train_all=400, test=5000), "train") == ""
    assert larger_split(store(mine=1, test=5000), "mine") == ""
