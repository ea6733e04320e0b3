"""The class of a model by its name: one of ours, or "package.module:Class" for one that lives outside of the package.

A name comes from a config, which may be a stranger's. So no module is imported before its source text shows a class of
that name with the parts of the contract, and no folder is searched that Python does not search anyway.
"""

import ast
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path

from flax import linen as nn

from dienjax.errors import nearest
from dienjax.models.contract import check_class
from dienjax.models.dien import DIEN
from dienjax.models.din import DIN

MODELS: dict[str, type[nn.Module]] = {"DIN": DIN, "DIEN": DIEN}

HOW = "install the package that holds it (pip install -e FOLDER), or put its folder in PYTHONPATH"


def model_class(name: str) -> type[nn.Module]:
    """The Linen module that `model.name` of a config names.

    Raises:
      ValueError: there is no such model, its module cannot be imported, or it is not a `dienjax.models.Model`.
    """
    if name in MODELS:
        return MODELS[name]
    module, colon, kind = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), kind)):
        raise ValueError(f"model.name is {name!r}; {nearest(name, MODELS)}, or package.module:Class for your own")
    if module not in sys.modules:
        _check_source(name, module, kind)
    try:
        found = getattr(import_module(module), kind)
    except Exception as error:  # whatever a module may raise
        raise ValueError(
            f"model.name is {name!r}, which cannot be imported ({error!r}); correct it, or {HOW}"
        ) from error
    check_class(found, name)
    return found


def title(name: str) -> str:
    """How a model is called for short: the name of its class."""
    return name.rpartition(":")[2]


def _check_source(name: str, module: str, kind: str) -> None:
    """Refuse a module whose text has no class `kind` with `schema`, `embed` and `net`, before it is run."""
    spec = _spec(module)
    if spec is None:
        raise ValueError(f"model.name is {name!r}, and there is no module {module!r}; {HOW}")
    if not spec.origin or Path(spec.origin).suffix != ".py":
        raise ValueError(f"model.name is {name!r}, and {module!r} is not a Python source module; {HOW}")
    try:
        tree = ast.parse(Path(spec.origin).read_bytes(), spec.origin)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"model.name is {name!r}, and {spec.origin} cannot be read ({error}); correct it") from error
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == kind:
            parts = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            parts |= {ast.unparse(part.target) for part in node.body if isinstance(part, ast.AnnAssign)}
            lacks = {"schema", "embed", "net"} - parts
            if not lacks:
                return
            raise ValueError(
                f"model.name is {name!r}, and this class does not define {', '.join(sorted(lacks))} itself, at "
                f"{spec.origin}:{node.lineno}; expected a dienjax.models.Model"
            )
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    raise ValueError(f"model.name is {name!r}, and {spec.origin} defines no class {kind!r}; {nearest(kind, classes)}")


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing the packages that it is in."""
    path, spec = None, None
    names = module.split(".")
    for depth in range(len(names)):
        full = ".".join(names[: depth + 1])
        found = (finder.find_spec(full, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if depth < len(names) - 1 and path is None:
            return None
    return spec
