"""What a run's model makes of histories event by event: attention, gates, surprise, and probabilities as they grow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dienjax.data.arrays import PaddedArrays
from dienjax.data.histories import gather
from dienjax.data.mapped import in_blocks
from dienjax.data.store import Store
from dienjax.report.baselines import popularity
from dienjax.report.cases import Cases
from dienjax.report.scored import Scored
from dienjax.schema import UNKNOWN
from dienjax.training.evaluation import eval_loader, score
from dienjax.training.explanation import Explanation, explain, next_logits
from dienjax.training.metrics import sigmoid
from dienjax.training.placed import eval_step
from dienjax.training.run import Run

BATCH_SIZE = 256
FREQUENT = 2000
"""How many of the items are ranked by how expected they are."""
NEAREST = 5


@dataclass(frozen=True)
class Evolution:
    """A run's view of the explorer's cases; NaN where there is no event or candidate, None what the model has not.

    P = T + 1: before the first of the events shown, and after each of them.

    Attributes:
      probability_UKP: what is predicted for each candidate from the history up to there (regression: the prediction).
      weight_UKT: attention to each event; the mean, where each field has its own; its channel's.
      gate_UKT: what the interest evolution's gate lets in of an event, the mean over its units.
      left_UKT: how much of each event is left in the final state, likewise.
      surprise_UT: −log σ of the auxiliary logit that the event comes next, in nats, in the history that the model sees
        in the end; NaN for the first event there.
      nearest: the most expected next events, ids and numbers [U, 5], of sets [U, 5, M], by name; `logit_U5` says how
        expected.
    """

    probability_UKP: np.ndarray
    weight_UKT: np.ndarray | None
    gate_UKT: np.ndarray | None
    left_UKT: np.ndarray | None
    surprise_UT: np.ndarray | None
    nearest: dict[str, np.ndarray] | None
    logit_U5: np.ndarray | None


def evolve(scored: Scored, cases: Cases, frequent: Mapping[str, np.ndarray]) -> Evolution:
    """What the model of a scored run sees in the cases.

    Args:
      frequent: the events among which the most expected are found, [V, ...] by name.
    """
    run, dataset, variables = scored.run, scored.dataset, scored.run.variables()
    length_U = dataset.length_N[cases.row_U]
    batch = dataset.rows(cases.row_U, max(1, length_U.max()), 0)
    batch = replace(batch, candidate=cases.candidate, mask_BK=cases.mask_UK, label_BK=cases.label_UK)
    seen = explain(run, batch, variables)
    K, arrays = cases.mask_UK.shape[1], seen.arrays
    evolutions = [name for name in arrays.gate_BKTH if name.startswith("evolution")]
    # The second GRU of the kind "GRU" runs without a candidate; its last state is one of those that attention weighs.
    ends_in_interest = getattr(run.model, "kind", None) != "GRU"

    def shown(array_NKT: np.ndarray | None) -> np.ndarray | None:
        if array_NKT is None:
            return None
        shape = (len(array_NKT), K, array_NKT.shape[2])
        aligned_UKT = _aligned(np.broadcast_to(array_NKT, shape), length_U, cases)
        return np.where(cases.mask_UK[:, :, None], aligned_UKT, np.nan)

    surprise_NT = _surprise(seen)
    nearest, logit_U5 = _nearest(run, variables, seen, frequent)
    return Evolution(
        probability_UKP=_growth(scored, variables, cases),
        weight_UKT=shown(_joined(run, [*arrays.weight_BKT.values()])),
        gate_UKT=shown(_joined(run, [arrays.gate_BKTH[name].mean(axis=-1) for name in evolutions])),
        left_UKT=shown(_joined(run, [seen.left_NKT(name) for name in evolutions]) if ends_in_interest else None),
        surprise_UT=None if surprise_NT is None else _aligned(surprise_NT[:, None], length_U, cases)[:, 0],
        nearest=nearest,
        logit_U5=logit_U5,
    )


def _joined(run: Run, arrays: list[np.ndarray]) -> np.ndarray | None:
    """The mean over fields; of channels the sum, for each has 0 at the events of others."""
    join = np.sum if run.schema.channels else np.mean
    return join(arrays, axis=0) if arrays else None


def _aligned(array_UKS: np.ndarray, length_U: np.ndarray, cases: Cases) -> np.ndarray:
    """[U, K, T]: what stands at a run's own slots, brought to those of the events shown; NaN where it sees none."""
    T = cases.mask_UT.shape[1]
    slot_UT = np.arange(T) + (length_U - cases.length_U)[:, None]
    value_UKT = np.take_along_axis(array_UKS, np.clip(slot_UT, 0, array_UKS.shape[2] - 1)[:, None], axis=2)
    return np.where((cases.mask_UT & (slot_UT >= 0))[:, None], value_UKT, np.nan)


def _surprise(seen: Explanation) -> np.ndarray | None:
    """[N, T]; the mean over fields that have states of their own."""
    logit_NS = seen.arrays.next_logit_BS
    if logit_NS is None:
        return None
    N, T = seen.mask_NT.shape
    surprise_NT = np.full((N, T), np.nan)
    with np.errstate(invalid="ignore"):  # NaN, where a channel expects nothing
        surprise_NT[:, 1:] = np.logaddexp(0, -logit_NS.reshape(N, -1, T - 1)).mean(axis=1) if T > 1 else np.nan
    return surprise_NT


def _growth(scored: Scored, variables: Any, cases: Cases) -> np.ndarray:
    """[U, K, P]: each history is cut after each of its events, and every one of these is scored."""
    run, store = scored.run, scored.store
    (U, K), P = cases.mask_UK.shape, cases.mask_UT.shape[1] + 1
    case_N, cut_N = np.nonzero(np.arange(P) <= cases.length_U[:, None])
    first_U = np.where(cases.length_U > 0, cases.event_UT[:, 0], cases.end_U)
    end_UP = np.concatenate([first_U[:, None], cases.event_UT + 1], axis=1)
    user_N, end_N = cases.user_U[case_N], end_UP[case_N, cut_N]
    event_NT, mask_NT = scored.dataset.event_rows(user_N, end_N, max(1, scored.dataset.length_N.max()))
    columns = {f"hist_{name}": gather(column, event_NT, mask_NT) for name, column in store.events.items()}
    now_N = scored.dataset.now(cases.row_U[case_N])
    times = scored.dataset.times(event_NT, mask_NT, now_N)
    columns |= {f"hist_{name}": id_NT for name, id_NT in times.items()}
    columns |= {name: value_UK[case_N] for name, value_UK in cases.candidate.items()}
    columns |= {name: column[user_N] for name, column in store.users.items()}
    histories = PaddedArrays(run.schema, columns | {"hist_length": mask_NT.sum(axis=1)})
    scores = score(eval_step(run.model), variables, eval_loader(histories, BATCH_SIZE, 2))
    predicted_NK = scores.logit_NK if scored.task == "regression" else sigmoid(scores.logit_NK)
    predicted_UKP = np.full((U, K, P), np.nan)
    predicted_UKP[case_N, :, cut_N] = np.where(scores.mask_NK, predicted_NK, np.nan)
    return predicted_UKP


def _nearest(
    run: Run, variables: Any, seen: Explanation, frequent: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray] | None, np.ndarray | None]:
    """The behaviours that the auxiliary scorer expects next after the extractor's last state; NaN without a history."""
    if seen.arrays.next_logit_BS is None or not hasattr(run.model, "next_logit"):
        return None, None
    length_N = seen.mask_NT.sum(axis=1)
    last_N = np.arange(len(length_N)), np.maximum(length_N - 1, 0)
    last_NH = {name: state_NKTH[:, 0][last_N] for name, state_NKTH in seen.arrays.state_BKTH.items()}
    logit_NV = next_logits(run, last_NH, dict(frequent), variables)
    top_N5 = np.argsort(-logit_NV, axis=1, kind="stable")[:, :NEAREST]
    logit_N5 = np.where(length_N[:, None] > 0, np.take_along_axis(logit_NV, top_N5, axis=1), np.nan)
    return {name: id_V[top_N5] for name, id_V in frequent.items()}, logit_N5


def frequent_behaviours(store: Store, count: int = FREQUENT) -> dict[str, np.ndarray]:
    """The items that training saw most often, each with the other fields of its latest event, [V, ...] by name.

    When they would come next is not known: fields of time are unknown.
    """
    table = store.schema.table(store.schema.behaviours[0].table)
    if table.has_vocabulary:
        most = store.vocabulary(table.name).nlargest(count, "count")["id"].to_numpy()
    else:
        count_V = popularity(store, np.arange(table.size))
        most = np.argsort(-count_V, kind="stable")[: min(count, np.count_nonzero(count_V))]
    wanted = np.zeros(table.size, bool)
    wanted[most] = True
    row_V = np.full(len(wanted), -1)
    for start, id_E in in_blocks(store.events[store.schema.item]):
        row_E = np.flatnonzero(wanted[id_E])
        row_V[id_E[row_E]] = start + row_E
    row_V = row_V[most]
    row_V = row_V[row_V >= 0]
    known = {name: column[row_V] for name, column in store.events.items()}
    return known | {f.name: np.full(len(row_V), UNKNOWN, np.int32) for f in store.schema.time_fields}
