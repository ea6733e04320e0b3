"""Weights in files, and the commands that make a run of them and of a run them."""

import io
import json
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest

from dienjax import Behaviour, Run, Schema, Table
from dienjax.cli import main
from dienjax.interop import files, import_run, read_weights, write_weights
from dienjax.interop.runs import summary
from dienjax.storage.files import write_json

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.zeros((), np.int64)}


def same(got, expected):
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(got[key], array, strict=True)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_file_holds_what_was_written(kind, tmp_path):
    if kind == "safetensors":
        pytest.importorskip("safetensors", reason="needs dienjax[interop]")
    path = tmp_path / f"w.{kind}"
    write_weights(path, TENSORS)
    same(read_weights(path), TENSORS)
    with pytest.raises(FileExistsError, match="--force"):
        write_weights(path, {})
    write_weights(path, {"b": TENSORS["count"]}, force=True)
    assert read_weights(path).keys() == {"b"}


def test_a_state_dict_of_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    write_weights(tmp_path / "w.pt", TENSORS)
    same(read_weights(tmp_path / "w.pt"), {"a.weight": TENSORS["a.weight"], "count": np.float32(0)})
    half = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    torch.save({"half": half}, tmp_path / "half.pth")
    same(read_weights(tmp_path / "half.pth"), {"half": np.ones(2, np.float32)})
    torch.save(torch.nn.Linear(2, 1), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"holds more than tensors, such as a whole model; save a state_dict"):
        read_weights(tmp_path / "model.pt")
    torch.save({"model": {"w": half}, "epoch": 3}, tmp_path / "nested.bin")
    with pytest.raises(ValueError, match=r"holds the keys \['model', 'epoch'\]; expected tensors by name"):
        read_weights(tmp_path / "nested.bin")


def test_what_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"ends in \.safetensors, \.npz, \.pt, \.pth, \.bin"):
        read_weights(tmp_path / "w.h5")
    with pytest.raises(FileNotFoundError, match="expected one of weights"):
        read_weights(tmp_path / "w.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="holds pickled objects; it is damaged"):
        read_weights(tmp_path / "objects.npz")
    np.savez(tmp_path / "text.npz", a=np.array(["x"]))
    with pytest.raises(ValueError, match=r"holds the keys \['a'\]; expected tensors of numbers"):
        read_weights(tmp_path / "text.npz")

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(files, "import_module", absent)
    for kind, package in (("pt", "torch"), ("safetensors", r"dienjax\[interop\]")):
        (tmp_path / f"w.{kind}").touch()
        with pytest.raises(ImportError, match=f"pip install '{package}'"):
            read_weights(tmp_path / f"w.{kind}")


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_damaged_weights_are_one_sentence(kind, tmp_path):
    if kind == "safetensors":
        pytest.importorskip("safetensors", reason="needs dienjax[interop]")
    path = tmp_path / f"w.{kind}"
    write_weights(path, TENSORS)
    whole = path.read_bytes()
    damaged = [b"", whole[:3], whole[: len(whole) // 2], b"\x80\x04N."]
    if kind == "npz":  # a number of the array: its archive has checksums
        damaged.append(whole.replace(np.float32(1).tobytes(), np.float32(9).tobytes(), 1))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"w\.{kind} cannot be read as \.{kind}: .+; it is damaged") as refused:
            read_weights(path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "error", [EOFError(), RuntimeError("PytorchStreamReader failed\nat 0x7f"), KeyError("storage")]
)
def test_what_torch_cannot_read_is_one_sentence(error, tmp_path, monkeypatch):
    def load(*_, **__):
        raise error

    monkeypatch.setattr(files, "import_module", lambda name: SimpleNamespace(load=load))
    (tmp_path / "w.pt").touch()
    with pytest.raises(ValueError, match=r"w\.pt cannot be read as \.pt: [^\n]+; it is damaged or of another kind$"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.npz", "w.pt"])
def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(name, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_UNPACKED", 10**5)
    monkeypatch.setattr(files, "import_module", lambda name: None)
    with open(tmp_path / name, "wb") as file:
        np.savez_compressed(file, a=np.zeros(10**6, np.float32))
    with pytest.raises(ValueError, match=r"it unpacks to 4,000,128 bytes, expected at most"):
        read_weights(tmp_path / name)


def test_an_array_that_claims_more_than_there_is(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(8))
    with pytest.raises(ValueError, match="cannot be read as"):
        read_weights(tmp_path / "w.npz")


def zeros(shapes):
    return {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}


def run_cli(*argv):
    main([str(a) for a in argv])


def test_from_a_file_to_measures_and_scores_and_back(drift_store, tmp_path, capsys):
    """Of weights that are all 0 but the last bias, every probability is the sigmoid of that bias."""
    sizes = drift_store.schema.sizes()
    shapes = {f"embedding_dict.{name}.weight": (sizes[name], 2) for name in ("item", "category")}
    shapes |= {"attention.local_att.dnn.linears.0.weight": (3, 16), "attention.local_att.dnn.linears.0.bias": (3,)}
    shapes |= {"attention.local_att.dense.weight": (1, 3), "attention.local_att.dense.bias": (1,)}
    shapes |= {"dnn.linears.0.weight": (4, 8), "dnn.linears.0.bias": (4,), "dnn_linear.weight": (1, 4)}
    tensors = zeros(shapes) | {"out.bias": np.float32([2])}
    write_weights(tmp_path / "din.npz", tensors)
    columns = ("--columns", "category", "item")
    source = ("--source", "deepctr_torch", "--model", "DIN", "--schema", drift_store.path)
    run_cli("import-weights", tmp_path / "din.npz", *source, *columns, "--run", tmp_path / "run",
            "--set", "model.attention_activation=relu", "--set", "data.lengths=1")  # fmt: skip
    told = capsys.readouterr().out
    assert "deepctr-torch 0.3.0's DIN" in told and "attention_activation = 'relu'" in told and "softmax = False" in told
    run_cli("evaluate", tmp_path / "run", "--json")
    assert 0 < json.loads(capsys.readouterr().out)["logloss"] < 3
    values = {name: drift_store.vocabulary(name)["value"][:2].tolist() for name in ("item", "category")}
    frame = {f"hist_{name}": [v] for name, v in values.items()} | {name: [v] for name, v in values.items()}
    pd.DataFrame(frame).to_parquet(tmp_path / "rows.parquet")
    run_cli("predict", tmp_path / "run", "--input", tmp_path / "rows.parquet", "--output", tmp_path / "scored.parquet")
    scored = pd.read_parquet(tmp_path / "scored.parquet")["probability"][0]
    np.testing.assert_allclose(scored, [1 / (1 + np.exp(-2))] * 2, rtol=1e-6)
    run_cli("export-weights", tmp_path / "run", "--target", "deepctr_torch", *columns, "--output", tmp_path / "b.npz")
    same(read_weights(tmp_path / "b.npz"), tensors)
    with pytest.raises(SystemExit):
        run_cli("export-weights", tmp_path / "run", "--target", "deepctr_torch", *columns, "--output", "c.npz",
                "--table", "item")  # fmt: skip
    assert "expected table=name there, such as item=target_item" in capsys.readouterr().err


@pytest.fixture
def schema_file(tmp_path):
    write_json(tmp_path / "schema.json", Schema((Table("item", 5, 2),), (Behaviour("item"),)).to_json())
    return tmp_path / "schema.json"


def test_padding_that_takes_part_is_told(schema_file, tmp_path):
    key = "attention_layers.0.attention.mlp"
    shapes = {"embedding.embed_dict.target_item.weight": (5, 2), "mlp.mlp.0.weight": (1, 4), "mlp.mlp.0.bias": (1,)}
    shapes |= {f"{key}.0.weight": (3, 8), f"{key}.0.bias": (3,), f"{key}.4.weight": (1, 3), f"{key}.4.bias": (1,)}
    shapes |= {f"{key}.1.{name}": (3,) for name in ("weight", "bias", "running_mean", "running_var")}
    shapes |= {f"{key}.1.num_batches_tracked": (), f"{key}.2.alpha": (1,)}
    write_weights(tmp_path / "w.npz", zeros(shapes))
    run = import_run(tmp_path / "run", tmp_path / "w.npz", "torch_rechub", "DIN", schema_file, ["item"],
                     ["data.max_len=7"], {"item": "target_item"})  # fmt: skip
    assert run.config.data.lengths == 1
    assert "at most data.max_len = 7" in summary(run)


def test_without_an_auxiliary_network(schema_file, tmp_path):
    key, cell = "interest_evolution.attention.local_att", {"weight_ih": (6, 2), "weight_hh": (6, 2)}
    cell |= {"bias_ih": (6,), "bias_hh": (6,)}
    shapes = {"embedding_dict.item.weight": (5, 2), "linear.weight": (1, 3), "out.bias": (1,)}
    shapes |= {f"{key}.dnn.linears.0.weight": (3, 8), f"{key}.dnn.linears.0.bias": (3,)}
    shapes |= {f"{key}.dense.weight": (1, 3), f"{key}.dense.bias": (1,)}
    shapes |= {"dnn.linears.0.weight": (3, 4), "dnn.linears.0.bias": (3,)}
    for module in ("interest_extractor.gru", "interest_evolution.interest_evolution"):
        shapes |= {f"{module}.{name}_l0": shape for name, shape in cell.items()}
    write_weights(tmp_path / "w.npz", zeros(shapes))
    arguments = (tmp_path / "w.npz", "deepctr_torch", "DIEN", schema_file, ["item"])
    run = import_run(tmp_path / "run", *arguments)
    assert run.config.loss.alpha == 0 and "it is left out (loss.alpha = 0)" in summary(run)
    assert "scorer" not in run.variables()["params"]
    run = import_run(tmp_path / "run", *arguments, ["loss.alpha=0.5"], force=True)
    variables = Run.open(tmp_path / "run").variables()
    assert "freshly initialised" in summary(run)
    assert variables["params"]["scorer"]["mlp"]["dense_0"]["kernel"].any()
    assert not variables["params"]["tower"]["dense_0"]["kernel"].any()
    with pytest.raises(ValueError, match="name is set to something other than DIEN"):
        import_run(tmp_path / "other", *arguments, ["model.name=DIN"])
    assert not (tmp_path / "other").exists()
