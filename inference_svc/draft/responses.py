"""The target's own answers to the prompts: what the head learns to foresee.

Invariant: the file grows by whole lines, one for each (prompt, temperature); what is there is not generated again, so
an interrupted run goes on. Greedy and sampled answers alternate, because both are served.

    python -m inference_svc.draft.responses  (a process of its own: the engine's memory is free before training begins)
"""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference_svc.draft.prompts import Prompt

SAMPLED_TEMPERATURE = 0.7
# Prompts handed to the engine at once: what an interruption can lose.
CHUNK = 256


@dataclass(frozen=True)
class Response:
    id: str
    held_out: bool
    temperature: float
    prompt_ids: list[int]
    token_ids: list[int]


@dataclass(frozen=True)
class Wish:
    prompt: Prompt
    temperature: float

    @property
    def id(self) -> str:
        return f"{self.prompt.id}@{self.temperature}"


def wishes(prompts: Sequence[Prompt], seed: int, limit: int) -> list[Wish]:
    """In a shuffled order, every second one sampled; held-out prompts greedily, as acceptance is measured on them.

    A limit above the number of prompts asks those that are trained on once more, each at its other temperature.
    """
    shuffled = list(prompts)
    random.Random(seed).shuffle(shuffled)
    once = [
        Wish(prompt, SAMPLED_TEMPERATURE if place % 2 and not prompt.held_out else 0.0)
        for place, prompt in enumerate(shuffled)
    ]
    again = [
        Wish(wish.prompt, 0.0 if wish.temperature else SAMPLED_TEMPERATURE) for wish in once if not wish.prompt.held_out
    ]
    return [*once, *again][:limit]


def read_responses(file: Path) -> Iterator[Response]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            # An interrupted write leaves a line without an end; it is generated again.
            if line.endswith("\n"):
                yield Response(**json.loads(line))


def drop_torn_line(file: Path) -> None:
    if not file.is_file():
        return
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        with file.open("r+b") as torn:
            torn.truncate(content.rfind(b"\n") + 1)


class Target:
    """The served model in vLLM, answering in batches."""

    def __init__(self, model: Path, max_new_tokens: int, sequences: int) -> None:
        from vllm import LLM

        self._max_new_tokens = max_new_tokens
        self._llm = LLM(
            model=str(model),
            enforce_eager=True,
            max_model_len=2048,
            max_num_seqs=sequences,
            kv_cache_memory_bytes=2 * 2**30,
            enable_chunked_prefill=False,
            max_num_batched_tokens=4096,
            generation_config="vllm",
        )
        self._tokenizer: Any = self._llm.get_tokenizer()

    def answer(self, wanted: Sequence[Wish]) -> list[Response]:
        from vllm import SamplingParams

        prompts = [
            self._tokenizer.apply_chat_template(wish.prompt.messages, add_generation_prompt=True, return_dict=False)
            for wish in wanted
        ]
        outputs = self._llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            [
                SamplingParams(temperature=wish.temperature, max_tokens=self._max_new_tokens, detokenize=False)
                for wish in wanted
            ],
            use_tqdm=False,
        )
        return [
            Response(wish.id, wish.prompt.held_out, wish.temperature, prompt, list(output.outputs[0].token_ids))
            for wish, prompt, output in zip(wanted, prompts, outputs, strict=True)
        ]


def generate(
    wanted: Sequence[Wish], file: Path, target: Callable[[], Target], report: Callable[[int, int], None]
) -> None:
    """Appends what `file` lacks. `target` is made only if something is lacking; `report` gets (done, wanted)."""
    drop_torn_line(file)
    present = {response.id for response in read_responses(file)}
    lacking = [wish for wish in wanted if wish.id not in present]
    if not lacking:
        return
    engine = target()
    file.parent.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(lacking), CHUNK):
        responses = engine.answer(lacking[start : start + CHUNK])
        with file.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(asdict(response)) + "\n" for response in responses)
            out.flush()
            os.fsync(out.fileno())
        report(len(wanted) - len(lacking) + start + len(responses), len(wanted))


def main(arguments: dict[str, Any]) -> None:
    from inference_svc.draft.prompts import built_in_prompts, prompts_from

    files = [Path(file) for file in arguments["prompts"]]
    prompts = prompts_from(files) if files else built_in_prompts()
    generate(
        wishes(prompts, arguments["seed"], arguments["limit"]),
        Path(arguments["file"]),
        lambda: Target(Path(arguments["model"]), arguments["max_new_tokens"], arguments["sequences"]),
        lambda done, wanted: print(json.dumps({"done": done, "of": wanted}), flush=True),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
