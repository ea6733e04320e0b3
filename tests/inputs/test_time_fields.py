"""Fields that the time of an event gives: each against its definition, one event at a time."""

import datetime

import numpy as np
import pytest

from dienjax.inputs.time_fields import EDGES, candidate_ids, check_calendar, declared, history_ids, number
from dienjax.schema import FIRST_ID, UNKNOWN, Behaviour, Schema, Table

UTC = datetime.UTC


def schema_of(*times):
    tables, behaviours = declared(times)
    return Schema((Table("item", 5), *tables), (Behaviour("item"), *behaviours))


@pytest.mark.parametrize("time", [0, 3599, 3600, 86399, 86400, -1, -3601, -86401, 951_782_400, 1_700_000_000.75])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_hour_and_weekday_are_those_of_the_calendar(time, dtype):
    date = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=float(dtype(time)))
    at = np.array([time], dtype)
    assert number("hour", at, at, at, at)[0] == date.hour
    assert number("weekday", at, at, at, at)[0] == date.weekday()
    ids = candidate_ids(schema_of("hour", "weekday"), at)
    assert ids["hour"].tolist() == [FIRST_ID + date.hour]
    assert ids["weekday"].tolist() == [FIRST_ID + date.weekday()]


def test_the_ids_of_a_history():
    at = np.array([100, 108, 108, 1000])
    ids = history_ids(schema_of(*EDGES), at, np.array([108, 108, 1000, 1003]), np.array([4, 3, 2, 1]), np.full(4, 1003))
    assert {name: id_T.dtype for name, id_T in ids.items()} == dict.fromkeys(EDGES, np.int32)
    # 903, 895, 895 and 3 seconds lie in [512, 1024) and [2, 4), the 11th and the 3rd bucket.
    assert ids["gap"].tolist() == [FIRST_ID + n for n in (10, 10, 10, 2)]
    assert ids["next_gap"].tolist() == [FIRST_ID + n for n in (4, 0, 10, 2)]
    assert ids["position"].tolist() == [FIRST_ID + n for n in (3, 2, 2, 1)]


def test_a_candidate_has_the_first_bucket_and_no_event_of_a_second_ago_shares_it():
    schema = schema_of("gap", "next_gap", "position")
    ids = candidate_ids(schema, np.array([5.5, 1e9]))
    assert {name: id_X.tolist() for name, id_X in ids.items()} == {name: [FIRST_ID] * 2 for name in ids}
    past = history_ids(schema, np.array([4.5]), np.array([5.5]), np.array([1]), np.array([5.5]))
    assert all(id_X.tolist() == [FIRST_ID + 1] for id_X in past.values())


def test_edges_ascend_and_reach_from_a_second_to_years():
    for time, edges in EDGES.items():
        assert (np.diff(edges) > 0).all(), time
    assert EDGES["gap"][0] == 1
    assert 8 < EDGES["gap"][-1] / (365.25 * 86400) < 9
    oldest = history_ids(schema_of("gap"), np.array([-1e18]), np.array([0.0]), np.array([1]), np.array([0.0]))
    assert oldest["gap"][0] == schema_of("gap").sizes()["gap"] - 1


def test_edges_of_ones_own():
    table = Table("ago", FIRST_ID + 3, edges=(0.25, 0.5))
    schema = Schema((Table("item", 5), table), (Behaviour("item"), Behaviour("ago", time="gap")))
    at = np.array([0.0, 0.6, 0.9])
    assert history_ids(schema, at, at, at, np.ones(3))["ago"].tolist() == [4, 3, 2]
    assert UNKNOWN not in candidate_ids(schema, at)["ago"]


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"time field 'gaps' does not exist; did you mean 'gap'"):
        declared(["gaps"])


@pytest.mark.parametrize("latest", [-5.0, 1000.0, 1.7e12])
def test_plain_numbers_that_are_no_seconds_have_no_hour(latest):
    check_calendar(["gap", "next_gap", "position"], latest)
    check_calendar(["hour"], 893_286_638)
    with pytest.raises(ValueError, match=r"'weekday' of times up to .* expected dates, or seconds since 1970"):
        check_calendar(["gap", "weekday"], latest)
