"""What a run came to, for people: held-out reward with its error, one consultation twice, the ledger, the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from anamnesis.common.v1 import dialogue_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.ledger import dropped_total, ledger_gaps, purpose_name
from gateway.watch import duration, state_name, state_style

_SPEAKERS = {
    dialogue_pb2.ROLE_ASSISTANT: ("doctor", "bold cyan"),
    dialogue_pb2.ROLE_USER: ("patient", "bold magenta"),
}


def print_report(run: trainer_pb2.Run, console: Console) -> None:
    console.print(_headline(run), highlight=False)
    if run.HasField("held_out"):
        console.print(held_out_table(run.held_out))
    if run.general:
        console.print(general_table(run.general))
    if run.example_before.messages or run.example_after.messages:
        console.print(consultation_table(run.example_before, run.example_after))
    if run.ledger:
        console.print(ledger_table(run))
        _print_ledger_verdict(run, console)
    for label, paths in (("plots", list(run.plot_paths)), ("checkpoint", [run.checkpoint_path])):
        for path in filter(None, paths):
            console.print(f"{label:<10}  {path}", markup=False, highlight=False, soft_wrap=True)


def _headline(run: trainer_pb2.Run) -> str:
    took = ""
    if run.HasField("started_at") and run.HasField("finished_at"):
        took = f" in {duration((run.finished_at.ToNanoseconds() - run.started_at.ToNanoseconds()) / 1e9)}"
    incarnation = f", incarnation {run.incarnation}" if run.incarnation > 1 else ""
    line = (
        f"Run [bold]{escape(run.run_id)}[/bold] ({stage_name(run.spec.stage)}, preset {escape(run.spec.preset)}, "
        f"seed {run.spec.seed}{incarnation}): "
        f"[{state_style(run.state)}]{state_name(run.state)}[/] after step {run.step}{took}"
    )
    if run.error:
        line += f"\n[red]{escape(run.error)}[/red]"
    if run.state == trainer_pb2.RUN_STATE_INTERRUPTED:
        line += f"\nIt goes on from its last checkpoint with: anamnesis train resume {escape(run.run_id)}"
    return line


def stage_name(stage: trainer_pb2.Stage.ValueType) -> str:
    return trainer_pb2.Stage.Name(stage).removeprefix("STAGE_").lower().replace("_", "-")


def held_out_table(held_out: trainer_pb2.HeldOut) -> Table:
    table = Table(
        title=f"Held out (n = {held_out.count}, cases or tasks never trained on, same seeds before and after)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("", "before", "after", "difference", "standard error"):
        table.add_column(heading, justify="left" if not heading else "right")
    difference = held_out.mean_after - held_out.mean_before
    error = held_out.diff_standard_error
    in_errors = f" ({difference / error:+.1f} SE)" if error > 0 and math.isfinite(error) else ""
    table.add_row(
        "reward (trained)",
        f"{held_out.mean_before:.3f}",
        f"{held_out.mean_after:.3f}",
        f"{difference:+.3f}{in_errors}",
        f"{error:.3f}",
    )
    untrained = held_out.untrained_after - held_out.untrained_before
    table.add_row(
        "coherence (untrained)",
        f"{held_out.untrained_before:.3f}",
        f"{held_out.untrained_after:.3f}",
        f"{untrained:+.3f}",
        "",
    )
    return table


def general_table(general: Mapping[str, trainer_pb2.Change]) -> Table:
    table = Table(title="What it did to everything else", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "before", "after", "change"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, change in sorted(general.items()):
        if name.startswith("perplexity_"):
            label = f"perplexity, {name.removeprefix('perplexity_')} texts"
            ratio = change.after / change.before - 1 if change.before else math.nan
            table.add_row(label, f"{change.before:.2f}", f"{change.after:.2f}", f"{ratio:+.1%}")
        else:
            solved = f"{name} solved (n = {change.count})"
            table.add_row(solved, f"{change.before:.1%}", f"{change.after:.1%}", f"{change.after - change.before:+.1%}")
    return table


def ledger_table(run: trainer_pb2.Run) -> Table:
    table = Table(title="Ledger: where every request went", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("purpose", "published", "trained", "used", "dropped", "outstanding", "duplicates"):
        table.add_column(heading, justify="left" if heading == "purpose" else "right", no_wrap=True)
    for account in run.ledger:
        counts = (account.trained, account.used, dropped_total(account), account.outstanding, account.duplicates)
        table.add_row(purpose_name(account), str(account.published), *map(str, counts))
    return table


def _print_ledger_verdict(run: trainer_pb2.Run, console: Console) -> None:
    for account in run.ledger:
        if account.dropped:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(account.dropped.items()))
            console.print(f"dropped of {purpose_name(account)}: {escape(reasons)}", highlight=False)
    gaps = ledger_gaps(run)
    if not gaps:
        console.print("[green]The ledger adds up:[/green] published = trained + used + dropped + outstanding.")
    for gap in gaps:
        console.print(f"[bold red]The ledger has a gap:[/bold red] {escape(gap)}")


def consultation_table(before: dialogue_pb2.Dialogue, after: dialogue_pb2.Dialogue) -> Table:
    """The same held-out case, persona and seed, turn beside turn."""
    table = Table(
        title="One held-out consultation, before and after training",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_lines=False,
        expand=True,
    )
    table.add_column("before", ratio=1)
    table.add_column("after", ratio=1)
    left, right = spoken(before), spoken(after)
    for index in range(max(len(left), len(right))):
        table.add_row(*(turns[index] if index < len(turns) else "" for turns in (left, right)))
    return table


def spoken(dialogue: dialogue_pb2.Dialogue) -> list[str]:
    """The turns as markup, without the doctor's instructions."""
    turns = []
    for message in dialogue.messages:
        if message.role in _SPEAKERS:
            speaker, style = _SPEAKERS[message.role]
            turns.append(f"[{style}]{speaker}[/]  {escape(message.content.strip())}")
    return turns


def runs_table(runs: Sequence[trainer_pb2.Run]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for heading in ("run", "preset", "state", "step", "started", "held-out"):
        table.add_column(heading, no_wrap=True, overflow="fold")  # a run's id is there to be copied
    for run in runs:
        held_out = (
            f"{run.held_out.mean_before:.3f} -> {run.held_out.mean_after:.3f}" if run.HasField("held_out") else "-"
        )
        started = run.started_at.ToDatetime().strftime("%m-%d %H:%M") if run.HasField("started_at") else "-"
        table.add_row(
            run.run_id,
            run.spec.preset,
            f"[{state_style(run.state)}]{state_name(run.state)}[/]",
            f"{run.step}/{run.total_steps}",
            started,
            held_out,
        )
    return table
