"""`make bench-rubric`: how well and how fast the rubric service judges. What did not finish prints `incomplete`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, load_definition
from service_kit.local_stack.display import Display
from service_kit.local_stack.readiness import port_is_free
from tests.benchmarks.rubric import affinity, judging, matchers, memory

Figures = dict[str, float | int]
STATE = Path(".anamnesis").absolute()
REPLICAS = ("inference-frozen", "inference-frozen-2")
MODEL = STATE / "models" / "smollm2-135m-instruct"


@contextmanager
def two_replicas(console: Console) -> Iterator[LocalStack]:
    """Two engines of the frozen deployment, a thread each."""
    state_dir = STATE / "bench-rubric"
    LocalStack.recorded(state_dir, definition()).stop()
    shutil.rmtree(state_dir, ignore_errors=True)
    state_dir.mkdir(parents=True)
    for shared in ("models", "vllm-cache"):
        (STATE / shared).mkdir(exist_ok=True)
        (state_dir / shared).symlink_to(STATE / shared)
    whole = definition()
    ports = [port for process in whole.process for port in process.ports.values()]
    offset = next(offset for offset in range(400, 20000, 200) if all(port_is_free(port + offset) for port in ports))
    one_thread = {"ANAMNESIS_INFERENCE_THREADS": "1"}
    stack = LocalStack(state_dir, offset, dict.fromkeys(REPLICAS, one_thread), definition=whole)
    try:
        with Display(console, "Starting two replicas") as display:
            stack.start(display)
        yield stack
    finally:
        stack.stop()


def definition() -> StackDefinition:
    whole = load_definition()
    first = whole.find(REPLICAS[0])
    second = first.model_copy(
        update={"name": REPLICAS[1], "ports": {REPLICAS[1]: first.ports[REPLICAS[0]] + 10}},
    )
    return StackDefinition(process=(first, second), requires=whole.requires)


def memory_figures(console: Console) -> Figures:
    found = memory.measure()
    console.print(
        f"{memory.DIALOGUES} dialogues x {memory.CRITERIA} criteria in one streamed call: {found.seconds:.1f} s, "
        f"peak RSS {found.peak_mb:.0f} MB (idle {found.idle_mb:.0f}, after a tenth {found.tenth_mb:.0f})"
    )
    return {"peak_rss_mb": round(found.peak_mb, 1), "score_seconds": round(found.seconds, 1)}


def affinity_figures(stack: LocalStack, console: Console) -> Figures:
    found = asyncio.run(affinity.measure([stack.targets[name] for name in REPLICAS], MODEL, console))
    console.print(affinity.table(found))
    best = max(found, key=lambda one: one.speedup)
    console.print(f"largest gain: {best.speedup:.2f} at a prefix of {best.prefix_tokens} tokens")
    return {
        "affinity_cached_share": round(min(one.cached_share for one in found), 4),
        "affinity_speedup": round(best.speedup, 3),
        "affinity_bound": round(best.bound, 3),
    }


def judge_figures(stack: LocalStack, console: Console) -> Figures:
    return asyncio.run(judging.measure(",".join(stack.targets[name] for name in REPLICAS), console))


class Run:
    """One part after the other; what fails is said, and takes none of the others with it."""

    def __init__(self, console: Console) -> None:
        self.figures: Figures = {}
        self.incomplete = False
        self._console = console

    def part(self, name: str, measure: Callable[[], Figures]) -> None:
        try:
            self.figures |= measure()
        except Exception as error:
            self.incomplete = True
            self._console.print(f"{name}: incomplete: {type(error).__name__}: {error}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-engine", action="store_true", help="memory and matchers alone")
    parser.add_argument("--only-affinity", action="store_true", help="nothing but the two replicas' prefixes")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the stack is stopped
    console = Console(width=140)
    run = Run(console)
    if not arguments.only_affinity:
        run.part("memory", lambda: memory_figures(console))
        run.part("matchers", lambda: matchers.figures(console))
    if not arguments.without_engine:
        with two_replicas(console) as stack:
            run.part("affinity", lambda: affinity_figures(stack, console))
            if not arguments.only_affinity:
                run.part("judge", lambda: judge_figures(stack, console))
    print(f"figures: {json.dumps(run.figures)}")
    sys.exit(run.incomplete)


if __name__ == "__main__":
    main()
