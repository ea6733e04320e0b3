"""MovieLens 100K and 1M in made-up files of their formats, movie_sample.txt, and, where they are, the real ones."""

import gzip
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.movielens import Args, find_files, main, read_1m, read_100k, which
from data_prep.recipe import command

DATA = Path(__file__).parents[2].parent / "shared" / "data"
GENRES = ["unknown", "Action", "Comedy", "Drama"]
FLAGS = {1: "0|1|1|0", 2: "1|0|0|1", 3: "1|0|0|0", 4: "0|0|0|0"}
AGES = {1: 7, 2: 17, 3: 18, 4: 24, 5: 25, 6: 44, 7: 49, 8: 50, 9: 55, 10: 73}


def ratings(seed=0):
    """Rows user, movie, rating, time, in no order: 10 users who rate all of 4 movies, two of them in one second."""
    rng = np.random.default_rng(seed)
    rows = [(u, m, int(rng.integers(1, 6)), 1000 + 10 * u + min(m, 3)) for u in AGES for m in FLAGS]
    return [rows[i] for i in rng.permutation(len(rows))]


@pytest.fixture
def ml_100k(tmp_path):
    """A folder in the format of MovieLens 100K, half of it .gz."""
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    items = [f'{m}|Amélie "{m}" (2001)|01-Jan-1995||http://x|{flags}' for m, flags in FLAGS.items()]
    text = {
        "u.data.gz": "".join("\t".join(map(str, row)) + "\n" for row in ratings()),
        "u.item.gz": "\n".join(items) + "\n",
        "u.user": "".join(f"{u}|{age}|{'MF'[u % 2]}|writer|0520{u}\n" for u, age in AGES.items()),
        "u.genre": "".join(f"{genre}|{i}\n" for i, genre in enumerate(GENRES)) + "\n",
    }
    for name, content in text.items():
        data = content.encode("latin-1")
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


@pytest.fixture
def ml_1m(tmp_path):
    """A zip archive in the format of MovieLens 1M."""
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "".join("::".join(map(str, row)) + "\n" for row in ratings()))
        archive.writestr("ml-1m/users.dat", "".join(f"{u}::F::25::{u}::4806{u}\n" for u in AGES))
        movies = "".join(f"{m}::Amélie: {m} (2001)::Comedy|Drama\n" for m in FLAGS)
        archive.writestr("ml-1m/movies.dat", movies.encode("latin-1"))
    return tmp_path / "ml-1m.zip"


def histories(store):
    """(user, histories, candidates, labels) of all samples, in the values of the log; an unknown item is None."""
    item = store.schema.item
    vocabulary = store.vocabulary(item)
    value = dict(zip(vocabulary["id"], vocabulary["value"], strict=True))
    user = store.user_values().tolist()
    for split in store.splits:
        samples = store.samples(split)
        shown = samples.candidates
        for n, (u, end) in enumerate(zip(samples.user_N.tolist(), samples.end_N.tolist(), strict=True)):
            history = [value.get(i) for i in store.events[item][store.offsets[u] : end].tolist()]
            part = slice(shown.first[n], shown.first[n + 1])
            yield (
                user[u],
                history,
                [value.get(i) for i in shown.field[item][part].tolist()],
                shown.label_C[part].tolist(),
            )


def test_100k_has_the_first_genre_and_the_age_bucket(ml_100k):
    log = read_100k(find_files(ml_100k))
    assert [tuple(row) for row in log[["user", "movie", "rating", "time"]].to_numpy()] == ratings()
    genre = log.drop_duplicates("movie").set_index("movie")["genre"]
    assert genre.sort_index().fillna("none").tolist() == ["Action", "Drama", "unknown", "none"]
    age = log.drop_duplicates("user").set_index("user")["age"].sort_index()
    assert age.tolist() == [1, 1, 18, 18, 25, 35, 45, 50, 50, 56]


def test_1m_is_read_from_its_archive(ml_1m):
    for place in (ml_1m, ml_1m.parent):
        log = read_1m(find_files(place))
        assert [tuple(row) for row in log[["user", "movie", "rating", "time"]].to_numpy()] == ratings()
        assert set(log["genre"]) == {"Comedy"}
        assert log.loc[log["user"] == 7, "occupation"].tolist() == [7] * 4


@pytest.mark.parametrize("protocol", ["user", "time"])
def test_a_labelled_rating_has_the_ratings_of_the_seconds_before(ml_100k, tmp_path, protocol):
    store = main(Args(folder=ml_100k, out=tmp_path / "store", protocol=protocol, test_fraction=0.3))
    rating = {(u, m): r for u, m, r, _ in ratings()}
    value = dict(zip(store.vocabulary("rating")["id"], store.vocabulary("rating")["value"], strict=True))
    assert set(value.values()) <= {0, 1, 2, 3, 4, 5}
    for split in store.splits:
        assert {value[i] for i in store.samples(split).candidates.field["rating"].tolist()} == {0}
    seen = 0
    for user, history, candidates, labels in histories(store):
        assert len(candidates) == (2 if len(history) == 2 else 1)
        if None not in candidates:
            assert labels == [rating[user, movie] >= 4 for movie in candidates]
            assert not set(history) & set(candidates)
            seen += len(candidates)
    assert seen > 20
    assert sorted(store.hist_label_E) == sorted(r >= 4 for r in rating.values())
    assert [f.name for f in store.schema.sparse] == ["gender", "age", "occupation"]


@pytest.mark.parametrize("protocol", [None, "all"])
def test_without_labels_the_next_movie_is_the_target(ml_1m, tmp_path, protocol):
    store = main(Args(folder=ml_1m, out=tmp_path / "store", protocol=protocol, test_fraction=0.3))
    assert store.info["protocol"] == (protocol or "last")
    assert store.info["samples"]["test"] == (3 if protocol is None else 10)


def test_mistakes_are_one_line_and_exit_with_2(ml_100k, ml_1m, tmp_path, monkeypatch, capsys):
    def error(*args):
        monkeypatch.setattr(sys, "argv", ["movielens", "--out", str(tmp_path / "store"), *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            command("movielens", Args, main)
        assert stopped.value.code == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        return captured.err

    assert "no folder" in error("--folder", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds none of u.data, ratings.dat, movie_sample.txt" in error("--folder", tmp_path / "empty")
    ml_1m.rename(ml_100k / "ml-1m.zip")
    assert "holds ml-100k and ml-1m" in error("--folder", ml_100k)
    (ml_100k / "ml-1m.zip").unlink()
    whole = (ml_100k / "u.data.gz").read_bytes()
    (ml_100k / "u.data.gz").write_bytes(gzip.compress(b"1\t2\t3\t4\n1\t2\t3\n"))
    assert "u.data: CSV parse error: Row #2: Expected 4 columns, got 3" in error("--folder", ml_100k)
    (ml_100k / "u.data.gz").write_bytes(gzip.compress(b"1\t2\t3\t4\n1\tx\t3\t4\n"))
    assert "Row #2: CSV conversion error to int64: invalid value 'x'" in error("--folder", ml_100k)
    (ml_100k / "u.data.gz").write_bytes(gzip.compress(b"1\t2\t\t4\n1\t2\t3\t4\n"))
    assert "column 'rating' is empty in 1 lines" in error("--folder", ml_100k)
    (ml_100k / "u.data.gz").write_bytes(whole[:-9])
    assert "u.data.gz breaks off" in error("--folder", ml_100k)
    (ml_100k / "u.genre").unlink()
    assert "no file u.genre" in error("--folder", ml_100k)
    assert not (tmp_path / "store").exists()


def sample(history, length, movie, label=1):
    return (
        f"1\t1\t2\t{','.join(map(str, history + [0] * (50 - len(history))))}\t{length}\t{movie}\t{movie % 3}\t{label}\n"
    )


def test_movie_sample_becomes_the_log_it_was_cut_from(tmp_path):
    log = list(range(1, 60))
    rows = [sample(log[: min(n, 50)][::-1], n, log[n]) for n in range(2, 59)]
    rows.insert(1, sample([2, 1], 2, 5, label=0))
    # The file is in no order of time.
    (tmp_path / "movie_sample.txt").write_text("".join(rows[::-1]))
    store = main(Args(folder=tmp_path, out=tmp_path / "store"))
    assert store.info["protocol"] == "time"
    for _, history, candidates, labels in histories(store):
        assert [v for v in history if v] == [v for v in log[: len(history)] if v in set(history)]
        assert labels == ([0, 1] if len(history) == 2 else [1])
        assert candidates[-1] in (log[len(history)], None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (sample([3, 2, 1], 4, 4), r"line 3: user 1 has history \[3, 2, 1.* of length 4, movie 4"),
        (sample([1, 2, 3], 3, 4), "line 3: user 1 has history"),
        (sample([3, 2, 1], 3, 9) + sample([4, 3, 2, 1], 4, 5), "line 4: user 1 has history"),
        ("1\t2\t3\n", "line 3: '1\\\\t2\\\\t3' cannot be read"),
        ("1\t1\t2\t1,x\t1\t2\t3\t1\n", "invalid literal"),
    ],
)
def test_a_row_that_the_log_does_not_give_is_named(tmp_path, row, message):
    (tmp_path / "movie_sample.txt").write_text(sample([1], 1, 2) + sample([2, 1], 2, 3) + row)
    with pytest.raises(ValueError, match=message):
        main(Args(folder=tmp_path, out=tmp_path / "store"))


def test_movie_sample_has_its_own_protocol(tmp_path):
    (tmp_path / "movie_sample.txt").write_text(sample([1], 1, 2))
    with pytest.raises(ValueError, match="samples of its own; expected 'time'"):
        main(Args(folder=tmp_path, out=tmp_path / "store", protocol="last"))


def real(name):
    absent = f"real data absent: {DATA / name}"
    return lambda test: pytest.mark.real_data(pytest.mark.skipif(not (DATA / name).exists(), reason=absent)(test))


@real("movie_sample")
def test_every_row_of_the_real_movie_sample(tmp_path):
    lines = (DATA / "movie_sample" / "movie_sample.txt").read_text().splitlines()
    store = main(Args(folder=DATA / "movie_sample", out=tmp_path / "store"))
    known = set(store.vocabulary("movie")["value"])
    expected = {}
    for line in lines:
        user, _, _, history, length, movie, _, label = line.split("\t")
        # Of a long history the file lists the oldest 50, most recent first.
        listed = [int(m) if int(m) in known else None for m in history.split(",") if m != "0"][::-1]
        row = (listed, int(movie) if int(movie) in known else None, float(label))
        expected.setdefault((int(user), int(length)), []).append(row)
    rows = 0
    for user, history, candidates, labels in histories(store):
        group = expected.pop((user, len(history)))
        assert all(history[:50] == listed for listed, _, _ in group)
        assert [row[1:] for row in group] == list(zip(candidates, labels, strict=True))
        rows += len(group)
    assert rows == len(lines) == 1380 and not expected


@real("ml-100k")
@pytest.mark.parametrize("protocol", ["user", "time", "last"])
def test_real_100k(tmp_path, protocol):
    assert which(find_files(DATA / "ml-100k"), DATA) == "ml-100k"
    store = main(Args(folder=DATA / "ml-100k", out=tmp_path / "store", protocol=protocol))
    assert store.info["counts"]["users"] == 943
    assert store.info["counts"]["events"] == 100_000
    assert store.hist_label_E.mean() == pytest.approx(0.55375)
    if protocol != "last":
        labels = [store.samples(split).candidates.label_C for split in store.splits]
        assert sum(map(len, labels)) == 100_000
        assert np.concatenate(labels).mean() == pytest.approx(0.55375)


def test_all_genres_are_a_set_and_past_ratings_numbers(ml_100k, tmp_path):
    log = read_100k(find_files(ml_100k))
    genres = log.drop_duplicates("movie").set_index("movie")["genres"].sort_index()
    assert genres.tolist() == [["Action", "Comedy"], ["unknown", "Drama"], ["unknown"], []]
    how = {"attributes": ("genres",), "numbers": ("rating",), "time_fields": ("gap",), "protocol": "user"}
    store = main(Args(folder=ml_100k, out=tmp_path / "store", test_fraction=0.3, **how))
    assert [b.name for b in store.schema.behaviours] == ["movie", "genres", "gap"]
    assert np.isnan(store.samples("test").candidates.field["rating"]).all()
    rows = store.offsets[:-1]  # the first rating of each user
    first = sorted(ratings(), key=lambda row: (row[0], row[3]))[:: len(FLAGS)]
    users = store.user_values().tolist()
    assert dict(zip(users, store.events["rating"][rows], strict=True)) == {user: r for user, _, r, _ in first}


def test_the_rating_of_a_candidate_that_is_sampled_is_no_input(ml_100k, tmp_path):
    for how in ({"numbers": ("rating:5",)}, {"attributes": ("genre", "rating")}):
        with pytest.raises(ValueError, match="has no rating yet"):
            main(Args(folder=ml_100k, out=tmp_path / "store", **how))


def test_genres_of_1m_are_a_set_too(ml_1m):
    assert read_1m(find_files(ml_1m))["genres"].map(tuple).unique().tolist() == [("Comedy", "Drama")]


def test_force_replaces_a_store_and_nothing_else(ml_100k, tmp_path):
    args = Args(folder=ml_100k, out=tmp_path / "store", test_fraction=0.3)
    main(args)
    with pytest.raises(FileExistsError):
        main(args)
    main(replace(args, force=True))
    with pytest.raises(FileExistsError, match="is not an event store"):
        main(replace(args, out=ml_100k, force=True))
