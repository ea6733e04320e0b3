"""What the benchmarks of models compute from their measurements, without the libraries and without a clock."""

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_multiply_adds_are_those_that_jax_traces():
    from experiments.benchmark.arithmetic import multiply_adds, traced_forward

    twice = 3 * 6 * 36 * 100  # the state's part of the auxiliary MLP, for a behaviour and for its negative
    assert traced_forward(3, 7) == sum(multiply_adds(3, 7).values()) + twice
    assert multiply_adds(1, 2)["tower"] == 2 * (72 * 200 + 200 * 80 + 80)


def test_traced_products_of_a_scan_count_for_each_step():
    import jax
    import jax.numpy as jnp

    from experiments.benchmark.arithmetic import traced

    def scanned(a, b):
        return jax.lax.scan(lambda x, _: (x @ b, None), a, length=5)[0]

    assert traced(jax.make_jaxpr(scanned)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr) == 5 * 2 * 3 * 3


def test_random_histories_fill_their_length_and_come_back_from_a_batch():
    from experiments.benchmark import ours, setting

    columns = setting.drawn({"item": 9, "category": 4}, np.array([0, 3, 2]), 3, 2, np.random.default_rng(0))
    assert (np.count_nonzero(columns["neg_hist_item"], axis=1) == [0, 3, 2]).all()
    batch = ours.batch(columns)
    batch.check(ours.schema({"item": 9, "category": 4}))
    again = ours.columns(batch)
    assert again.keys() == columns.keys() and all((again[name] == columns[name]).all() for name in columns)


def test_ids_of_a_pool_alone():
    from experiments.benchmark.setting import drawn

    columns = drawn({"item": 99}, np.array([4]), 4, 2, np.random.default_rng(0), np.array([7, 98]))
    assert set(np.concatenate([columns["hist_item"], columns["item"]], axis=1).ravel()) == {7, 98}


def test_growth_is_over_half_the_length():
    from experiments.benchmark.length import grown

    rows = grown([{"T": 8, "ms": 2.0}, {"T": 16, "ms": 4.0}, {"T": 64, "ms": 9.0}])
    assert rows == [{"T": 8, "ms": 2.0}, {"T": 16, "ms": 4.0, "growth": 2.0, "exponent": 1.0}, {"T": 64, "ms": 9.0}]


def test_the_lazy_step_is_compared_with_the_others_of_its_model():
    from experiments.benchmark.vocabulary import DENSE, LAZY, SPARSE, compared, grown

    def row(model, what, ms, V=10):
        return {"ids": "uniform", "V": V, "model": model, "what": what, "both_ms": ms}

    rows = compared(
        [row("DIEN", DENSE, 8.0), row("DIEN", LAZY, 4.0), row("DIEN", SPARSE, 6.0), row("tables", LAZY, 1.0)]
    )
    assert rows[1]["times_dense"] == 2 and rows[1]["times_sparse"] == 1.5
    assert "times_dense" not in rows[0] and "times_dense" not in rows[3]
    rows.append(row("DIEN", LAZY, 5.0, V=100))
    grown(rows)
    assert [r["growth"] for r in rows] == [1, 1, 1, 1, 1.25]


def test_epochs_are_compared_with_the_faster_library():
    from experiments.benchmark.train import _compared

    speeds = {"dienjax": 30, "deepctr-torch": 5, "torch-rechub": 10}
    rows = _compared([{"what": what, "rows_per_s": speed, "auc": speed / 40} for what, speed in speeds.items()])
    assert [(row.get("times_faster"), row.get("auc_more")) for row in rows] == [(3, 0.5), (None, None), (None, None)]


def test_other_initialisations_and_other_losses_are_not_compared():
    from experiments.benchmark.train import AT_OURS, FUXICTR, _compared

    found = {"dienjax": 30, "dienjax, rows dense": 20, "torch-rechub": 10, "torch-rechub" + AT_OURS: 40, FUXICTR: 60}
    rows = _compared([{"what": what, "rows_per_s": n, "auc": n / 100} for what, n in found.items()])
    assert [row.get("times_faster") for row in rows] == [3, 2, None, None, None]
    assert [row.get("auc_more") for row in rows] == [0.2, 0.1, None, None, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "table"), [("deepctr-torch", "embedding_dict"), ("torch-rechub", "embedding.embed_dict")]
)
def test_a_library_begins_with_parameters_drawn_as_ours(tmp_path, library, table):
    for module in ("torch", library.replace("-", "_")):
        pytest.importorskip(module, reason="needs torch and the PyTorch libraries: pip install '.[torch]'")
    from experiments.benchmark import initial, theirs

    sizes = {"item": 2000, "category": 100}
    initial.write(str(tmp_path / "0.npz"), library, sizes, seed=0)
    state = theirs.build(library, sizes, 50, initial=str(tmp_path / "0.npz")).state_dict()
    item_VD = state[f"{table}.item.weight"].numpy()
    assert (item_VD[:2] == 0).all() and item_VD[2:].std() == pytest.approx(18**-0.5, rel=0.02)
    theirs_VD = theirs.build(library, sizes, 50).state_dict()[f"{table}.item.weight"].numpy()
    assert theirs_VD.std() < 2e-4
    recurrent = next(a.numpy() for name, a in state.items() if name.endswith("weight_hh_l0"))
    H = recurrent.shape[1]
    np.testing.assert_allclose(recurrent[:H] @ recurrent[:H].T, np.eye(H), atol=1e-5)


def test_what_fuxictr_is_fed(tmp_path):
    pytest.importorskip("fuxictr", reason="needs fuxictr and torch: pip install '.[fuxictr]'")
    from experiments.benchmark import fuxictr_dien, setting, theirs

    sizes = {"item": 30, "category": 5}
    columns = setting.drawn(sizes, np.array([3, 50, 1]), 50, 2, np.random.default_rng(0))
    flat, label_N = theirs.rows(columns)
    [(label, items, mask_NT)] = fuxictr_dien.loader(sizes, flat, label_N, 6)
    assert (label["label"].numpy() == label_N).all() and mask_NT.sum(1).tolist() == [3, 3, 50, 50, 1, 1]
    assert (items["item"].reshape(6, 51)[:, -1].numpy() == columns["item"].ravel()).all()
    assert (items["category"].reshape(3, 2, 51)[:, 1, :-1].numpy() == columns["hist_category"]).all()
    model = fuxictr_dien.build(sizes, str(tmp_path))
    assert model(next(iter(fuxictr_dien.loader(sizes, flat, label_N, 4))))["y_pred"].shape == (4, 1)


@pytest.mark.slow
def test_epochs_of_every_library(tmp_path):
    from experiments.benchmark import measure, train

    train.main(events=10_000, samples=100, epochs=1, batches=(128,), results=tmp_path)
    rows = json.loads((tmp_path / "train.json").read_text())["rows"]
    expected = ["dienjax", "dienjax, rows dense", "dienjax, all T = 50"]
    left_out = measure.left_out(train.PEERS)
    for library in train.LIBRARIES:
        expected += [library, library + train.AT_OURS] if library not in left_out else []
    expected += [train.FUXICTR] if "fuxictr" not in left_out else []
    assert [row["what"] for row in rows] == expected
    assert all(row["rows_per_s"] > 0 and 0 < row["auc"] < 1 for row in rows)


def test_results_are_a_table_a_file_and_a_picture(tmp_path, capsys):
    from experiments.benchmark.report import Figure, Panel, lines, publish

    rows = [{"T": 8, "what": "a", "ms": 2.0}, {"T": 16, "what": "a", "ms": 3.0}, {"T": 8, "what": "b"}]
    points = lines(rows, "T", "ms")
    assert points == {"a": [(8, 2.0), (16, 3.0)]}
    columns = {"T": "T", "what": "what", "ms": "ms", "never": "never"}
    figure = Figure("title", "T", [Panel("ms", points)])
    publish(tmp_path / "length", {"rounds": 1}, rows, columns, ["kept: all"], ["left out: b"], figure)
    printed = capsys.readouterr().out
    assert "|  T | what |   ms |" in printed and "kept: all\nleft out: b" in printed
    assert json.loads((tmp_path / "length.json").read_text()) == {"rounds": 1, "rows": rows, "goals": ["kept: all"]}
    assert (tmp_path / "length.png").stat().st_size > 1000
