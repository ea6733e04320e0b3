"""The collectives of a compiled program: what crosses devices, how many bytes of it, and whether inside of a loop."""

import math
import re
from dataclasses import dataclass

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")

_OPERATION = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[subf]\d+|bf16|c\d+)\w*\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|branch_computations|called_computations)=\{?(%[^\s,}]+(?:, ?%[^\s,}]+)*)"
)
_NAME = re.compile(r"^(?:ENTRY )?(%[\w.\-]+) .*\{$", re.MULTILINE)


@dataclass(frozen=True)
class Collective:
    """One operation of a program: `bytes` of its largest array, and whether a loop repeats it."""

    kind: str
    bytes: int
    in_loop: bool
    line: str


def collectives(program: str) -> list[Collective]:
    """The collectives of a program in XLA's text (`compiled.as_text()`), in its order.

    One that is written down in several places, as those are that run beside other work, counts once.
    """
    bodies = _computations(program)
    calls = {name: _called(body) for name, body in bodies.items()}
    looped: set[str] = set()
    waiting = [name for body in bodies.values() for line in body if " while(" in line for name in _called([line])]
    while waiting:
        name = waiting.pop()
        if name not in looped:
            looped.add(name)
            waiting += calls.get(name, [])
    found: dict[tuple, Collective] = {}
    for name, body in bodies.items():
        for line in body:
            if match := _OPERATION.search(line):
                # TPUs have a sum over devices of which each keeps its part as a computation of this name.
                kind = "reduce-scatter" if name.startswith("%all-reduce-scatter") else match[2]
                channel, size = re.search(r"channel_id=\d+", line), _largest(match[1])
                key = (kind, size, name in looped, channel[0] if channel else line)
                found.setdefault(key, Collective(kind, size, name in looped, line.strip()))
    return list(found.values())


def _computations(program: str) -> dict[str, list[str]]:
    """The lines of each computation by its name."""
    starts = list(_NAME.finditer(program))
    ends = [*(start.start() for start in starts[1:]), len(program)]
    return {s[1]: program[s.end() : end].splitlines() for s, end in zip(starts, ends, strict=False)}


def _called(lines: list[str]) -> list[str]:
    return [name.strip() for line in lines for match in _CALLED.finditer(line) for name in match[1].split(",")]


def _largest(shape: str) -> int:
    """The bytes of the largest array of a shape, such as "(f32[8,3]{1,0}, s32[8])"."""
    return max(
        (_bytes(kind) * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in _ARRAY.findall(shape)),
        default=0,
    )


def _bytes(kind: str) -> int:
    return 1 if kind == "pred" else max(1, int(re.sub(r"\D", "", kind)) // 8)
