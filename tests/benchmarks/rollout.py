"""`make bench-rollout`: policy tokens a second of the whole stack, beside the bare vLLM engine on the same prompts.

The stack: requests on Kafka, the worker, the patient, the rubric with its judge, the policy and frozen engines,
trajectories on Kafka. The bare engine: AsyncLLM in process with the policy's settings, replaying from the trajectories
exactly the prompts (token ids) and the number of tokens of each doctor turn, as many episodes at once. Passes
alternate, and no prompt comes twice, so neither side has a warmer cache. Other load hits both: read the ratio.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from anamnesis.common.v1.dialogue_pb2 import ROLE_USER, Dialogue
from anamnesis.common.v1.rollout_pb2 import PURPOSE_CONTEXT, FragmentContext, RolloutRequest, Trajectory
from inference_svc.settings import InferenceSettings
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Split
from simulator_svc.rollout.identity import doctor_turn_seed
from tests.benchmarks.bare_engine import BareEngine, Turn
from tests.benchmarks.stacks import running_stack
from tests.integration.rollout.rollout_traffic import Traffic, consultations, fragments, new_run, state_of

# The rubric service is told of the simulator, though no rollout calls it.
PROCESSES = ("broker", "inference-policy", "inference-frozen", "simulator", "rubric", "rollout-worker")
TURNS = 3
TOKENS = 96
PASS_SECONDS = 900.0


@dataclass(frozen=True)
class Pass:
    tokens: int
    turns: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


class Workload:
    """Requests as a training step makes them: groups of fragments (slices of consultations) and whole consultations."""

    def __init__(self, traffic: Traffic, contexts: int) -> None:
        self._traffic = traffic
        self._cases = [case.case_id for case in CaseLibrary.load().list(split=Split.TRAIN)]
        wanted = consultations(new_run(), self._cases, contexts * 4, turns=2, tokens=32, purpose=PURPOSE_CONTEXT)[::4]
        traffic.publish(wanted)
        played = traffic.terminal(wanted, PASS_SECONDS)
        self._slices = [piece for trajectory in played for piece in slices(trajectory)]
        self._taken = 0

    def requests(self, fragment_count: int, consultation_count: int) -> list[RolloutRequest]:
        """A pass of its own: other slices, other cases, personas and seeds than any before."""
        run, number = new_run(), self._taken
        whole = consultations(run, self._cases, consultation_count, turns=TURNS, tokens=TOKENS)
        for request in whole:
            request.context.consultation.patient_seed += 1000 * (number + 1)
            request.seed += 1000 * (number + 1)
        parts = fragments(run, self._cases, fragment_count, tokens=TOKENS)
        for index, request in enumerate(parts):
            group = number + index // request.group_size
            request.context.fragment.CopyFrom(self._slices[group % len(self._slices)])
            request.seed += 1000 * (number + 1)
        self._taken += -(-fragment_count // 4)
        return [*whole, *parts]  # the longest first


def slices(trajectory: Trajectory) -> Iterator[FragmentContext]:
    messages = trajectory.dialogue.messages
    for end in range(1, len(messages) + 1):
        if messages[end - 1].role == ROLE_USER:
            consultation = trajectory.request.context.consultation
            yield FragmentContext(case=consultation.case, so_far=Dialogue(messages=messages[:end]))


def play_on_stack(traffic: Traffic, requests: Sequence[RolloutRequest]) -> tuple[Pass, list[Trajectory]]:
    """From the first request's publication to the last trajectory's arrival."""
    wanted, found = {request.request_id for request in requests}, dict[str, Trajectory]()
    with traffic.trajectories() as consumer:
        consumer.seek(consumer.end_offsets())
        started = time.perf_counter()
        traffic.publish(requests)
        while wanted - found.keys():
            if time.perf_counter() - started > PASS_SECONDS:
                raise TimeoutError(f"{len(found)} of {len(wanted)} trajectories after {PASS_SECONDS:.0f} s")
            arrived = [record.message for record in consumer.poll(1.0)]
            found.update({t.request.request_id: t for t in arrived if t.request.request_id in wanted})
        seconds = time.perf_counter() - started
    played = [found[request.request_id] for request in requests]
    sampled = [len(segment.token_ids) for t in played for segment in t.segments if segment.trainable]
    return Pass(sum(sampled), len(sampled), seconds), played


def turns(trajectory: Trajectory) -> list[Turn]:
    """What the bare engine replays of an episode."""
    prompt: list[int] = []
    found: list[Turn] = []
    for segment in trajectory.segments:
        if segment.trainable:
            found.append(
                {
                    "prompt": list(prompt),
                    "tokens": len(segment.token_ids),
                    "seed": doctor_turn_seed(trajectory.request.seed, len(found)),
                    "temperature": trajectory.request.sampling.temperature,
                }
            )
        prompt += segment.token_ids
    return found


def replay(engine: BareEngine, played: Sequence[Trajectory], concurrency: int) -> Pass:
    episodes = [turns(trajectory) for trajectory in played]
    seconds = engine.replay(episodes, concurrency)
    tokens = [turn["tokens"] for episode in episodes for turn in episode]
    return Pass(sum(tokens), len(tokens), seconds)


def report(console: Console, passes: Sequence[tuple[Pass, Pass]]) -> dict[str, float]:
    table = Table(title="policy tokens a second: the stack beside the bare engine on the same prompts")
    for column in ("pass", "doctor turns", "tokens", "stack s", "stack tok/s", "engine s", "engine tok/s", "ratio"):
        table.add_column(column, justify="right")
    for number, (stack, engine) in enumerate(passes, 1):
        table.add_row(
            str(number),
            str(stack.turns),
            str(stack.tokens),
            f"{stack.seconds:.1f}",
            f"{stack.tokens_per_second:.1f}",
            f"{engine.seconds:.1f}",
            f"{engine.tokens_per_second:.1f}",
            f"{stack.tokens_per_second / engine.tokens_per_second:.2f}",
        )
    console.print(table)
    return {
        "engine_tok_s": round(statistics.median(engine.tokens_per_second for _, engine in passes), 1),
        "stack_tok_s": round(statistics.median(stack.tokens_per_second for stack, _ in passes), 1),
        "ratio": round(statistics.median(s.tokens_per_second / e.tokens_per_second for s, e in passes), 3),
    }


def seconds_by_phase(played: Sequence[Trajectory]) -> dict[str, float]:
    """Summed over episodes, which overlap: where an episode spends its time, not the machine."""
    spent: defaultdict[str, float] = defaultdict(float)
    for trajectory in played:
        for timing in trajectory.timings:
            spent[timing.phase] += timing.duration.ToNanoseconds() / 1e9
    return {phase: round(seconds, 1) for phase, seconds in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--fragments", type=int, default=32)
    parser.add_argument("--consultations", type=int, default=16)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the stack is stopped
    console = Console(width=120)
    passes: list[tuple[Pass, Pass]] = []
    overrides = {"rollout-worker": {"ANAMNESIS_ROLLOUT_CONCURRENCY": str(options.concurrency)}}
    with running_stack("bench-rollout", PROCESSES, overrides, console) as stack:
        traffic = Traffic(stack.bootstrap)
        console.print("slicing consultations into fragments (this warms the stack up)")
        workload = Workload(traffic, contexts=12)
        console.print("starting the bare engine")
        engine = BareEngine(
            InferenceSettings.model_validate({"state_dir": stack.state_dir}), stack.state_dir / "logs" / "bare.log"
        )
        try:
            warm_up = workload.requests(4, 4)
            replay(engine, play_on_stack(traffic, warm_up)[1], options.concurrency)
            console.print(
                f"each pass: {options.fragments} fragments in groups of 4, {options.consultations} consultations of up "
                f"to {TURNS} doctor turns, up to {TOKENS} tokens a turn, {options.concurrency} episodes at once"
            )
            for number in range(options.passes):
                on_stack, played = play_on_stack(traffic, workload.requests(options.fragments, options.consultations))
                ends = Counter(state_of(trajectory)[0] for trajectory in played)
                console.print(
                    f"pass {number + 1}, stack: {on_stack.tokens} tokens in {on_stack.seconds:.1f} s; "
                    f"{dict(ends)}; seconds of episodes by phase {seconds_by_phase(played)}"
                )
                bare = replay(engine, played, options.concurrency)
                console.print(f"pass {number + 1}, bare engine: {bare.tokens} tokens in {bare.seconds:.1f} s")
                passes.append((on_stack, bare))
        finally:
            engine.close()
            traffic.close()
    print(f"figures: {json.dumps(report(console, passes))}")


if __name__ == "__main__":
    main()
