"""What the service does, without gRPC: prompts are checked, admitted, generated and scored.

Invariant: every failure is a ServiceError that names the field. A prompt is refused before it takes a place.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace

from inference_svc.admission import RequestAdmission
from inference_svc.choose import ChoiceScore, choose
from inference_svc.engine.engine import Engine
from inference_svc.engine.requests import Finish, Rank, Sampling, Step
from inference_svc.telemetry import gen_ai
from inference_svc.telemetry.gen_ai import Operation
from inference_svc.telemetry.measures import Measures, RequestRecord
from inference_svc.tokens import ChatMessage, PromptAssembler
from service_kit.errors import InvalidArgument, NotFound

# torch's generators take this many seeds; a larger one wraps around.
SEEDS = 2**63


@dataclass(frozen=True)
class PromptParts:
    token_ids_so_far: Sequence[int]
    new_messages: Sequence[ChatMessage]
    answer_prefix: str = ""


class TextService:
    def __init__(self, engine: Engine, assembler: PromptAssembler, model: str, limit: int, measures: Measures) -> None:
        self.engine = engine
        self.model = model
        self._assembler = assembler
        self.admission = RequestAdmission(limit)
        self.measures = measures

    def check_model(self, wanted: str) -> None:
        if wanted and wanted != self.model:
            raise NotFound("model", wanted)

    def prompt(self, parts: PromptParts, field_name: str = "prompt") -> list[int]:
        """The prompt's token ids; InvalidArgument where there can be none."""
        foreign = next((i for i in parts.token_ids_so_far if i >= self._assembler.vocabulary), None)
        if foreign is not None:
            raise InvalidArgument(
                f"{field_name}.token_ids_so_far",
                f"{foreign} is no token of {self.model}, which has {self._assembler.vocabulary}",
                "UNKNOWN_TOKEN",
            )
        ids = self._assembler.assemble(parts.token_ids_so_far, parts.new_messages, parts.answer_prefix)
        self._check_length(ids, field_name)
        return ids

    def _check_length(self, ids: Sequence[int], field_name: str) -> None:
        limit = self.engine.max_prompt_tokens
        if len(ids) > limit:
            raise InvalidArgument(field_name, f"{len(ids)} tokens; at most {limit} fit the context", "PROMPT_TOO_LONG")

    async def stream(self, prompt: list[int], sampling: Sampling, rank: Rank) -> AsyncGenerator[Step, None]:
        with self.admission.admitted(1, rank), self._measured(prompt, sampling, rank) as record:
            async with aclosing(self.engine.generate(prompt, sampling, rank)) as steps:
                spelled = self._spelling(prompt, sampling)
                async for step in steps:
                    record.step(step)
                    yield spelled(step)

    async def complete(self, prompt: list[int], sampling: Sampling, rank: Rank) -> Step:
        """The whole answer, for callers that took their places already (a batch takes them together)."""
        with self._measured(prompt, sampling, rank) as record:
            whole = await self.engine.complete(prompt, sampling, rank)
            record.step(whole)
        return self._spelling(prompt, sampling)(whole)

    def _spelling(self, prompt: list[int], sampling: Sampling) -> Callable[[Step], Step]:
        """Gives the steps of an answer their text, where the engine does not."""
        if sampling.stop:
            return lambda step: step
        spelling = self._assembler.spelling(prompt)

        def spelled(step: Step) -> Step:
            # The last token of an answer that ends by itself is the end's sign and no text.
            spoken = step.token_ids[:-1] if step.finish is Finish.STOP else step.token_ids
            return replace(step, text=spelling.of(spoken))

        return spelled

    def _measured(self, prompt: list[int], sampling: Sampling, rank: Rank) -> AbstractContextManager[RequestRecord]:
        return self.measures.request(Operation.CHAT, self.model, rank, len(prompt), gen_ai.sampled_with(sampling))

    async def choose(
        self, parts: PromptParts, choices: Sequence[str], rank: Rank, field_name: str
    ) -> list[ChoiceScore]:
        prompt = self.prompt(parts, f"{field_name}.prompt")
        encoded = [self._assembler.plain(choice) for choice in choices]
        for index, ids in enumerate(encoded):
            self._check_length([*prompt, *ids], f"{field_name}.choices[{index}]")
        asked = {"anamnesis.choices": len(choices)}
        with self.measures.request(Operation.CHOOSE, self.model, rank, len(prompt), asked) as record:
            scores = await choose(self.engine, prompt, encoded, rank)
            record.finish = Finish.STOP
        return scores


def engine_seed(seed: int) -> int:
    return seed % SEEDS
