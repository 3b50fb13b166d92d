"""llama.cpp's own parallel decoding on a GGUF, in the tools' environment: the same lines in and out as vllm_engine.py.

Standalone: that environment has nothing of this project. One sequence a prompt, one batch a step, as llama.cpp's
`batched` example does it; greedy.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import llama_cpp as lib
import numpy as np

SEQUENCES = 32
CONTEXT = 512


class LlamaCpp:
    def __init__(self, gguf: str, threads: int) -> None:
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(gguf.encode(), lib.llama_model_default_params())
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = SEQUENCES * CONTEXT
        parameters.n_batch = SEQUENCES * CONTEXT
        parameters.n_ubatch = 512
        parameters.n_seq_max = SEQUENCES
        parameters.n_threads = parameters.n_threads_batch = threads
        self._context = lib.llama_init_from_model(self._model, parameters)
        vocabulary = lib.llama_model_get_vocab(self._model)
        self._size = lib.llama_vocab_n_tokens(vocabulary)
        self._end = lib.llama_vocab_eos(vocabulary)
        self._batch = lib.llama_batch_init(SEQUENCES * CONTEXT, 0, 1)

    def play(self, wanted: dict[str, Any]) -> dict[str, Any]:
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        prompts, limit = wanted["prompts"], wanted["max_tokens"]
        tokens: list[list[int]] = [[] for _ in prompts]
        began = last = time.perf_counter()
        first, gaps = 0.0, list[float]()
        # (sequence, token, position, is its logits row wanted)
        feed = [
            (sequence, token, place, place == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for place, token in enumerate(prompt)
        ]
        while feed:
            chosen = self._decode(feed)
            now = time.perf_counter()
            gaps += [now - last] * len(chosen) if first else []
            first = first or now - began
            last = now
            feed = []
            for sequence, token in chosen:
                tokens[sequence].append(token)
                if token != self._end and len(tokens[sequence]) < limit:
                    feed.append((sequence, token, len(prompts[sequence]) + len(tokens[sequence]) - 1, True))
        return {
            "seconds": time.perf_counter() - began,
            "tokens": tokens,
            "first": [first],
            "gaps": gaps,
            "rounds": [],
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        }

    def _decode(self, feed: list[tuple[int, int, int, bool]]) -> list[tuple[int, int]]:
        batch = self._batch
        batch.n_tokens = len(feed)
        for row, (sequence, token, place, wanted) in enumerate(feed):
            batch.token[row], batch.pos[row] = token, place
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            batch.logits[row] = int(wanted)
        if lib.llama_decode(self._context, batch):
            raise RuntimeError("llama_decode failed")
        return [
            (
                sequence,
                int(np.argmax(np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, row), (self._size,)))),
            )
            for row, (sequence, _, _, wanted) in enumerate(feed)
            if wanted
        ]


def main(job: dict[str, Any]) -> None:
    began = time.perf_counter()
    engine = LlamaCpp(job["gguf"], job["threads"])
    print(json.dumps({"ready": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        print(json.dumps(engine.play(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
