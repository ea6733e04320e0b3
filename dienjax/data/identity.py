"""What tells one event store from another: a fingerprint of the arrays that training reads."""

import hashlib
import json

from dienjax.data.store import Store
from dienjax.files import sha256

MANIFEST = "manifest.json"


def store_digest(store: Store) -> str:
    """The fingerprint of a store's arrays, wherever it stands: equal arrays, equal fingerprint.

    Vocabularies are left out, as the schema has their fingerprints. A store without a manifest is read once.
    """
    manifest = store.path / MANIFEST
    if manifest.is_file():
        digests: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))
    else:
        digests = {file.relative_to(store.path).as_posix(): sha256(file) for file in store.path.rglob("*.npy")}
    lines = sorted(f"{name} {digest}\n" for name, digest in digests.items() if name.endswith(".npy"))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
