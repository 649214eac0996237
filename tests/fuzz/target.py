"""The fuzz target for atheris; how to run it stands in README.md.

Plain random bytes rarely pass a first line, so besides libFuzzer's own mutations there is a custom one
that works on the words of HTTP.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["sidecar.wire"]):
    import sidecar.wire.forward
    import sidecar.wire.request_parser
    import sidecar.wire.response_parser  # noqa: F401

from tests.fuzz.oracle import check
from tests.fuzz.words import WORDS


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time a word of HTTP goes in, half of the time libFuzzer does what it does."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        out: bytes = atheris.Mutate(data, max_size)
        return out
    for _ in range(rng.randint(1, 3)):
        at, cut = rng.randint(0, len(data)), rng.choice((0, 0, 0, 1, 2, 8))
        data = data[:at] + rng.choice(WORDS) + data[at + cut :]
    return data[:max_size]


def main() -> None:
    atheris.Setup(sys.argv, check, custom_mutator=lambda data, size, seed: mutate(bytes(data), size, seed))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
