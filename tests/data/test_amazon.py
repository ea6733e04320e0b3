"""The recipe end to end, on a made-up file and, where it is, on the real one."""

import gzip
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.amazon import Args, main
from dienjax.data.loader import Loader, StoreSplit

ROOT = Path(__file__).parents[2]
SPORTS = ROOT.parent / "shared" / "data" / "amazon_sports" / "interactions.tsv.gz"


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "data_prep.amazon", *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )


def test_a_gzip_file_with_numbers_that_start_with_zero(tmp_path):
    lines = ["user\titem\tcategory\ttimestamp"]
    lines += [f"u{u}\t{i:03d}\t{'NA' if i % 2 else 'b'}\t{i}" for u in range(20) for i in range(u % 5, u % 5 + 4)]
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    done = command("--interactions", tmp_path / "log.tsv.gz", "--out", tmp_path / "store", "--protocol", "all")
    assert done.returncode == 0, done.stderr
    assert "20 users, 80 events" in done.stdout
    assert "dienjax train" in done.stdout
    from dienjax.data.store import Store

    store = Store.open(tmp_path / "store")
    assert "000" in set(store.vocabulary("item")["value"])
    assert set(store.vocabulary("category")["value"]) == {"NA", "b"}


def test_errors_are_one_line_and_exit_with_2(tmp_path):
    (tmp_path / "bad.tsv").write_text("user\titem\tkind\ttimestamp\n1\t2\t3\t4\n")
    for file, message in ((tmp_path / "none.tsv", "no file"), (tmp_path / "bad.tsv", "column 'category' is missing")):
        done = command("--interactions", file, "--out", tmp_path / "store")
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.real_data
@pytest.mark.skipif(not SPORTS.exists(), reason=f"real data absent: {SPORTS}")
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("last", {"train": 30_436, "valid": 1_602, "test": 3_560}),
        ("all", {"train": 296_337 - 3 * 35_598, "valid": 35_598, "test": 35_598}),
    ],
)
def test_amazon_sports(tmp_path, protocol, expected):
    start = time.perf_counter()
    store = main(Args(SPORTS, tmp_path / "store", protocol))
    assert time.perf_counter() - start < 20
    assert store.info["samples"] | expected == store.info["samples"]
    assert store.info["counts"]["users"] == 35_598
    loader = Loader(StoreSplit(store, "test"), 1024, shuffle=False)
    for planned, batch in loader.epoch(0):
        batch.check(store.schema)
        assert planned.T <= 50
