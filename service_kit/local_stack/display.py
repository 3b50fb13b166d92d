"""Shows the stack's progress: a live table on a terminal, and elsewhere one plain line whenever something changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from service_kit.local_stack.progress import Phase, ProcessView

STYLES = {
    Phase.WAITING: "dim",
    Phase.STARTING: "yellow",
    Phase.READY: "green",
    Phase.FAILED: "bold red",
    Phase.STOPPING: "yellow",
    Phase.STOPPED: "dim",
}
# A plain display repeats what a slow process is doing after this long.
REPEAT_SECONDS = 10.0
PLAIN_WIDTH = 100


def table(views: Sequence[ProcessView], title: str) -> Table:
    grid = Table(title=title, title_justify="left", expand=False, pad_edge=False, box=None)
    grid.add_column("process", no_wrap=True)
    grid.add_column("state", no_wrap=True)
    grid.add_column("seconds", justify="right", no_wrap=True)
    grid.add_column("port", justify="right", no_wrap=True)
    grid.add_column("pid", justify="right", no_wrap=True)
    grid.add_column("doing", no_wrap=True, overflow="ellipsis")
    for view in views:
        grid.add_row(
            view.name,
            Text(view.phase.value, style=STYLES[view.phase]),
            f"{view.seconds:.0f}" if view.pid is not None else "",
            str(view.port or ""),
            str(view.pid or ""),
            Text(view.doing),
        )
    return grid


class Display:
    """A Progress that is open while something is waited for."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._live = Live(console=console, refresh_per_second=5) if console.is_terminal else None
        self._shown: dict[str, tuple[Phase, float]] = {}

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        else:
            self._console.print(self._title, highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, views: Sequence[ProcessView]) -> None:
        if self._live is not None:
            self._live.update(table(views, self._title))
            return
        for view in views:
            self._print_change(view)

    def _print_change(self, view: ProcessView) -> None:
        phase, shown_at = self._shown.get(view.name, (Phase.WAITING, 0.0))
        now = time.monotonic()
        repeats = view.phase in (Phase.STARTING, Phase.STOPPING) and now - shown_at >= REPEAT_SECONDS
        if view.phase is phase and not repeats:
            return
        self._shown[view.name] = (view.phase, now)
        if view.found and view.phase is Phase.READY:
            return
        line = f"  {view.name}: {view.phase.value}"
        if view.phase in (Phase.READY, Phase.STOPPED):
            line += f" after {view.seconds:.1f} s"
        elif view.phase is phase:
            line += f" for {view.seconds:.0f} s: {view.doing[:PLAIN_WIDTH]}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
