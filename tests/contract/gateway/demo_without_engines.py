"""The demo with a broker and a gateway alone; arguments: state directory, port offset, the trainer's address."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from gateway import demo
from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, load_definition


def main(state_dir: str, port_offset: str, trainer: str) -> int:
    whole = load_definition()
    gateway = whole.find("gateway")
    environment = {**gateway.env, "ANAMNESIS_GATEWAY_TRAINER_TARGET": trainer}
    for name in ("SIMULATOR", "RUBRIC", "INFERENCE_POLICY"):
        environment[f"ANAMNESIS_GATEWAY_{name}_TARGET"] = trainer
    alone = StackDefinition(
        process=(whole.find("broker"), gateway.model_copy(update={"depends_on": (), "env": environment})),
        topics=whole.topics,
    )
    setattr(demo, "LocalStack", partial(LocalStack, definition=alone))  # noqa: B010
    plan = demo.DemoPlan("demo", 0, {}, Path(state_dir), int(port_offset), keep_up=False)
    return demo.run_demo(plan, Console())


if __name__ == "__main__":
    # As at a terminal: what a shell started in its background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(*sys.argv[1:]))
