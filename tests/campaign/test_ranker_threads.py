"""A Ranker that eight threads ask: the answers of one thread, whatever it remembers; and predict says the same."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from campaign import CLEAN, requests

from dienjax import predict


@pytest.mark.parametrize(("threads", "cached_users"), [(1, 1000), (1, 3), (2, 3), (2, 0)])
def test_eight_threads(threads, cached_users, with_export, counted, draw, many):
    from dienjax.serving import Ranker

    asked = [*requests(draw("asked"), 60)]
    with warnings.catch_warnings(), counted("Ranker under 8 threads") as tally:
        warnings.simplefilter("ignore")  # of long histories
        alone = Ranker(with_export.export)
        want = [alone.score(*request) for request in asked]
        shared = Ranker(with_export.export, threads=threads, cached_users=cached_users)

        def ask(thread):
            outcomes = []
            for i in draw(f"thread {thread}").integers(0, len(asked), many(250)):
                try:
                    got = shared.score(*asked[i])
                    same = np.allclose(got, want[i], rtol=0, atol=1e-6)
                    outcomes.append(("accepted rightly" if same else "wrong accepted", f"request {i}"))
                except Exception as error:
                    outcomes.append(("tracebacks", f"request {i}: {type(error).__name__}: {error}"))
            return outcomes

        with ThreadPoolExecutor(8) as pool:
            for outcomes in pool.map(ask, range(8)):
                for outcome in outcomes:
                    tally.add(*outcome)


ODD = [None, float("nan"), True, False, 0, 1, 2**53 + 1, 2**63, -1, 1.0, 1.5, "1", "c1", "", b"c1", np.int64(1),
       np.float32(1), np.bool_(True), np.str_("c1"), pd.NaT, pd.NA]  # fmt: skip


def test_predict_says_what_the_ranker_says(with_export, counted, draw, many):
    """Odd values in a history, a candidate or a user feature: both refuse them, or both give one answer."""
    from dienjax.serving import Ranker

    ranker = Ranker(with_export.export)
    cases = [(where, field, value) for where in ("hist_", "") for field in ("item", "category") for value in ODD]
    cases += [("user", "city", value) for value in ODD]
    picked = draw().permutation(len(cases))[: many(len(cases))]
    with counted("predict beside Ranker") as tally:
        for where, field, value in (cases[i] for i in picked):
            history = {"item": [1, 2], "category": ["c1", "c2"]}
            candidates = {"item": [3, 4], "category": ["c3", "c4"]}
            user = {"city": "Ulm"}
            if where == "user":
                user[field] = value
            else:
                (history if where else candidates)[field][1] = value
            row = {f"hist_{name}": [values] for name, values in history.items()}
            row |= {name: [values] for name, values in candidates.items()} | {"city": [user["city"]]}
            said = f"{where}{field} = {value!r} ({type(value).__name__})"
            if where == "user" and pd.isna(value):
                user[field] = None  # a column of pandas cannot say "missing" otherwise
            try:
                a = answer(ranker.score, history, candidates, user)
                b = answer(predicted, with_export.run, row)
            except Exception as error:
                tally.add("tracebacks", f"{said}: {type(error).__name__}: {error}")
                continue
            if a is None or b is None:
                tally.add("refused cleanly" if a is b else "wrong accepted", f"{said}: Ranker {a}, predict {b}")
            else:
                tally.add("accepted rightly" if np.allclose(a, b, atol=1e-5) else "wrong accepted", f"{said}: {a}, {b}")


def answer(ask, *args):
    """The scores, or None for a clean refusal."""
    try:
        return np.asarray(ask(*args))
    except CLEAN:
        return None


def predicted(run, row):
    return predict(run, pd.DataFrame(row))["probability"][0]
