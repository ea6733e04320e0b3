"""The commands that hand a model on: to a service, and from and to the PyTorch libraries."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from dienjax.cli.arguments import Columns, Overrides

Tables = Annotated[Columns, arg(name="table", metavar="TABLE=NAME")]


def export(
    run: Positional[Path],
    output: Path,
    form: Literal["onnx", "stablehlo"] = "onnx",
    tables: Literal["float32", "float16", "int8"] = "float32",
    ids: Literal["int64", "int32"] = "int64",
    split: str = "",
    store: Path | None = None,
    force: bool = False,
) -> None:
    """Export a run's best checkpoint for serving, checked against JAX before anything is there.

    The folder has the ranker (histories and candidates to probabilities), the same in two parts for many requests of
    one user (encoder of the history, scorer of candidates), and the vocabularies. `dienjax.serving.Ranker` reads it.

    Args:
      run: run folder.
      output: folder to write.
      form: onnx, for onnxruntime (install dienjax[onnx]), or stablehlo, for XLA.
      tables: how the numbers of the embedding tables are kept: float16 takes half the memory, int8 a
        quarter and four bytes a row.
      ids: type of the ids that the ONNX graphs take; StableHLO programs take either.
      split: one of the store's splits, such as test: all its samples are compared too, and the AUC. Only with onnx.
      store: event store of that split; the one the run was trained on if left out.
      force: replace the folder if it exists.
    """
    from dienjax.export import export_run

    folder = export_run(run, output, form=form, tables=tables, ids=ids, split=split, store=store, force=force)
    print(f"{folder}: exported\n{(folder / 'parity.txt').read_text(encoding='utf-8')}")


def import_weights(
    weights: Positional[Path],
    source: Literal["deepctr_torch", "torch_rechub"],
    model: Literal["DIN", "DIEN"],
    schema: Path,
    columns: Annotated[tuple[str, ...], arg(metavar="FIELD...")],
    run: Path,
    overrides: Overrides = (),
    tables: Tables = (),
    force: bool = False,
) -> None:
    """Make a run folder of a model trained in deepctr-torch 0.3.0 or torch-rechub 0.9.0: the same probabilities here.

    Ids are taken as they are: tables must have the sizes of the source's, id 0 must be padding there too, and id 1
    counts as unknown here.

    Args:
      weights: file of a state_dict: .safetensors, .npz, or .pt, .pth, .bin (these need torch).
      source: the library.
      model: the model.
      schema: event store, or a schema.json, with the fields and the sizes of the tables.
      columns: every field in the order of the source's feature columns; of torch_rechub the target features, then its
        `features`.
      run: folder for the run.
      overrides: one setting, with the value written as in TOML; may be given again. What weights do not tell is in
        [model], such as model.kind=AUGRU or model.softmax=true; left out, it is the source's default.
      tables: an embedding table that the source calls otherwise, such as item=target_item; may be given again.
      force: replace the run folder if it exists.
    """
    from dienjax.interop.runs import import_run, summary

    print(summary(import_run(run, weights, source, model, schema, columns, overrides, _pairs(tables), force)))


def export_weights(
    run: Positional[Path],
    target: Literal["deepctr_torch", "torch_rechub"],
    columns: Annotated[tuple[str, ...], arg(metavar="FIELD...")],
    output: Path,
    tables: Tables = (),
    force: bool = False,
) -> None:
    """Write a run's weights as a state_dict for deepctr-torch 0.3.0 or torch-rechub 0.9.0: the way back.

    Args:
      run: run folder whose model is one of that library, such as `dienjax import-weights` made.
      target: the library.
      columns: as for import-weights.
      output: file to write: .safetensors, .npz, or .pt, .pth, .bin (these need torch).
      tables: as for import-weights.
      force: replace the output if it exists.
    """
    from dienjax.interop.runs import export_run

    print(f"{output}: {export_run(run, target, columns, output, _pairs(tables), force)} tensors")


def _pairs(tables: tuple[str, ...]) -> dict[str, str]:
    """The source's names of tables by ours, from "here=there"."""
    pairs = [text.partition("=") for text in tables]
    if not all(here and there for here, _, there in pairs):
        raise ValueError(f"--table {' '.join(tables)}: expected table=name there, such as item=target_item")
    return {here: there for here, _, there in pairs}
