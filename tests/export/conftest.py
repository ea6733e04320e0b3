"""Every small model's export, made once for all workers."""

import fcntl

import pytest

import exporting
from dienjax.storage.folders import new_folder


@pytest.fixture(scope="session")
def exported(request, tmp_path_factory, worker_id):
    """A folder with the run and the export of each model. Not to be changed."""
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "exported"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with new_folder(folder) as temporary:
                exporting.make_all(temporary, slow=any(i.get_closest_marker("slow") for i in request.session.items))
    return folder
