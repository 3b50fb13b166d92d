"""The other processes of a run on this machine: rank 0 starts them, they train with it, and they end with it.

Ranks are marked in the environment as torchrun and accelerate mark them. A follower that dies takes the run with it:
rank 0 would wait for it for ever, and a run that was interrupted can be resumed.
"""

import argparse
import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from trainer_svc.config import RunConfig
from trainer_svc.records.orders import die_with

LEAVE_SECONDS = 10.0

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def followers(config: RunConfig, model: Path, seed: int, threads: int) -> Iterator[None]:
    """Makes this process rank 0 of config.devices.processes, and of one nothing at all."""
    count = config.devices.processes
    if count == 1:
        yield
        return
    os.environ |= rank_environment(0, count, _free_port())
    command = [sys.executable, "-m", "trainer_svc.learner.followers", "--config", config.model_dump_json()]
    command += ["--model", str(model), "--seed", str(seed), "--threads", str(threads), "--parent", str(os.getpid())]
    leaving = threading.Event()
    processes = [
        subprocess.Popen(command, env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(1, count)
    ]
    for process in processes:
        threading.Thread(target=_end_with, args=(process, leaving), daemon=True).start()
    try:
        yield
    finally:
        leaving.set()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LEAVE_SECONDS)
            process.kill()
            process.wait()


def rank_environment(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _end_with(process: "subprocess.Popen[bytes]", leaving: threading.Event) -> None:
    status = process.wait()
    if status and not leaving.is_set():
        logger.error("a rank died, and the run with it", extra={"status": status})
        os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer_svc.learner.followers")
    parser.add_argument("--config", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with(arguments.parent)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainer_svc.learner.engine import Engine

    torch.set_num_threads(arguments.threads)
    config = RunConfig.model_validate_json(arguments.config)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    with tempfile.TemporaryDirectory(prefix="trainer-") as scratch:
        Engine(config, model, tokenizer, arguments.seed, Path(scratch)).follow()
    # Its work is done. Ending the usual way would now and then abort on gloo's threads, and take the run with it
    # (pytorch/pytorch issue 190489).
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
