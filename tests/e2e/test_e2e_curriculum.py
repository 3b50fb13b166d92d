"""A whole small curriculum on the real stack: every stage succeeds, starts from the one before and accounts for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.curriculum import Finished, play, read_curriculum
from gateway.ledger import ledger_gaps

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CURRICULUM = """
name = "small"
preset = "smoke"
seed = 5
""" + "".join(f'\n[[stage]]\nstage = "{stage}"\n' for stage in ("mid", "sft", "rl1", "rl2", "rl3"))


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
async def test_a_model_goes_through_all_five_stages(stack: Any, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(CURRICULUM)
    plan = read_curriculum(tmp_path / "small.toml")
    async with AnamnesisClient(stack.targets["gateway"], None) as client:
        finished: list[Finished] = [one async for one in play(client, plan, Console())]
    runs = [one.run for one in finished]
    assert [run.error for run in runs] == [""] * 5
    assert all(run.state == trainer_pb2.RUN_STATE_SUCCEEDED and not ledger_gaps(run) for run in runs)
    assert [run.spec.start_from for run in runs] == ["", *(run.run_id for run in runs[:-1])]
    assert {"perplexity_medical", "perplexity_general", "gsm8k", "ifeval"} <= set(runs[0].general)
    assert all(run.HasField("held_out") for run in runs[1:])
    for run in runs:
        assert (stack.state_dir / "runs" / run.run_id / "model" / "model.safetensors").is_file()
