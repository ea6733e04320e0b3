"""The progress bar tells the time left, and the metrics file is read whole or up to where a kill cut it."""

import json
import sys
from pathlib import Path

import pytest

from dienjax.training import progress as record
from dienjax.training.progress import Record, read_metrics

LINES = [{"kind": "train", "step": step, "epoch": 0, "loss": 1.3 - step / 100} for step in range(0, 50, 10)]


def test_the_bar_says_what_compiles_and_leaves_it_out_of_the_time_left(tmp_path, capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(record.time, "time", lambda: now[0])
    with Record(tmp_path, 1000, 0, True, False, "DIEN") as shown:
        shown.bar._time, shown.bar.start_t, shown.bar.last_print_t = record.time.time, now[0], now[0]
        for number in (1, 2):
            with shown.doing(f"compiling length {number} of 2"):
                now[0] += 500
            for _ in range(20):
                now[0] += 1
                shown.bar.update()
        assert 0.5 < shown.bar.format_dict["rate"] < 2  # not 20 steps in 520 s
    printed = capsys.readouterr().err.replace("\r", "\n").splitlines()
    for number in (1, 2):
        (line,) = [line for line in printed if f"compiling length {number} of 2" in line]
        assert "<" not in line


def test_a_bar_that_is_not_shown_says_nothing(tmp_path, capsys):
    with Record(tmp_path, 10, 0, False, False, "DIEN") as hidden, hidden.doing("compiling length 1 of 1"):
        pass
    assert capsys.readouterr().err == ""
    record.say("a line")
    assert capsys.readouterr().err == "a line\n"


def test_read_metrics(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + "\n")
    assert read_metrics(path) == LINES
    path.write_text("")
    assert read_metrics(path) == []


@pytest.mark.parametrize("tail", [b'{"kind": "tr', b'{"kind": "\xc3', b"12", b'{"b"', b"\0\0\0\n\n"])
def test_a_broken_last_line_is_left_out(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n' + tail)
    assert read_metrics(str(path)) == [{"a": 1}]


@pytest.mark.parametrize("broken", ["{", "[1]"])
def test_a_broken_line_before_the_last_is_an_error(tmp_path, broken):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n' + broken + '\n{"b": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: .*expected one JSON object per line"):
        read_metrics(path)


def test_lines_say_what_the_run_took_and_go_on_after_a_stop(tmp_path, monkeypatch):
    now, peak = [100.0], [3000]
    monkeypatch.setattr(record.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(record, "peak_memory", lambda: peak[0])
    with Record(tmp_path, 10, 0, False, False, "DIEN") as first:
        now[0] = 107.5
        first.write("train", 1, 0, {"loss": 1.0})
    now[0], peak[0] = 1000.0, 2000
    with Record(tmp_path, 10, 1, False, False, "DIEN") as resumed:
        now[0] = 1002.0
        resumed.write("train", 2, 0, {"loss": float("nan")})
    taken = [(line["seconds"], line["peak_memory_bytes"]) for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert taken == [(7.5, 3000), (9.5, 3000)]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says the same elsewhere")
def test_peak_memory_is_in_bytes():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert record.peak_memory() == pytest.approx(1024 * int(line.split()[1]), rel=0.02)
