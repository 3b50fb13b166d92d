"""The rows of mid-training: medical, general and maths texts in the proportion 2 : 2 : 1.

Invariant: row n of a run is a function of the seed and the texts, so a resumed run reads on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice

from trainer_svc.figures.perplexity import Probe
from trainer_svc.learner.supervised import Row
from trainer_svc.seeds import shuffled
from trainer_svc.stages.sources import Text

MEDICAL, GENERAL, MATHS = "medical", "general", "maths"
# One turn of the mixture.
PROPORTION = (MEDICAL, GENERAL, MEDICAL, GENERAL, MATHS)
# Held to the frozen reference: what the model should keep.
ANCHORED = (GENERAL, MATHS)

Encode = Callable[[str], list[int]]


def mixed_rows(
    texts: Mapping[str, Sequence[Text]], encode: Encode, end: int, length: int, count: int, seed: int
) -> list[Row]:
    """`count` rows of `length` tokens."""
    streams = {kind: _rows(texts[kind], encode, end, length, seed, kind) for kind in (MEDICAL, GENERAL, MATHS)}
    mixed = ((kind, next(streams[kind])) for kind in cycle(PROPORTION))
    return [Row(ids, list(ids), kind in ANCHORED) for kind, ids in islice(mixed, count)]


def _rows(texts: Sequence[Text], encode: Encode, end: int, length: int, seed: int, kind: str) -> Iterator[list[int]]:
    """Every text, in another order each time round, joined by the end token and cut; nothing is padded."""
    held: list[int] = []
    turn = 0
    while True:
        for index in shuffled(seed, f"{kind}-{turn}", len(texts)):
            held += [*encode(texts[index].text), end]
            while len(held) >= length:
                yield held[:length]
                held = held[length:]
        turn += 1


def probe_rows(texts: Sequence[Text], encode: Encode, end: int, length: int, tokens: int) -> list[Probe]:
    """The first rows of held-out texts, about so many tokens; the same whatever the seed."""
    held: list[int] = []
    for text in texts:
        if len(held) >= tokens:
            break
        held += [*encode(text.text), end]
    held = held[:tokens]
    return [Probe(held[start : start + length]) for start in range(0, len(held), length) if len(held) - start >= 2]
