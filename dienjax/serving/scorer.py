"""The candidate scorer, whose candidates are divided among threads: its operators are too small to be divided."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dienjax.serving.session import open_session

Arrays = Mapping[str, np.ndarray]

LEAST = 50
"""The fewest candidates of a part: with fewer, handing a part over costs more than it saves."""


class Scorer:
    """The candidate scorer of an export, called as `scorer(states, candidates)`; several threads may share one.

    Args:
      file: the graph.
      threads: how many threads share the candidates of one call.
    """

    def __init__(self, file: Path, threads: int) -> None:
        self._session, self._threads = open_session(file), threads
        self._helpers = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __call__(self, states: Arrays, candidates: Arrays) -> np.ndarray:
        """The scores [B, K], from the encoder's output for B users and the candidates' arrays [B, K] by name."""
        K = next(iter(candidates.values())).shape[1]
        count = min(self._threads, K // LEAST)
        if self._helpers is None or count < 2:
            return self._score(states, candidates)
        pieces = {name: np.array_split(array_BK, count, axis=1) for name, array_BK in candidates.items()}
        mine, *others = ({name: parts[i] for name, parts in pieces.items()} for i in range(count))
        given = [(part, self._helpers.submit(self._score, states, part)) for part in others]
        scores = [self._score(states, mine)]
        for part, helped in given:  # with the helpers busy for other callers, their part is done here
            scores.append(self._score(states, part) if helped.cancel() else helped.result())
        return np.concatenate(scores, axis=1)

    def _score(self, states: Arrays, candidates: Arrays) -> np.ndarray:
        score_BK: np.ndarray = self._session.run(None, {**states, **candidates})[0]
        return score_BK
