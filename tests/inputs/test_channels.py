"""Which events the channels of a history keep, and channels all the way from a log to a served model."""

from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import builders
from dienjax import (
    DIEN,
    Config,
    DataConfig,
    FitConfig,
    ModelConfig,
    PaddedArrays,
    evaluate,
    explain,
    fit_store,
    predict,
)
from dienjax.data.loader import Loader
from dienjax.data.split import StoreSplit
from dienjax.inputs.channels import NONE, kept, numbers
from dienjax.preparation.prepare import prepare
from dienjax.schema import Channel
from dienjax.training.config import LossConfig

SIZES = {"attention_hidden": (4,), "tower": (5,), "auxiliary_hidden": (4,)}
MOST = {"click": 5, "cart": 2, "buy": 3}


def events(seed=0, users=80):
    """Of each user up to 30 events: clicks, carts, purchases, and views, which are in no channel."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(1, 31, users))
    kind = rng.choice(["click", "cart", "buy", "view"], len(user), p=[0.5, 0.2, 0.1, 0.2])
    item = rng.integers(0, 40, len(user))
    return pd.DataFrame({"u": user, "i": item, "kind": kind, "t": np.arange(len(user)), "good": item % 2})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("channels") / "store"
    return prepare(
        events(), path, user="u", item="i", time="t", channels="kind=click:5,cart:2,buy:3", hist_label="good",
        test_fraction=0.3, valid_fraction=0.3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    config = Config(
        ModelConfig("DIEN", 4, SIZES | {"auxiliary_channels": ["click", "buy"]}),
        DataConfig(train="train_all", batch_size=32, max_len=2),
        fit=FitConfig(epochs=2, patience=0),
    )
    return fit_store(config, store, tmp_path_factory.mktemp("run") / "run", progress=False)


def recent(rows, kinds):
    """Of rows in time, those that the channels keep; by the meaning of a channel."""
    own = {name: [row for row, kind in zip(rows, kinds, strict=True) if kind == name][-n:] for name, n in MOST.items()}
    return sorted(row for part in own.values() for row in part)


def test_numbers_and_what_is_kept():
    schema = replace(
        builders.CHANNELS, channels=(Channel("click", (5, 6), most=2), Channel("buy", (8,), most=1))
    )  # fmt: skip
    assert numbers(schema).tolist() == [NONE] * 5 + [0, 0, NONE, 1]
    id_M = np.array([5, 7, 6, 8, 5, 8, 8, 1, 0])
    length_N = np.array([4, 0, 5])
    expected = [True, False, True, True, True, False, True, False, False]
    assert kept(schema, id_M, length_N).tolist() == expected
    assert kept(schema, id_M[:0], np.zeros(2, int)).tolist() == []


@pytest.mark.parametrize("split", ["train_all", "test"])
@pytest.mark.parametrize("lengths", [(3, 10), (40,)])
def test_a_history_has_the_last_events_of_each_channel(store, split, lengths):
    """Merged in time, with the negatives of their own rows; what does not fit into T is the oldest."""
    kind_E = store.vocabulary("kind").set_index("id")["value"].reindex(store.events["kind"]).to_numpy()
    dataset = StoreSplit(store, split, max_len=1)
    assert dataset.length_N.max() == sum(MOST.values())
    negative = {}
    for planned, batch in Loader(dataset, 16, lengths, shuffle=False).epoch(0):
        batch.check(store.schema)
        for b, sample in enumerate(planned.index):
            start, end = store.offsets[dataset.user_N[sample]], dataset.end_N[sample]
            rows = recent(range(start, end), kind_E[start:end])
            assert len(rows) == dataset.length_N[sample] <= planned.T
            for name in ("i", "kind"):
                assert batch.history[name][b, : len(rows)].tolist() == store.events[name][rows].tolist()
            assert batch.hist_label_BT[b, : len(rows)].tolist() == store.hist_label_E[rows].tolist()
            assert batch.mask_BT[b].sum() == len(rows)
            names = [["click", "cart", "buy"][c] for c in batch.channel_BT[b, : len(rows)]]
            assert names == kind_E[rows].tolist()
            negative[sample] = batch.negative["i"][b, : len(rows)].tolist()
    short = dataset.rows(np.arange(len(dataset.length_N)), 2, 0)
    for sample, ids in negative.items():
        assert short.negative["i"][sample][short.mask_BT[sample]].tolist() == ids[-2:]


def test_a_log_without_an_event_of_a_channel_in_some_histories(store):
    """The first event of a user has no history, and many have no purchase before them."""
    dataset = StoreSplit(store, "train_all")
    batch = dataset.rows(np.arange(len(dataset.length_N)), 10, 0)
    batch.check(store.schema)
    bought = (batch.mask_BT & (batch.channel_BT == 2)).any(axis=1)
    assert 0 < bought.sum() < len(bought)


def test_padded_arrays_keep_the_same_events(store):
    dataset = StoreSplit(store, "train_all")
    longest = int((dataset.end_N - store.offsets[dataset.user_N]).max())
    index = np.arange(40)
    start, end = store.offsets[dataset.user_N[index]], dataset.end_N[index]

    def whole(column):
        rows = [np.pad(column[s:e], (0, longest - (e - s))) for s, e in zip(start, end, strict=True)]
        return np.array(rows)

    expected = dataset.rows(index, 10, 0)
    columns = {f"hist_{name}": whole(column) for name, column in store.events.items()}
    columns |= dict(expected.candidate) | {"hist_label": whole(store.hist_label_E)}
    got = PaddedArrays(store.schema, columns, expected.label_BK).rows(index, 10, 0)
    got.check(store.schema)
    for name in ("mask_BT", "hist_label_BT"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    for name, ids in expected.history.items():
        np.testing.assert_array_equal(got.history[name], ids)
    np.testing.assert_array_equal(got.channel_BT[got.mask_BT], expected.channel_BT[got.mask_BT])


def frame(count=12):
    """Histories longer than what is kept, one that is empty, unknown kinds and items, several candidates."""
    rng = np.random.default_rng(5)
    length = [0, 1, 30, *rng.integers(2, 30, count - 3)]
    return pd.DataFrame({
        "hist_i": [rng.integers(0, 45, n).tolist() for n in length],
        "hist_kind": [rng.choice(["click", "cart", "buy", "view", "share"], n).tolist() for n in length],
        "i": [rng.integers(0, 45, 3).tolist() for _ in length],
        "kind": [["click", "buy", None] for _ in length],
    })  # fmt: skip


def test_trained_evaluated_and_predicted(run, store):
    assert np.isfinite(evaluate(run, store)["auc"])
    table = frame()
    found = predict(run, table)["probability"]
    cut = table.copy()
    for row in cut.index:
        rows = recent(range(len(table["hist_i"][row])), table["hist_kind"][row])
        for name in ("hist_i", "hist_kind"):
            cut.at[row, name] = [table[name][row][r] for r in rows]
    assert (table["hist_i"].map(len) > cut["hist_i"].map(len)).any()
    np.testing.assert_allclose(np.stack(predict(run, cut)["probability"]), np.stack(found), atol=1e-6)


def test_explained_in_the_slots_of_the_whole_history(run):
    table = frame()
    seen = explain(run, table)
    arrays, mask_NT = seen.arrays, seen.mask_NT
    assert {*arrays.weight_BKT} == {f"target_attention_{name}" for name in MOST}
    kinds = [[k for r, k in enumerate(row) if r in recent(range(len(row)), row)] for row in table["hist_kind"]]
    for name in MOST:
        own_NT = np.array([[t < len(row) and row[t] == name for t in range(mask_NT.shape[1])] for row in kinds])
        weight_NKT = arrays.weight_BKT[f"target_attention_{name}"]
        np.testing.assert_allclose(
            weight_NKT.sum(axis=2), np.broadcast_to(own_NT.any(axis=1)[:, None], (12, 3)), atol=1e-5
        )
        assert not weight_NKT[np.broadcast_to(~own_NT[:, None], weight_NKT.shape)].any()
        gate_NTH = arrays.gate_BKTH[f"extractor_{name}"][:, 0]
        state_NTH = arrays.state_BKTH[f"extractor_{name}"][:, 0]
        assert not gate_NTH[~own_NT].any() and (gate_NTH[own_NT] > 0).all()
        carried = (mask_NT & ~own_NT)[:, 1:]
        np.testing.assert_array_equal(state_NTH[:, 1:][carried], state_NTH[:, :-1][carried])
        # An auxiliary logit from the channel's second event on, if it has the loss.
        expected_NT = own_NT & (np.cumsum(own_NT, axis=1) > 1) & (name != "cart")
        np.testing.assert_array_equal(
            np.isfinite(arrays.next_logit_BS)[own_NT[:, 1:]], expected_NT[:, 1:][own_NT[:, 1:]]
        )


@pytest.mark.slow
def test_exported_and_served(run, tmp_path):
    """ONNX and the Ranker agree with predict, row by row and as a table."""
    from dienjax.export.own_process import export_run
    from dienjax.serving import Ranker

    ranker = Ranker(export_run(run, tmp_path / "onnx", split="test"))
    assert ranker.max_len == 10
    table = frame()
    expected = np.stack(predict(run, table)["probability"])
    np.testing.assert_allclose(
        np.stack(ranker.score_table(pa.Table.from_pandas(table)).to_pylist()), expected, atol=1e-5
    )
    for row, want in zip(table.to_dict("records"), expected, strict=True):
        history, candidates = {n: row[f"hist_{n}"] for n in ("i", "kind")}, {n: row[n] for n in ("i", "kind")}
        np.testing.assert_allclose(ranker.score(history, candidates), want, atol=1e-5)


@pytest.mark.slow
def test_the_explorer_ends_where_the_run_does(run, store):
    """After its last event a history's prediction is the run's own; an event's attention is that of its channel."""
    from dienjax.report.cases import cases
    from dienjax.report.evolution import evolve, frequent_behaviours
    from dienjax.report.scored import scored

    one = scored(run, store)
    shown = cases([one])
    seen = evolve(one, shown, frequent_behaviours(store))
    own_U = np.arange(len(shown.user_U))
    last_UK = seen.probability_UKP[own_U, :, shown.length_U]
    for u, user in enumerate(shown.user_U):
        expected = 1 / (1 + np.exp(-one.logit_M[one.user_M == user]))
        np.testing.assert_allclose(np.sort(last_UK[u][shown.mask_UK[u]]), np.sort(expected), atol=1e-6)
    kind_UT = store.events["kind"][shown.event_UT]
    for u in own_U:
        channels = len(np.unique(kind_UT[u][shown.mask_UT[u]]))
        np.testing.assert_allclose(np.nansum(seen.weight_UKT[u, 0]), channels, atol=1e-5)


def test_a_run_refuses_a_store_with_other_channels(run, store, tmp_path):
    other = prepare(events(), tmp_path / "s", user="u", item="i", time="t", channels="kind=click:5,cart:2,buy:4")
    with pytest.raises(ValueError, match="- channel 2 buy: the last 4 events whose kind has id"):
        evaluate(run, other)


def test_a_single_channel_trains_what_none_does(tmp_path):
    """A channel of all kinds, as long as max_len: the same history, negatives and numbers."""
    log = events()
    roles = {"user": "u", "item": "i", "time": "t", "hist_label": "good"}
    plain = prepare(log, tmp_path / "plain", **roles, attributes=["kind"])
    one = prepare(log, tmp_path / "one", **roles, channels="kind=click+cart+buy+view:6")
    for of_plain, of_one in zip(*(
        Loader(StoreSplit(store, "train_all", max_len=6), 16).epoch(0) for store in (plain, one)
    ), strict=True):  # fmt: skip
        batch = of_one[1]
        assert (batch.channel_BT[batch.mask_BT] == 0).all()
        got, want = (jax.tree.leaves(b.replace(channel_BT=None)) for b in (batch, of_plain[1]))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_regression_of_din_and_alpha_0(store, tmp_path):
    """Without the auxiliary loss, and with a model that has none."""
    for name, options, loss in (("DIN", {}, LossConfig()), ("DIEN", {"kind": "GRU"}, LossConfig(alpha=0))):
        sizes = {k: v for k, v in SIZES.items() if name == "DIEN" or k != "auxiliary_hidden"}
        config = Config(
            ModelConfig(name, 2, sizes | options), DataConfig(batch_size=32), loss, fit=FitConfig(epochs=1)
        )  # fmt: skip
        assert np.isfinite(evaluate(fit_store(config, store, tmp_path / name, progress=False), store)["auc"])


def test_wrong_channels(tmp_path):
    log = events(users=20)
    for text, message in (
        ("kind", "channels='kind'; expected COLUMN=VALUE:LENGTH"),
        ("kind=click:0", "expected COLUMN=VALUE:LENGTH"),
        ("kind=click:x", "expected COLUMN=VALUE:LENGTH"),
        ("kind=click:5,:3", "expected COLUMN=VALUE:LENGTH"),
        ("kind=click+:5", "expected COLUMN=VALUE:LENGTH"),
        ("kind=click:5,click:3", "names 'click' twice"),
        ("kind=clik:5", "channel 'clik' is of the value 'clik'.* did you mean 'click'"),
        ("knd=click:5", "did you mean 'kind'"),
        ("kind=click:5,click+buy:3", "is in the channels 'click' and 'click.buy'"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(log, tmp_path / "s", user="u", item="i", time="t", channels=text)
    assert not (tmp_path / "s").exists()


def test_kinds_that_are_numbers(tmp_path):
    log = events(users=20).assign(kind=lambda frame: frame["kind"].map({"click": 1, "cart": 2, "buy": 3, "view": 4}))
    store = prepare(log, tmp_path / "s", user="u", item="i", time="t", channels="kind=1,2+3:7")
    assert [(c.name, c.most, len(c.ids)) for c in store.schema.channels] == [("1", 50, 1), ("2+3", 7, 2)]
    assert DIEN(store.schema, **SIZES).auxiliary_channels == ()
