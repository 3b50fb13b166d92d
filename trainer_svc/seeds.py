"""Every random choice of a run is a function of its seed and the name of the choice, so a resumed run chooses alike."""

import hashlib
import random


def derive(seed: int, *name: str | int) -> int:
    """32 bits, which every sampler takes."""
    digest = hashlib.sha256("/".join(map(str, (seed, *name))).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def shuffled(seed: int, name: str, count: int) -> list[int]:
    order = list(range(count))
    random.Random(derive(seed, name)).shuffle(order)
    return order
