"""The vLLM engine: token ids in; token ids, their log-probs and the weights' version out.

Invariant: a request that nobody waits for any more is aborted at once, and each generated token's log-prob is that
of the distribution it was drawn from (temperature, top-p, top-k and constraint applied; greedy: of the model itself).
vLLM is imported in start(), after the environment is set. The engine runs in a process of its own; when that dies
every call answers Unavailable.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from inference_svc.engine.arguments import engine_arguments
from inference_svc.engine.gauges import EngineGauges
from inference_svc.engine.requests import Finish, PauseMode, Rank, Sampling, Step, order
from inference_svc.settings import InferenceSettings, Speculation
from inference_svc.weights.versions import BASE, Run, Version, joined
from service_kit.errors import DeadlineExceeded, InvalidArgument, ServiceError, Unavailable

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.5
# Any ids that every vocabulary has.
WARM_UP_PROMPT = range(100, 116)
WARM_UP_TOKENS = 8
# Enough steps for both kinds to be timed, with every proposed token kept.
MEASURED_TOKENS = 320


class Engine:
    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._llm: Any = None
        self._broken = False
        self.gauges = EngineGauges()
        self.version = BASE
        self.dtype = ""
        self.unfinished = 0

    async def start(self) -> None:
        began = time.monotonic()
        log.info("starting the engine", extra={"model": self._settings.served_model(), "eager": self._settings.eager})
        # Loading takes half a minute; the loop answers health checks meanwhile.
        self._llm = await asyncio.to_thread(self._load)
        await self._llm.update_weight_version(BASE.label())
        log.info("engine started", extra={"seconds": round(time.monotonic() - began, 1), "dtype": self.dtype})

    async def warm_up(self) -> None:
        """Generate: what is compiled or allocated at first use is then there, and speculation has been measured."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        began = time.monotonic()
        measured = self._settings.speculation is not Speculation.NONE
        tokens = min(MEASURED_TOKENS if measured else WARM_UP_TOKENS, self._settings.max_model_len // 2)
        parameters = SamplingParams(
            temperature=0.0, max_tokens=tokens, ignore_eos=True, output_kind=RequestOutputKind.FINAL_ONLY
        )
        # Repeated, so that lookup finds something to propose.
        await self._only(list(WARM_UP_PROMPT) * 4, parameters, Rank.CONSULTATION)
        log.info("warmed up", extra={"tokens": tokens, "seconds": round(time.monotonic() - began, 2)})

    def _load(self) -> Any:
        from vllm.v1.engine.async_llm import AsyncLLM

        arguments = engine_arguments(self._settings)
        self.dtype = str(arguments.dtype)
        return AsyncLLM.from_engine_args(arguments, stat_loggers=[self.gauges.stat_logger()])

    def stop(self) -> None:
        if self._llm is not None:
            self._llm.shutdown()
            # Else its __del__ runs while the interpreter is being torn down, and complains.
            self._llm = None

    @property
    def dead(self) -> bool:
        return self._broken or (self._llm is not None and bool(self._llm.errored))

    async def death(self) -> None:
        """Returns once the engine has died. It does not come back to life."""
        while not self.dead:
            await asyncio.sleep(WATCH_SECONDS)

    @property
    def max_prompt_tokens(self) -> int:
        """One place is left for what is generated."""
        return self._settings.max_model_len - 1

    async def generate(self, prompt: Sequence[int], sampling: Sampling, rank: Rank) -> AsyncGenerator[Step, None]:
        """Each step as it comes; with its text only where the engine has to look for stop words."""
        async with aclosing(self._outputs(prompt, self._parameters(sampling, whole=False), rank)) as outputs:
            async for output in outputs:
                step = _step(output)
                if step.token_ids or step.finish or step.text:
                    yield step

    async def complete(self, prompt: Sequence[int], sampling: Sampling, rank: Rank) -> Step:
        """All steps together, which costs this process a fraction of hearing of each; text as above."""
        return _step(await self._last(prompt, self._parameters(sampling, whole=True), rank))

    async def next_token_logprobs(self, prompt: Sequence[int], tokens: Sequence[int], rank: Rank) -> list[float]:
        """log P(token | prompt) of the unrestricted model, for each of the tokens."""
        if self._settings.speculation is not Speculation.NONE:
            # vLLM 0.32 leaves out the log-probs of given tokens where it speculates; as a prompt's it has them.
            return [await self.text_logprob(prompt, [token], rank) for token in tokens]
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(tokens),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._only(prompt, parameters, rank)
        position = output.outputs[0].logprobs[0]
        return [position[token].logprob for token in tokens]

    async def text_logprob(self, prompt: Sequence[int], text: Sequence[int], rank: Rank) -> float:
        """log P(text | prompt): the sum over the text's tokens."""
        output = await self._scored(prompt, text, rank, use_cache=True)
        if (output.num_cached_tokens or 0) >= len(prompt):
            # A token that predicts the text was itself taken from the cache, where no log-probs are.
            output = await self._scored(prompt, text, rank, use_cache=False)
        positions = output.prompt_logprobs[len(prompt) :]
        return math.fsum(position[token].logprob for token, position in zip(text, positions, strict=True))

    async def _scored(self, prompt: Sequence[int], text: Sequence[int], rank: Rank, *, use_cache: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            skip_reading_prefix_cache=not use_cache,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        return await self._only([*prompt, *text], parameters, rank)

    async def switch(self, directory: Path, version: Version, mode: PauseMode, previous: Path) -> int:
        """Serve the weights in `directory` from the next engine step on; returns how many requests were in flight.

        Must run to its end, so the caller shields it. Where loading fails the previous directory is loaded again, and
        where that fails too the engine is dead.
        """
        in_flight = self.unfinished
        async with self._paused(mode):
            loaded = False
            try:
                await self._reload(directory)
                loaded = True
            finally:
                if not loaded:
                    self._broken = True
                    await self._reload(previous)
                    self._broken = False
            await self._llm.update_weight_version(version.label())
            self.version = version
        return in_flight

    @asynccontextmanager
    async def _paused(self, mode: PauseMode) -> AsyncGenerator[None, None]:
        try:
            try:
                async with asyncio.timeout(self._settings.drain_limit_seconds):
                    await self._llm.pause_generation(mode=mode.value, clear_cache=True)
            except TimeoutError as error:
                raise DeadlineExceeded("DRAIN_TOO_SLOW", f"{self.unfinished} requests are still in flight") from error
            yield
        finally:
            await self._llm.resume_generation()

    async def _reload(self, directory: Path) -> None:
        await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(directory)})
        # Blocks that the old weights computed would otherwise be reused, and the answers be wrong.
        await self._llm.reset_prefix_cache(reset_running_requests=True)

    async def _only(self, prompt: Sequence[int], parameters: Any, rank: Rank) -> Any:
        output = await self._last(prompt, parameters, rank)
        if output.outputs[0].finish_reason == Finish.ABORTED:
            raise Unavailable("engine", "the request was aborted by an update of the weights")
        return output

    async def _last(self, prompt: Sequence[int], parameters: Any, rank: Rank) -> Any:
        async with aclosing(self._outputs(prompt, parameters, rank)) as outputs:
            async for output in outputs:
                if output.finished:
                    return output
        raise Unavailable("engine", "the request ended without an answer")

    async def _outputs(self, prompt: Sequence[int], parameters: Any, rank: Rank) -> AsyncGenerator[Any, None]:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        if self.dead:
            raise Unavailable("engine", "the engine has died")
        self.unfinished += 1
        try:
            priority = order(rank, time.monotonic(), self._settings.priority_ageing_seconds)
            request = self._llm.generate(tokens_input(list(prompt)), parameters, uuid.uuid4().hex, priority=priority)
            async with aclosing(request) as outputs:
                async for output in outputs:
                    yield output
        except EngineDeadError as error:
            raise Unavailable("engine", "the engine has died") from error
        except VLLMClientError as error:
            raise InvalidArgument("request", str(error), "ENGINE_REFUSED") from error
        except EngineGenerateError as error:
            raise _refused(error) from error
        finally:
            self.unfinished -= 1

    def _parameters(self, sampling: Sampling, *, whole: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        constrained = sampling.regex is not None or sampling.json_schema is not None
        try:
            return SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                max_tokens=sampling.max_tokens,
                stop=list(sampling.stop),
                seed=sampling.seed,
                logprobs=0,
                structured_outputs=StructuredOutputsParams(regex=sampling.regex, json=sampling.json_schema)
                if constrained
                else None,
                # vLLM would spell each token a second time for its log-prob; the service spells them once.
                detokenize=bool(sampling.stop),
                output_kind=RequestOutputKind.FINAL_ONLY if whole else RequestOutputKind.DELTA,
            )
        except ValueError as error:
            raise InvalidArgument("constraint" if constrained else "sampling", str(error)) from error


def _refused(error: Exception) -> ServiceError:
    cause = error.__cause__
    if isinstance(cause, ValueError):
        return InvalidArgument("request", str(cause), "ENGINE_REFUSED")
    return Unavailable("engine", f"the request failed: {cause or error}")


def _step(output: Any) -> Step:
    completion = output.outputs[0]
    ids = list(completion.token_ids)
    finish = Finish(completion.finish_reason) if completion.finish_reason else None
    return Step(
        text=completion.text,
        token_ids=ids,
        logprobs=[position[token].logprob for token, position in zip(ids, completion.logprobs or [], strict=True)],
        finish=finish,
        runs=_runs(completion.weight_versions) if finish else [],
        cached_prompt_tokens=output.num_cached_tokens or 0,
        first_token_at=output.metrics.first_token_ts or None,
    )


def _runs(spans: Any) -> list[Run]:
    return joined(Run(Version.of_label(span.version), span.end - span.start) for span in spans or [])
