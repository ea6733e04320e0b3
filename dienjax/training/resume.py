"""What a resumed run must agree with: its config, and the data that it was trained on.

Epochs and patience may grow, and the devices may be others: the numbers are the same up to rounding.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optax

from dienjax.data.loader import Loader
from dienjax.data.store import Store
from dienjax.schema import Schema
from dienjax.training import checkpoint
from dienjax.training.config import Config
from dienjax.training.layout import Layout
from dienjax.training.run import Run
from dienjax.training.step import TrainState
from dienjax.training.warm_start import check_origin

FILE = "data.json"
"""In the run folder: what `data_identity` found when the run began."""

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Position:
    """Where the loop stands: the next batch is number `step` of `epoch`. Saved beside the state.

    Attributes:
      best: the value of the chosen checkpoint, higher is better.
      worse: number of validations since then.
      due: whether a signal stopped the validation of this state, which then comes first.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    worse: int = 0
    due: bool = False


def data_identity(train: Loader, valid: Loader | None, store: Store | None) -> Sections:
    """What identifies the data of a run: counts, history lengths, and the fingerprint of the store."""
    found: Sections = {} if store is None else {"store": {"digest": store.digest, **_samples(store.info)}}
    found["train"] = {**_rows(train), "steps": train.steps()}
    found["valid"] = {"rows": 0} if valid is None else _rows(valid)
    return found


def reopen(path: Path, config: Config, schema: Schema, data: Sections, init_from: Run | str | Path | None) -> Run:
    """The run at `path`, if everything agrees with it; what may change and did is written to its config.toml.

    Raises:
      ValueError: another schema, config, origin or data than the run's; the message lists every difference.
    """
    run = Run.open(path)
    run.check_schema(schema, "the training data")
    changed = _changes(run.config.to_dict(), config.to_dict())
    others = [line for key, (was, now, line) in changed.items() if not _may_change(key, was, now)]
    if others:
        raise ValueError(
            f"cannot resume {path}: the config has changed:\n" + "\n".join(others) + "\n"
            "Only fit.epochs and fit.patience may grow (patience 0 is the largest: it never stops), and [devices] may "
            "differ. Resume with the config of the run, or train in another folder"
        )
    if "fit.epochs" in changed and config.optimizer.schedule == "cosine":
        raise ValueError(
            f"cannot resume {path} with more epochs: the cosine schedule reaches 0 at the last one, so with "
            f"{config.fit.epochs} epochs the earlier steps would have been different. Train in another folder"
        )
    check_origin(run, init_from)
    _check_data(run, data)
    if changed:
        config.save(run.path / "config.toml")
    return replace(run, config=config)


def start(
    run: Run, tx: optax.GradientTransformation, steps: int, layout: Layout | None = None
) -> tuple[TrainState, Position]:
    """The newest state of a run and its position, or those before the first step; `steps` is the length of an epoch.

    Raises:
      ValueError: the position cannot occur with this data.
    """
    if not checkpoint.steps(run.path, "last"):
        return run.initial_state(tx, layout), Position()
    state, saved = run.restore("last", tx, layout)
    position = Position(**saved)
    if position.step >= steps or position.epoch * steps + position.step != state.step:
        raise ValueError(
            f"cannot resume {run.path}: it stands at step {int(state.step)}, batch {position.step} of epoch "
            f"{position.epoch}, but an epoch of this data has {steps} batches: it was trained on other data. Give the "
            "data of the run, or train in another folder"
        )
    return state, position


def _check_data(run: Run, data: Sections) -> None:
    recorded, given = _recorded(run)
    both = recorded.keys() & data.keys()
    changed = _changes({s: recorded[s] for s in both}, {s: {k: data[s].get(k) for k in recorded[s]} for s in both})
    if changed:
        raise ValueError(
            f"cannot resume {run.path}: the data is not what it was trained on (then -> now):\n"
            + "\n".join(line for *_, line in changed.values())
            + f"\nGive {given}, or train in another folder"
        )


def _recorded(run: Run) -> tuple[Sections, str]:
    """What a run recorded of its data, and a name for it; without data.json (an older run) only the samples."""
    found: Sections = {}
    given = "the data of the run"
    try:
        if (file := run.path / "store.json").is_file():
            store = json.loads(file.read_text(encoding="utf-8"))
            found, given = {"store": _samples(store)}, f"the store that it was trained on, then at {store['path']}"
        if (file := run.path / FILE).is_file():
            found = {section: dict(part) for section, part in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(
            f"cannot resume {run.path}: {file.name} is damaged ({error!r}); put back a copy, or train in another folder"
        ) from error
    return found, given


def _changes(was: Sections, now: Sections) -> dict[str, tuple[Any, Any, str]]:
    """The old value, the new value and a line for the reader, for each key that differs."""
    old, new = ({f"{s}.{k}": v for s, part in c.items() for k, v in part.items()} for c in (was, now))
    pairs = {key: (_listed(old.get(key)), _listed(new.get(key))) for key in sorted(old | new)}
    return {key: (a, b, f"  {key}: {a!r} -> {b!r}") for key, (a, b) in pairs.items() if a != b}


def _listed(value: Any) -> Any:
    """The value, with a list for a tuple, as TOML has it."""
    return list(value) if isinstance(value, tuple) else value


def _may_change(key: str, was: Any, now: Any) -> bool:
    if key.startswith("devices."):
        return True
    if key == "fit.patience":
        return was > 0 and (now == 0 or now > was)
    return key == "fit.epochs" and now > was


def _samples(info: dict[str, Any]) -> dict[str, int]:
    return {f"samples of {split}": n for split, n in info["samples"].items()}


def _rows(loader: Loader) -> dict[str, Any]:
    length_N = np.asarray(loader.dataset.length_N, np.int64)
    return {"rows": len(length_N), "history lengths": hashlib.sha256(length_N.tobytes()).hexdigest()}
