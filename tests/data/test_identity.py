import json
import shutil

import numpy as np

from dienjax import Store
from dienjax.data.identity import store_digest
from dienjax.files import sha256


def test_the_arrays_count_and_not_where_they_stand(drift_store, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(drift_store.path, copy)
    (copy / "schema.json").write_text((copy / "schema.json").read_text() + "\n")
    digest = store_digest(drift_store)
    assert store_digest(Store.open(copy)) == digest
    manifest = {f.relative_to(copy).as_posix(): sha256(f) for f in copy.rglob("*") if f.is_file()}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert store_digest(Store.open(copy)) == digest
    (copy / "manifest.json").unlink()
    end_N = np.load(copy / "splits/test/end.npy")
    np.save(copy / "splits/test/end.npy", end_N[::-1])
    assert store_digest(Store.open(copy)) != digest
