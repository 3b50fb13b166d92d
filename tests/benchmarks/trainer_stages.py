"""What mid-training and SFT do, on the laptop's model and the public data: figures for `make bench-trainer`.

SFT runs on a stack of its own, through the public API: candidates from the policy, verdicts from the rubric service,
the held-out pass rate before and after. What did not finish is None, and why is printed.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from rich.console import Console

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.demo import fresh_demo_state
from gateway.report import print_report
from gateway.watch import watch_run
from service_kit.errors import ServiceError
from service_kit.local_stack import LocalStack
from service_kit.local_stack.display import Display
from tests.benchmarks.trainer_mid_training import MEDICAL, OWN_ANSWERS, PROSE, ratios, table
from trainer_svc.config import resolve
from trainer_svc.settings import TrainerSettings

# Small enough for two cores: the figures are changes of one model, not its level.
MID = {
    "schedule.steps": "10",
    "supervised.row_tokens": "96",
    "evaluation.perplexity_tokens": "768",
    "optimizer.learning_rate": "5e-4",
}
SFT = {
    "data.tasks": '["mediq:mediq/all_dev_good.jsonl"]',
    "selection.pool": "64",
    "selection.tasks": "32",
    "selection.candidates": "4",
    "sampling.max_tokens": "48",
    "evaluation.tasks": "48",
    "evaluation.max_tokens": "48",
    "evaluation.gsm8k": "0",
    "evaluation.ifeval": "0",
    "evaluation.perplexity_tokens": "0",
    "schedule.steps": "12",
    "supervised.rows_per_step": "4",
}
SEED = 1
PORT_OFFSET = 600


def measure() -> dict[str, float | None]:
    """The pass rates of SFT, and of mid-training perplexities after over before: `general` is of the base model's own
    answers to general prompts, `prose` of plain prose.
    """
    names = [f"{probe}_ppl_ratio_{kl}" for probe in ("general", "prose", "medical") for kl in ("kl", "nokl")]
    figures: dict[str, float | None] = dict.fromkeys(("sft_pass_before", "sft_pass_after", *names))
    if not TrainerSettings().data.is_dir():
        print("incomplete: the public data are not there")
        return figures
    console = Console()
    preset = resolve("laptop", MID, "mid").supervised.kl_weight
    found = ratios((preset, 0.0), MID)
    console.print(table(found))
    for weight, kl in ((preset, "kl"), (0.0, "nokl")):
        for name, probe in (("general", OWN_ANSWERS), ("prose", PROSE), ("medical", MEDICAL)):
            figures[f"{name}_ppl_ratio_{kl}"] = round(found[weight][probe], 4)
    run = sft_run(console)
    if run.state == trainer_pb2.RUN_STATE_SUCCEEDED and run.HasField("held_out"):
        figures |= {"sft_pass_before": run.held_out.mean_before, "sft_pass_after": run.held_out.mean_after}
    else:
        print(f"incomplete: {run.error}")
    return figures


def sft_run(console: Console) -> trainer_pb2.Run:
    stack = LocalStack(fresh_demo_state(Path(".anamnesis")), port_offset=PORT_OFFSET)
    try:
        with Display(console, "Starting") as display:
            stack.start(display)
        return asyncio.run(_sft(stack.targets["gateway"], console))
    except ServiceError as error:
        return trainer_pb2.Run(error=error.message)
    finally:
        stack.stop()


async def _sft(target: str, console: Console) -> trainer_pb2.Run:
    async with AnamnesisClient(target) as client:
        started = await client.start_run("laptop", SFT, seed=SEED, stage=trainer_pb2.STAGE_SFT)
        run = await watch_run(client, started.run_id, console)
        print_report(run, console)
        return run


if __name__ == "__main__":
    print(f"figures: {json.dumps(measure())}")
