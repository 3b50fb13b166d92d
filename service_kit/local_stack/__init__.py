"""The laptop's stack: starts, watches and stops the processes that stack.toml lists. It knows no service, only data."""

from service_kit.local_stack.progress import Phase, ProcessView, Progress
from service_kit.local_stack.stack import LocalStack
from service_kit.local_stack.supervised import StackError

__all__ = ["LocalStack", "Phase", "ProcessView", "Progress", "StackError"]
