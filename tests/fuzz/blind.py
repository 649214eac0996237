"""`python -m tests.fuzz.blind [SEED] [COUNT]`: the oracle without atheris: no feedback, seven times the rate.

Mutates the corpus with the words of HTTP. Prints each input that fails and ends with 1 if there was one.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from .oracle import check
from .words import WORDS

CORPUS = Path(__file__).parent / "corpus"
REPORT_EVERY = 250_000


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """An input of the corpus with a few words, bytes or pieces of another one put in, or a bit cut out."""
    data = rng.choice(corpus)
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.6:
            piece = rng.choice(WORDS)
        elif kind < 0.8:
            piece = bytes([rng.randrange(256)])
        else:
            other = rng.choice(corpus)
            at = rng.randint(0, len(other))
            piece = other[at : at + rng.randint(0, 60)]
        at, cut = rng.randint(0, len(data)), rng.choice((0, 0, 0, 1, 2, 8))
        data = data[:at] + piece + data[at + cut :]
    return data


def main(seed: int = 1, count: int = 1_000_000) -> int:
    rng = random.Random(seed)
    corpus = [path.read_bytes() for path in sorted(CORPUS.iterdir())]
    failed = 0
    for number in range(1, count + 1):
        data = mutated(rng, corpus)
        try:
            check(data)
        except Exception as error:
            failed += 1
            sys.stdout.write(f"{error!r}: {data!r}\n")
        if number % REPORT_EVERY == 0:
            sys.stdout.write(f"{number} inputs, {failed} failed\n")
            sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
