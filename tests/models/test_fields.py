"""What a part sees: a model of channels is one model for each channel's own history, by values and gradients."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from builders import CHANNELS
from dienjax.models import DIEN, DIN
from dienjax.models.fields import slots
from dienjax.schema import Channel
from dienjax.training.losses import LossConfig, data_loss

SIZES = {"attention_hidden": (4,), "tower": ()}
DIEN_SIZES = SIZES | {"auxiliary_hidden": (3,)}
PLAIN = replace(CHANNELS, type="", channels=())
ONE = replace(CHANNELS, channels=(Channel("all", (5, 6, 7, 8), most=50),))
KINDS = {
    "DIN": (DIN, SIZES),
    "DIN softmax": (DIN, SIZES | {"softmax": True}),
    "GRU": (DIEN, DIEN_SIZES | {"kind": "GRU"}),
    "AIGRU": (DIEN, DIEN_SIZES | {"kind": "AIGRU", "auxiliary": "inner"}),
    "AGRU": (DIEN, DIEN_SIZES | {"kind": "AGRU", "softmax": False}),
    "AUGRU": (DIEN, DIEN_SIZES | {"state": 3}),
    "AUGRU author": (DIEN, DIEN_SIZES | {"gate": "author", "cell": "author", "attention": "author"}),
    "minAUGRU": (DIEN, DIEN_SIZES | {"kind": "minAUGRU", "extractor": "minGRU", "attention": "bilinear"}),
}
QUICK_FIRST = [
    "DIN",
    "AUGRU",
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in ("DIN", "AUGRU")),
]
BATCH = builders.make_batch((0, 1, 8, 5, 3, 7, 8, 2), T=8, seed=3, schema=CHANNELS)
SCHEMA = replace(
    CHANNELS,
    channels=tuple(
        replace(channel, most=int((BATCH.channel_BT == number).sum(axis=1).max()))
        for number, channel in enumerate(CHANNELS.channels)
    ),
)
"""Each keeps as many events as its longest history in the batch has, fewer than there are slots."""


def of_channel(batch, number):
    """The batch as a model without channels has it that knows the events of one channel alone."""
    B, T = batch.mask_BT.shape
    order_BT = np.zeros((B, T), int)
    mask_BT = np.zeros((B, T), bool)
    for b in range(B):
        own = [t for t in range(T) if batch.mask_BT[b, t] and batch.channel_BT[b, t] == number]
        order_BT[b, : len(own)], mask_BT[b, : len(own)] = own, True

    def moved(x_BT):
        return np.where(mask_BT, np.take_along_axis(x_BT, order_BT, axis=1), 0).astype(x_BT.dtype)

    return batch.replace(
        history={name: moved(x) for name, x in batch.history.items()},
        negative={name: moved(x) for name, x in batch.negative.items()},
        mask_BT=mask_BT,
        hist_label_BT=moved(batch.hist_label_BT),
        channel_BT=None,
    )


def objective(model, params, stats, batch):
    """Every logit and auxiliary loss of a batch in one sum, in training mode; and the logits."""
    output, _ = model.apply({"params": params, "batch_stats": stats}, batch, train=True, mutable="batch_stats")
    weight_BK = jnp.where(batch.mask_BK, np.random.default_rng(0).normal(size=batch.mask_BK.shape), 0)
    total = jnp.sum(weight_BK * output.logit_BK)
    if output.auxiliary is not None:
        mean = data_loss(output, batch, LossConfig())[1]["auxiliary_loss"]
        total += mean * jnp.maximum(jnp.sum(output.auxiliary.mask_BS), 1)
    return total, output.logit_BK


def differentiated(model, params, stats, batch):
    gradient = jax.jit(jax.value_and_grad(objective, argnums=1, has_aux=True), static_argnums=0,
                       compiler_options=builders.FAST_COMPILE)  # fmt: skip
    (total, logit_BK), grads = gradient(model, params, stats, batch)
    return jax.tree.map(np.asarray, (total, logit_BK, grads))


def own_modules(tree, name, names):
    """The parameters of a channel's modules under the names of a model without channels; shared ones as they are."""
    others = tuple(f"_{other}" for other in names if other != name)
    return {key.removesuffix(f"_{name}"): value for key, value in tree.items() if not key.endswith(others)}


def interest_rows(model, params, number):
    """Which rows of the tower's kernel belong to the interest of a channel, and which to no interest."""
    C, height = len(model.schema.channels), params["tower"]["out"]["kernel"].shape[0]
    width = getattr(model, "state", 0) or sum(PLAIN.width(f) for f in PLAIN.event_fields)
    return np.arange(number * width, (number + 1) * width), np.arange(C * width, height)


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_each_channel_is_a_model_of_its_own_history(kind):
    """With a linear tower the logit is the sum over channels, and so is every gradient."""
    of_class, options = KINDS[kind]
    model, plain = of_class(SCHEMA, **options), of_class(PLAIN, **options)
    variables = builders.random_variables(model, BATCH)
    params, stats = variables["params"], variables["batch_stats"]
    total, logit_BK, grads = differentiated(model, params, stats, BATCH)
    names = [channel.name for channel in SCHEMA.channels]
    kernel, bias = params["tower"]["out"]["kernel"], params["tower"]["out"]["bias"]
    sums = [0.0, 0.0, jax.tree.map(np.zeros_like, grads["embedder"])]
    for number, name in enumerate(names):
        interest, rest = interest_rows(model, params, number)
        own = own_modules(params, name, names)
        own["tower"] = {"out": {"kernel": np.concatenate([kernel[interest], kernel[rest] / 3]), "bias": bias / 3}}
        own_stats = own_modules(stats, name, names)
        own_total, own_BK, own_grads = differentiated(plain, own, own_stats, of_channel(BATCH, number))
        sums = [sums[0] + own_total, sums[1] + own_BK, jax.tree.map(np.add, sums[2], own_grads.pop("embedder"))]
        expected = own_modules(grads, name, names)
        del expected["embedder"]
        own_grads["tower"]["out"]["kernel"] = own_grads["tower"]["out"]["kernel"][: len(interest)]
        expected["tower"] = {"out": {"kernel": expected["tower"]["out"]["kernel"][interest],
                                     "bias": expected["tower"]["out"]["bias"]}}  # fmt: skip
        assert expected.keys() == own_grads.keys()
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), expected, own_grads)
    np.testing.assert_allclose(total, sums[0], rtol=1e-5)
    np.testing.assert_allclose(logit_BK, sums[1], atol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), grads["embedder"], sums[2])


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_one_channel_of_every_event_is_none(kind):
    of_class, options = KINDS[kind]
    batch = BATCH.replace(channel_BT=np.where(BATCH.mask_BT, 0, -1).astype(np.int8))
    model, plain = of_class(ONE, **options), of_class(PLAIN, **options)
    variables = builders.random_variables(model, batch)
    params, stats = variables["params"], variables["batch_stats"]
    got = differentiated(model, params, stats, batch)
    own = [own_modules(tree, "all", ["all"]) for tree in (params, stats)]
    expected = differentiated(plain, *own, BATCH.replace(channel_BT=None))
    got = (*got[:2], own_modules(got[2], "all", ["all"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), got, expected)


@pytest.mark.parametrize("kind", QUICK_FIRST)
def test_an_encoded_history_gives_the_same_logits(kind):
    """Encoder and scorer keep the slots of the whole history, where the net moves events to the front."""
    of_class, options = KINDS[kind]
    model = of_class(SCHEMA, **options)
    variables = builders.random_variables(model, BATCH)

    @jax.jit
    def halves(variables, batch):
        e = model.apply(variables, batch, method="embed")
        state_BTH = model.apply(variables, e, method="encode")
        without = e.replace(history_BTE=jnp.full_like(e.history_BTE, jnp.nan))
        return model.apply(variables, state_BTH, without, method="score")

    expected = builders.apply(model, variables, BATCH).logit_BK
    np.testing.assert_allclose(halves(variables, BATCH), expected, atol=2e-6)


def test_how_channels_are_merged_changes_nothing():
    """Only the order within a channel counts: here all clicks first, then all buys, then all carts."""
    model = DIEN(SCHEMA, **DIEN_SIZES)
    variables = builders.random_variables(model, BATCH)
    key_BT = np.where(BATCH.mask_BT, BATCH.channel_BT, 9)
    order_BT = np.argsort(key_BT, axis=1, kind="stable")
    assert (order_BT != np.arange(8)).any()
    merged = jax.tree.map(
        lambda x: np.take_along_axis(x, order_BT, axis=1),
        {name: getattr(BATCH, name) for name in ("history", "negative", "hist_label_BT", "channel_BT")},
    )
    got, expected = (differentiated(model, *variables.values(), b) for b in (BATCH.replace(**merged), BATCH))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


@pytest.mark.parametrize("kind", ["DIN", "AUGRU", "AUGRU author"])
def test_a_channel_without_events_has_interest_0(kind):
    """Its part of the tower's kernel then changes no logit, and its modules get no gradient."""
    of_class, options = KINDS[kind]
    model = of_class(SCHEMA, **options)
    without = BATCH.replace(channel_BT=np.where(BATCH.channel_BT == 2, 0, BATCH.channel_BT))
    variables = builders.random_variables(model, BATCH)
    params, stats = variables["params"], variables["batch_stats"]
    interest, _ = interest_rows(model, params, 2)
    changed = jax.tree.map(np.copy, params)
    changed["tower"]["out"]["kernel"][interest] += 1
    _, expected, grads = differentiated(model, params, stats, without)
    np.testing.assert_array_equal(differentiated(model, changed, stats, without)[1], expected)
    own = [leaf for name, module in grads.items() if name.endswith("_cart") for leaf in jax.tree.leaves(module)]
    assert own and not any(leaf.any() for leaf in own)


def test_the_auxiliary_loss_of_some_channels():
    every, clicks = (DIEN(SCHEMA, auxiliary_channels=names, **DIEN_SIZES) for names in ((), ("click",)))
    variables = builders.random_variables(every, BATCH)
    params = {name: module for name, module in variables["params"].items() if name not in ("scorer_buy", "scorer_cart")}
    shapes = jax.eval_shape(clicks.init, jax.random.key(0), BATCH)["params"]
    assert shapes.keys() == params.keys()
    output = builders.apply(clicks, variables | {"params": params}, BATCH)
    whole = builders.apply(every, variables, BATCH)
    pairs = np.maximum((BATCH.mask_BT & (BATCH.channel_BT == 0)).sum(axis=1) - 1, 0)
    np.testing.assert_array_equal(output.auxiliary.mask_BS.sum(axis=1), pairs)
    assert whole.auxiliary.mask_BS.sum() > pairs.sum() > 0
    np.testing.assert_allclose(
        output.auxiliary.positive_logit_BS,
        whole.auxiliary.positive_logit_BS[:, : SCHEMA.channels[0].most - 1],
        atol=1e-6,
    )


def test_slots():
    mask_BT = np.array([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]], bool)
    np.testing.assert_array_equal(slots(mask_BT, 3), [[1, 3, 4], [0, 0, 0], [0, 1, 2]])


def test_what_channels_cannot_be_with():
    for of_class, options in ((DIEN, {"auxiliary": "inner"}), (DIN, {})):
        with pytest.raises(ValueError, match='fields="separate" with the channels click, buy, cart'):
            of_class(SCHEMA, fields="separate", **options)
    with pytest.raises(ValueError, match='padding="torch_rechub" with channels'):
        DIN(SCHEMA, padding="torch_rechub")
    with pytest.raises(ValueError, match="auxiliary_channels has 'clck'; did you mean 'click'"):
        DIEN(SCHEMA, auxiliary_channels=("clck",))
    with pytest.raises(ValueError, match="auxiliary_channels has 'click'; known names: none"):
        DIEN(PLAIN, auxiliary_channels=("click",))
