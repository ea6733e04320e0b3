from dienjax import record
from dienjax.record import Record


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
