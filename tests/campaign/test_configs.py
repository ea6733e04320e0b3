"""Settings of every type and size: taken only inside the range that the documentation gives them, kept as written."""

import math
from typing import Any

import pytest
from campaign import CLEAN, command, left_behind, scratch, start

from dienjax import Config

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
tomli_w = pytest.importorskip("tomli_w")


def whole(least):
    return lambda v: type(v) is int and v >= least


def number(least=-math.inf, below=math.inf, above=-math.inf):
    return lambda v: type(v) in (int, float) and math.isfinite(v) and least <= v < below and v > above


def one_of(*names):
    return lambda v: v in names and type(v) in map(type, names)


def widths(v):
    return isinstance(v, list) and len(v) > 0 and all(map(whole(1), v))


ACTIVATIONS = one_of("dice", "prelu", "relu", "sigmoid", "tanh")
RANGES = {
    "model.name": one_of("DIN", "DIEN"),
    "model.dim": lambda v: whole(0)(v) or v is False or (isinstance(v, dict) and all(map(whole(1), v.values()))),
    "model.kind": one_of("GRU", "AIGRU", "AGRU", "AUGRU", "minAUGRU"),
    "model.extractor": one_of("GRU", "minGRU"),
    "model.gate": one_of("paper", "author"),
    "model.state": lambda v: whole(0)(v) or v is False,
    "model.softmax": one_of(True, False),
    "model.attention": one_of("mlp", "bilinear", "author"),
    "model.attention_hidden": widths,
    "model.tower": lambda v: v == [] or widths(v),
    "model.auxiliary_hidden": lambda v: v == [] or widths(v),
    "model.dropout": number(0, below=1),
    "model.batch_norm": one_of(True, False, "torch"),
    "data.train": lambda v: isinstance(v, str),
    "data.valid": lambda v: isinstance(v, str),
    "data.batch_size": whole(1),
    "data.max_len": whole(1),
    "data.lengths": lambda v: whole(1)(v) or widths(v),
    "data.negatives": one_of("popularity", "uniform"),
    "data.own": one_of("exclude", "allow"),
    "loss.task": one_of("binary", "regression"),
    "loss.alpha": number(0),
    "loss.l2_embedding": number(0),
    "loss.l2_tower": number(0),
    "optimizer.name": one_of("adam", "adamw", "sgd", "adagrad", "rowwise_adagrad"),
    "optimizer.learning_rate": number(0),
    "optimizer.schedule": one_of("constant", "cosine", "exponential", "staircase"),
    "optimizer.decay": number(0),
    "optimizer.warmup_steps": whole(0),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0),
    "optimizer.clip_norm": number(0),
    "optimizer.rows": one_of("lazy", "dense"),
    "fit.epochs": whole(1),
    "fit.evaluate_every": whole(0),
    "fit.patience": whole(0),
    "fit.save_every": whole(0),
    "fit.log_every": whole(1),
    "fit.tensorboard": one_of(True, False),
    "fit.seed": whole(0),
}
"""What a value must be, by its key: this table was written from the README and the docstrings, not from the code."""

EXTREME = [
    0, 1, -1, 0.0, -0.0, 0.5, 1.0, -0.5, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, 2**31, 2**63 - 1,
    -(2**63),
    True, False, "", "0", "1", "1e-3", "nan", "true", "DIN", "adam", "dice", "../../pwned", "x" * 5000, "\x00", "é",
    [], [0], [-1], [8], [8, 4], [1.5], ["8"], [[8]], [True], {}, {"item": 4}, {"item": 0}, {"item": -1}, {"../x": 1},
]  # fmt: skip


def values():
    scalars = st.integers() | st.floats() | st.booleans() | st.text(max_size=8)
    return st.sampled_from(EXTREME) | scalars | st.lists(st.integers(-2, 9), max_size=3)


def misspelt():
    return st.sampled_from(sorted(RANGES)).flatmap(
        lambda key: st.sampled_from(
            [key + "s", key[:-1], key.upper(), key.replace(".", "._"), "x." + key, "fit." + key]
        )
    )


def as_number(value: Any) -> Any:
    """The number that a text says, and a whole float as the whole number: what a person may have meant."""
    try:
        value = float(value) if isinstance(value, str) else value
        return int(value) if isinstance(value, float) and value == int(value) else value
    except (ValueError, OverflowError):
        return value


def wrong(key: str, value: Any, config: Config) -> str:
    """Why a config that was taken should not have been; "" where it was right to."""
    if key not in RANGES:
        return "no such key"
    inside = RANGES[key]
    if not (
        inside(value) or inside(as_number(value)) or (isinstance(value, list) and inside([*map(as_number, value)]))
    ):
        return "outside of its range"
    section, name = key.split(".")
    kept = config.to_dict()[section][name]
    kept = list(kept) if isinstance(kept, tuple) else kept
    same = kept == value or kept == as_number(value) or (isinstance(value, list) and kept == [*map(as_number, value)])
    return "" if same else f"kept as {kept!r}"


def trained(folder, whole, file, overrides=()):
    """What comes of a training, in 6 GB, with these settings beside those of a small model."""
    small = ["model.tower=[4]", "model.attention_hidden=[4]", "data.lengths=[4]", "fit.epochs=1"]
    given = file.read_text(errors="surrogatepass") + " ".join(overrides)
    settings = [o for o in small if o.partition("=")[0].rpartition(".")[2] not in given] + list(overrides)
    with scratch(folder, "trained") as place:
        argv = ["train", file, "--store", whole.store, "--run", place / "run", "--quiet"]
        flags = [part for setting in settings for part in ("--set", setting)]
        ended = start(place, command, *argv, *flags, memory=6 << 30).end()
        refused = ended.outcome() == "refused cleanly"
        return "half-written" if refused and left_behind(place) else ended.outcome()


@pytest.mark.parametrize("way", ["file", "--set"])
def test_any_value(way, with_store, counted, request, many, tmp_path):
    """What is taken although it is outside of its range may still be refused before training; then that is seen to."""
    with counted(f"mutated configs: {way}") as tally:

        @hypothesis.seed(request.config.getoption("campaign_seed"))
        @hypothesis.settings(max_examples=many(500), database=None, deadline=None, derandomize=False)
        @hypothesis.given(
            st.one_of(st.sampled_from(sorted(RANGES)), st.sampled_from(sorted(RANGES)), misspelt()), values()
        )
        def each(key, value):
            section, _, name = key.partition(".")
            file, said = tmp_path / "config.toml", f"{key} = {value!r}"[:120]
            other = {"name": "DIEN"} if section == "model" and name != "name" else {}
            if way == "file":
                file.write_bytes(tomli_w.dumps({section: {**other, name: value}}).encode("utf-8", "surrogatepass"))
                overrides = []
            else:
                file.write_text('[model]\nname = "DIEN"\n')
                overrides = [f"{key}={tomli_w.dumps({'v': value}).partition(' = ')[2].strip()}"]
                if isinstance(value, dict):
                    return  # TOML has two ways to write one; the file shows it
            try:
                config = Config.load(file, overrides)
                why = wrong(key, value, config)
                outcome = trained(tmp_path, with_store, file, overrides) if why else "accepted rightly"
                tally.add("wrong accepted" if why and outcome == "accepted rightly" else outcome, f"{said}: {why}")
            except CLEAN as error:
                tally.add("refused cleanly" if str(error) else "tracebacks", said)
            except Exception as error:
                tally.add("tracebacks", f"{said}: {type(error).__name__}: {error}")

        each()


SENSELESS = [
    "data.batch_size=100000000000", "data.batch_size=4611686018427387904", "data.max_len=100000000000",
    "data.lengths=[100000000000]", "data.lengths=[0]", "data.lengths=[]", "data.lengths=0", "data.lengths=-3",
    "model.attention_hidden=[]", "model.tower=[0]", "model.tower=[]", "model.tower=[-4]", "model.tower=[100000000000]",
    "model.dim=100000000000", "model.dim=-1", "model.state=-2", "fit.seed=100000000000000000000", "fit.seed=-1",
    "fit.seed=4294967296", "optimizer.learning_rate=-0.1", "optimizer.learning_rate=nan", "optimizer.clip_norm=-1",
    "optimizer.weight_decay=-1", "optimizer.decay=-1", "optimizer.warmup_steps=-5", "fit.save_every=-1",
    "fit.evaluate_every=-1", "fit.patience=-1", "loss.alpha=-1", "loss.l2_tower=-1", "loss.l2_embedding=nan",
    "model.dropout=1", "model.dropout=-0.1", "optimizer.momentum=-1", "data.train=../../test", "data.valid=",
    "model.name=../DIN",
]  # fmt: skip
HARMLESS = {
    "data.valid=",
    "fit.seed=4294967296",
    "model.tower=[]",
    "data.max_len=100000000000",
    "fit.seed=100000000000000000000",
}
"""These have a meaning, so training with them may also end well."""


def test_settings_without_meaning_and_of_any_size(with_store, counted, many, tmp_path):
    """Training with them in 6 GB ends in one line before there is a run folder, or right where they have a meaning."""
    with counted("settings without meaning") as tally:
        for setting in SENSELESS[: max(3, many(len(SENSELESS)))]:
            with scratch(tmp_path, "case") as folder:
                argv = ["train", with_store.config, "--store", with_store.store, "--run", folder / "run", "--quiet"]
                ended = start(folder, command, *argv, "--set", setting, "--set", "fit.epochs=1", memory=6 << 30).end()
                outcome, left = ended.outcome(), left_behind(folder)
                if outcome == "accepted rightly" and setting not in HARMLESS:
                    outcome = "wrong accepted"
                if outcome == "refused cleanly" and left:
                    outcome = "half-written"
                tally.add(outcome, f"{setting}: {ended}, left {left}")
