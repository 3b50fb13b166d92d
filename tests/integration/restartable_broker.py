"""A broker that goes away and comes back, with its log, as often as a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, load_definition
from tests.conftest import free_port_offset


class Broker:
    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @property
    def bootstrap(self) -> str:
        return self._stack.bootstrap

    def stop(self) -> None:
        self._stack.stop_one("broker")

    def start(self) -> None:
        self._stack.restart("broker")


@contextmanager
def restartable_broker(state_dir: Path) -> Iterator[Broker]:
    whole = load_definition()
    alone = StackDefinition(process=(whole.find("broker"),), topics=whole.topics)
    stack = LocalStack(state_dir, free_port_offset(alone), definition=alone)
    stack.start()
    try:
        yield Broker(stack)
    finally:
        stack.stop()
