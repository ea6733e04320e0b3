"""Amazon reviews, from raw files to a trained model: made-up files, broken ones and, where it is, the real table."""

import gzip
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.amazon import Args, main, read_raw
from data_prep.recipe import command
from dienjax import Loader, StoreSplit, evaluate, fit_store
from dienjax.data.store import Store

ROOT = Path(__file__).parents[2]
SPORTS = ROOT.parent / "shared" / "data" / "amazon_sports" / "interactions.tsv.gz"


def made_up(seed=0):
    """Reviews as JSON lines and items as Python dicts, 60 users and 30 items, in the order of the item numbers."""
    rng = np.random.default_rng(seed)
    reviews = [
        {
            "reviewerID": f"A{user:03d}",
            "asin": f"{item:010d}",
            "reviewText": 'it\'s "good"\\\n',
            "overall": float(rng.integers(1, 6)),
            "unixReviewTime": 86400 * int(rng.integers(1, 30)),
        }
        for item in range(30)
        for user in np.flatnonzero(rng.random(60) < 0.2)
    ]
    items = [
        {
            "asin": f"{item:010d}",
            "related": {"also_bought": ["0000000007"]},
            "title": f'It\'s "{item}"',
            "categories": [["Sports", f"leaf {item % 4}"], ["Other", "way"]],
            "price": 1.5 if item % 3 else None,
            "brand": ["", "Acme"][item % 2],
        }
        for item in range(40)
    ]
    return reviews, items


def write(folder, reviews, items):
    files = folder / "reviews_X_5.json.gz", folder / "meta_X.json.gz"
    files[0].write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in reviews).encode()))
    files[1].write_bytes(gzip.compress("".join(repr(i) + "\n" for i in items).encode()))
    return files


def run(monkeypatch, *args):
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["amazon", *map(str, args)])
    try:
        command("amazon", Args, main)
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.mark.slow
def test_raw_files_are_prepared_and_trained_on(tmp_path, config, capsys, monkeypatch):
    reviews, items = made_up()
    write(tmp_path, reviews, items)
    assert run(monkeypatch, "--folder", tmp_path, "--name", "X", "--out", tmp_path / "s", "--test-fraction", 0.3) == 0
    shown = capsys.readouterr().out
    assert f"{len(reviews)} reviews of 30 items; 0 items have no category in meta_X.json.gz, 0 have several" in shown
    assert re.search(rf"dienjax train dien --store \S*{tmp_path.name}/s ", shown)
    store = Store.open(tmp_path / "s")
    assert set(store.vocabulary("category")["value"]) == {f"leaf {n}" for n in range(4)}
    assert "0000000007" in set(store.vocabulary("item")["value"])
    quick = replace(config, data=replace(config.data, lengths=1), fit=replace(config.fit, epochs=1))
    trained = fit_store(quick, store, tmp_path / "run", progress=False)
    assert 0 <= evaluate(trained, store, "test")["auc"] <= 1


def test_events_have_the_values_and_the_order_of_the_file(tmp_path):
    reviews, items = made_up()
    log = read_raw(*write(tmp_path, reviews, items)).to_pylist()
    assert log == [
        {
            "user": r["reviewerID"],
            "item": r["asin"],
            "timestamp": r["unixReviewTime"],
            "rating": r["overall"],
            "category": f"leaf {int(r['asin']) % 4}",
            "categories": ["Sports", f"leaf {int(r['asin']) % 4}", "Other", "way"],
            "brand": [None, "Acme"][int(r["asin"]) % 2],
            "price": 1.5 if int(r["asin"]) % 3 else None,
        }
        for r in reviews
    ]


def test_brand_categories_and_price_become_fields_of_events(tmp_path):
    files = write(tmp_path, *made_up())
    args = Args(reviews=files[0], meta=files[1], out=tmp_path / "store", test_fraction=0.3)
    store = main(replace(args, attributes=("brand", "categories"), numbers=("price:log",), time_fields=("gap",)))
    assert [(b.name, b.most) for b in store.schema.event_fields if b.name != "price"] == [
        ("item", 0), ("brand", 0), ("categories", 4), ("gap", 0),
    ]  # fmt: skip
    assert set(store.vocabulary("categories")["value"]) == {"Sports", "Other", "way", *(f"leaf {n}" for n in range(4))}
    assert set(store.vocabulary("brand")["value"]) == {"Acme"}
    assert set(np.unique(store.events["price"][~np.isnan(store.events["price"])])) == {np.float32(1.5)}


def table(file, header, rows):
    file.write_text("".join("\t".join(map(str, row)) + "\n" for row in [header, *rows]))
    return file


def test_a_table_of_items_gives_events_their_columns(tmp_path):
    events = [(user, item, item % 3, day) for user in range(12) for day, item in enumerate(range(user % 4, 6))]
    log = table(tmp_path / "log.tsv", ("user", "item", "category", "timestamp"), events)
    items = table(tmp_path / "items.tsv", ("item", "tags", "category"), [(i, f"a t{i}", 9) for i in range(5)])
    args = Args(interactions=log, items=items, attributes=("category", "tags "), out=tmp_path / "s", test_fraction=0.3)
    store = main(args)
    assert store.schema.behaviours[2].most == 2
    assert set(store.vocabulary("category")["value"]) == {0, 1, 2}, "the log's own column counts"
    value = dict(zip(store.vocabulary("tags")["id"], store.vocabulary("tags")["value"], strict=True))
    item = dict(zip(store.vocabulary("item")["id"], store.vocabulary("item")["value"], strict=True))
    for i, id_M in zip(store.events["item"].tolist(), store.events["tags"].tolist(), strict=True):
        if i in item:
            assert [value[tag] for tag in id_M if tag] == ([] if item[i] == 5 else ["a", f"t{item[i]}"])
    table(items, ("item", "tags"), [(1, "a"), (1, "b")])
    with pytest.raises(ValueError, match="an item stands twice"):
        main(replace(args, force=True))
    table(items, ("asin", "tags"), [(1, "a")])
    with pytest.raises(ValueError, match="has the columns asin, tags; expected one named item"):
        main(replace(args, force=True))
    with pytest.raises(ValueError, match="which files"):
        main(replace(args, interactions=None, folder=tmp_path, name="X", force=True))


def test_reviews_of_one_day_keep_the_order_of_the_file(tmp_path):
    reviews, items = made_up()
    for review in reviews:
        review["unixReviewTime"] = 86400
    files = write(tmp_path, reviews, items)
    args = Args(reviews=files[0], meta=files[1], out=tmp_path / "store", hist_label="rating >= 4", protocol="all")
    store = main(args)
    value = dict(zip(store.vocabulary("item")["id"], store.vocabulary("item")["value"], strict=True))
    for start, end in zip(store.offsets, store.offsets[1:], strict=False):
        seen = [value[i] for i in store.events["item"][start:end].tolist() if i in value]
        assert seen == sorted(seen)
    assert sorted(store.hist_label_E) == sorted(r["overall"] >= 4 for r in reviews)


def test_items_without_category_and_items_that_stand_twice_are_counted(tmp_path, capsys):
    reviews, items = made_up()
    items[1]["categories"] = [[]]
    del items[2]["categories"], items[3]
    # The first statement counts, whatever another line says about the item in passing.
    twice = {"asin": "0000000005", "categories": [["Sports", "another"]]}
    passing = {"description": "'asin': '0000000006'", "asin": "0000000099", "categories": [["Sports", "another"]]}
    log = read_raw(*write(tmp_path, reviews, [items[0], passing, *items[1:], twice, items[7]])).to_pandas()
    assert "3 items have no category in meta_X.json.gz, 1 have several" in capsys.readouterr().out
    leaf = log.drop_duplicates("item").set_index("item")["category"]
    assert leaf[[f"{i:010d}" for i in (1, 2, 3)]].isna().all()
    assert leaf["0000000005"] == "leaf 1"
    assert leaf["0000000006"] == "leaf 2"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('{"reviewerID": "A1", "asin": ', 'line 3: neither a JSON object nor a Python dict: \'{"reviewerID": "A1"'),
        ("__import__('os').abort()", "2 lines before it were read"),
        ("[1, 2]", "neither a JSON object"),
        ("{'asin': 'B1', 'categories': [['x']]}", "is this a file of reviews?"),
        ('{"reviewerID": "A1", "asin": "B1", "unixReviewTime": "2014"}', "'2014'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, broken, message):
    reviews, items = made_up()
    file, meta = write(tmp_path, reviews, items)
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    file.write_text("\n".join([*lines[:2], broken, *lines[2:]]))
    with pytest.raises(ValueError, match=r"reviews_X_5\.json\.gz, line 3") as raised:
        read_raw(file, meta)
    assert message in str(raised.value)


@pytest.mark.parametrize("broken", ["{'asin': '0000000099', 'title': 'x", "{'asin': '0000000001', 'categories': [3]}"])
def test_a_broken_line_of_the_meta_file_is_named(tmp_path, broken):
    reviews, items = made_up()
    file, meta = write(tmp_path, reviews, items)
    meta.write_text("\n".join([*map(repr, items[:4]), broken]))
    with pytest.raises(ValueError, match=r"meta_X\.json\.gz, line 5: "):
        read_raw(file, meta)


def test_a_gzip_file_that_breaks_off_says_after_which_line(tmp_path):
    file, meta = write(tmp_path, *made_up())
    whole = file.read_bytes()
    for part in (whole[:-6], whole[: len(whole) // 2], whole[:-8] + b"\0" * 8):
        file.write_bytes(part)
        with pytest.raises(ValueError, match=r"breaks off or is damaged after line \d+"):
            read_raw(file, meta)


def test_which_files_is_said_in_one_way(tmp_path, monkeypatch, capsys):
    file, meta = write(tmp_path, *made_up())
    for args, message in (
        ((), "which files?"),
        (("--folder", tmp_path), "which files?"),
        (("--reviews", file), "which files?"),
        (("--interactions", file, "--reviews", file, "--meta", meta), "which files?"),
        (("--folder", tmp_path, "--name", "Y"), "fetch them by --fetch, or download http://snap.stanford.edu"),
        (("--reviews", file, "--meta", meta, "--sha256", "0" * 64, "0" * 64), "expected 0000"),
    ):
        assert run(monkeypatch, *args, "--out", tmp_path / "store") == 2
        assert message in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_table_with_numbers_that_start_with_zero(tmp_path):
    lines = ["user\titem\tcategory\ttimestamp"]
    lines += [f"u{u}\t{i:03d}\t{'NA' if i % 2 else 'b'}\t{i}" for u in range(20) for i in range(u % 5, u % 5 + 4)]
    (tmp_path / "log.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    store = main(Args(interactions=tmp_path / "log.tsv.gz", out=tmp_path / "store", protocol="all"))
    assert "000" in set(store.vocabulary("item")["value"])
    assert set(store.vocabulary("category")["value"]) == {"NA", "b"}


def test_errors_are_one_line_and_exit_with_2(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.tsv").write_text("user\titem\tkind\ttimestamp\n1\t2\t3\t4\n")
    for file, message in ((tmp_path / "none.tsv", "no file"), (tmp_path / "bad.tsv", "column 'category' is missing")):
        assert run(monkeypatch, "--interactions", file, "--out", tmp_path / "store") == 2
        assert message in (error := capsys.readouterr().err)
        assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_help_says_where_the_terms_are():
    done = subprocess.run(
        [sys.executable, "-m", "data_prep.amazon", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "terms of their own" in done.stdout
    assert "publisher" in done.stdout and "no checksums" in " ".join(done.stdout.split())


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
    store = main(Args(interactions=SPORTS, out=tmp_path / "store", protocol=protocol))
    assert time.perf_counter() - start < 20
    assert store.info["samples"] | expected == store.info["samples"]
    assert store.info["counts"]["users"] == 35_598
    loader = Loader(StoreSplit(store, "test"), 1024, shuffle=False)
    for planned, batch in loader.epoch(0):
        batch.check(store.schema)
        assert planned.T <= 50
