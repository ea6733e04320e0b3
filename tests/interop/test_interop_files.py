"""Weights in files, and the commands that make a run of them and of a run them."""

import json

import numpy as np
import pandas as pd
import pytest

from dienjax.cli import main
from dienjax.interop import files, read_weights, write_weights
from dienjax.interop.torch_layers import linear

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
    with pytest.raises(ValueError, match="allow_pickle"):
        read_weights(tmp_path / "objects.npz")

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(files, "import_module", absent)
    for kind, package in (("pt", "torch"), ("safetensors", r"dienjax\[interop\]")):
        (tmp_path / f"w.{kind}").touch()
        with pytest.raises(ImportError, match=f"pip install '{package}'"):
            read_weights(tmp_path / f"w.{kind}")
