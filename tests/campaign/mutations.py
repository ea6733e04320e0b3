"""Damage to files: each mutation is a function of a generator and what it damages, and has a name to be told by."""

import shutil
from pathlib import Path

import numpy as np


def damaged_bytes(draw: np.random.Generator, data: bytes) -> tuple[str, bytes]:
    """What was done, and the bytes after it: never the bytes that were given, unless they are empty."""
    if not data:
        return "filled", b"\x00"
    n, at = len(data), int(draw.integers(len(data)))
    kind = str(draw.choice(["bit", "bit", "byte", "head", "truncated", "emptied", "doubled", "zeros", "cut out"]))
    if kind == "bit":
        return f"bit of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << int(draw.integers(8))]) + data[at + 1 :]
    if kind == "byte":
        return f"byte {at} changed", data[:at] + bytes([data[at] ^ int(draw.integers(1, 256))]) + data[at + 1 :]
    if kind == "head":
        at %= 128
        return damaged_at(data, at, int(draw.integers(1, 256)))
    if kind == "truncated":
        return f"cut at {at} of {n}", data[:at]
    if kind == "emptied":
        return "emptied", b""
    if kind == "doubled":
        return "written twice", data + data
    end = min(n, at + int(draw.integers(1, 64)))
    if kind == "cut out" or not any(data[at:end]):
        return f"bytes {at} to {end} cut out", data[:at] + data[end:]
    return f"bytes {at} to {end} zeroed", data[:at] + bytes(end - at) + data[end:]


def damaged_at(data: bytes, at: int, by: int) -> tuple[str, bytes]:
    at = min(at, len(data) - 1)
    return f"byte {at} of the head changed", data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


def damaged_file(draw: np.random.Generator, folder: Path, only: str = "*") -> str:
    """Damages one file of a folder, or deletes it, or swaps it with another of its kind; returns what was done."""
    files = sorted(p for p in folder.rglob(only) if p.is_file())
    file = files[int(draw.integers(len(files)))]
    name, chance = file.relative_to(folder).as_posix(), draw.random()
    others = [p for p in files if p.suffix == file.suffix and p.read_bytes() != file.read_bytes()]
    if chance < 0.08:
        file.unlink()
        return f"{name} deleted"
    if chance < 0.2 and others:
        other = others[int(draw.integers(len(others)))]
        kept = file.read_bytes()
        shutil.copy(other, file)
        other.write_bytes(kept)
        return f"{name} swapped with {other.relative_to(folder)}"
    what, data = damaged_bytes(draw, file.read_bytes())
    file.write_bytes(data)
    return f"{name}: {what}"
