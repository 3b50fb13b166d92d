"""`anamnesis kafka dead-letters` and `anamnesis kafka replay`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from service_kit.errors import InvalidArgument
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.replay import Letter, Outcome, read_letters, replay
from service_kit.kafka.settings import KafkaSettings

PREFIX = "ANAMNESIS_KAFKA_"
MOST_REPLAYS = 3

kafka = typer.Typer(
    help="Messages that nobody could read. The broker: --bootstrap, and ANAMNESIS_KAFKA_* for the rest."
)

Bootstrap = Annotated[
    str | None,
    typer.Option(help="The broker; by default ANAMNESIS_KAFKA_BOOTSTRAP, or the laptop's.", show_default=False),
]
Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only these reasons; may be repeated.")]
FromTopic = Annotated[str | None, typer.Option(help="Only what came from this topic.", show_default=False)]


def register(app: typer.Typer) -> None:
    app.add_typer(kafka, name="kafka")


@kafka.command("dead-letters")
def list_letters(bootstrap: Bootstrap = None, reason: Reasons = None, topic: FromTopic = None) -> None:
    """List dead letters by reason: how many, from which topic, and what the newest says."""
    letters, _ = read_letters(kafka_settings(os.environ, bootstrap))
    Console().print(by_reason(selected(letters, reason, topic)))


@kafka.command("replay")
def replay_letters(
    bootstrap: Bootstrap = None,
    reason: Reasons = None,
    topic: FromTopic = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many, the oldest first.", show_default=False)
    ] = None,
    most_replays: Annotated[int, typer.Option(min=1, help="Refuse what was replayed so often.")] = MOST_REPLAYS,
    yes: Annotated[bool, typer.Option("--yes", help="Send them; without it, only tell what would be sent.")] = False,
) -> None:
    """Send dead letters once more to the topic that they came from, as they were. Without --yes nothing is sent."""
    settings = kafka_settings(os.environ, bootstrap)
    found, topics = read_letters(settings)
    letters = selected(found, reason, topic)
    waiting = [letter for letter in letters if not letter.sent_before]
    letters = waiting[:limit] if limit is not None else letters
    outcomes: dict[str, Counter[Outcome]] = defaultdict(Counter)
    console = Console()
    producer = EventProducer(settings, "anamnesis-replay") if yes else None
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("replaying" if yes else "looking", total=len(letters))

            def told(letter: Letter, outcome: Outcome, why: str) -> None:
                outcomes[letter.reason][outcome] += 1
                progress.advance(task)
                if outcome not in (Outcome.SENT, Outcome.WOULD_BE_SENT, Outcome.SENT_BEFORE):
                    place = f"{letter.origin.topic} {letter.origin.partition}:{letter.origin.offset}"
                    progress.console.print(f"{place}: {outcome}{f' ({why})' if why else ''}", highlight=False)

            replay(
                producer,
                letters,
                topics,
                limit=most_replays,
                timeout=settings.delivery_timeout_seconds,
                told=told,
            )
    finally:
        if producer is not None:
            producer.close()
    console.print(accounts(outcomes))
    total = sum(counts.total() for counts in outcomes.values())
    console.print(f"{total} of {len(letters)} selected letters are accounted for.", highlight=False)
    if not yes and any(counts[Outcome.WOULD_BE_SENT] for counts in outcomes.values()):
        console.print("Nothing was sent: --yes sends them.")
    if any(counts[Outcome.FAILED] for counts in outcomes.values()):
        raise typer.Exit(1)


def kafka_settings(environment: Mapping[str, str], bootstrap: str | None) -> KafkaSettings:
    """From ANAMNESIS_KAFKA_<SETTING>. Raises InvalidArgument, which names what is wrong and shows no value."""
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value
    }
    if bootstrap is not None:
        given["bootstrap"] = bootstrap
    try:
        return KafkaSettings.model_validate(given)
    except ValidationError as error:
        wrong = [
            f"{PREFIX}{'__'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors(include_input=False)
        ]
        raise InvalidArgument("environment", "; ".join(wrong)) from None


def selected(letters: Sequence[Letter], reasons: Sequence[str] | None, topic: str | None) -> list[Letter]:
    return [
        letter
        for letter in letters
        if (not reasons or letter.reason in reasons) and (topic is None or letter.origin.topic == topic)
    ]


def by_reason(letters: Sequence[Letter]) -> Table:
    table = Table(title=f"{len(letters)} dead letters", title_justify="left")
    for column in ("reason", "from", "letters", "replayed", "newest"):
        table.add_column(
            column, justify="right" if column in ("letters", "replayed") else "left", no_wrap=column == "reason"
        )
    kinds: dict[tuple[str, str], list[Letter]] = defaultdict(list)
    for letter in letters:
        kinds[letter.reason, letter.origin.topic].append(letter)
    for (reason, origin), alike in sorted(kinds.items()):
        sent = sum(letter.sent_before for letter in alike)
        table.add_row(reason, origin, str(len(alike)), str(sent), alike[-1].detail)
    return table


def accounts(outcomes: Mapping[str, Counter[Outcome]]) -> Table:
    table = Table(title="what became of them", title_justify="left")
    used = [outcome for outcome in Outcome if any(counts[outcome] for counts in outcomes.values())]
    table.add_column("reason", no_wrap=True)
    for outcome in used:
        table.add_column(str(outcome), justify="right")
    for reason, counts in sorted(outcomes.items()):
        table.add_row(reason, *(str(counts[outcome]) for outcome in used))
    return table
