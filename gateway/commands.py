"""What the gateway adds to `anamnesis`: chat, train, keys and demo. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import demo_command, evaluation_commands, key_commands, train_commands
from gateway.command_line import DEFAULT_TARGET, ApiKey, Target, examples, with_client


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "anamnesis chat    (you are the patient)",
            "anamnesis chat --case migraine-aura --seed 3    (you watch doctor and patient)",
            "anamnesis chat --case migraine-aura --as-doctor    (you are the doctor)",
            "anamnesis cases list    (the patients there are)",
        )
    )(chat)
    app.add_typer(train_commands.train, name="train")
    app.add_typer(evaluation_commands.evaluations, name="evaluations")
    app.add_typer(key_commands.keys, name="keys")
    app.command(epilog=demo_command.EXAMPLES)(demo_command.demo)


def chat(
    case: Annotated[
        str | None, typer.Option(help="A case of the library: `anamnesis cases list`.", show_default=False)
    ] = None,
    as_doctor: Annotated[bool, typer.Option("--as-doctor", help="Play the doctor yourself; needs --case.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed is the same patient.")] = 0,
    max_turns: Annotated[int, typer.Option(min=1, max=64, help="Doctor turns of a simulated consultation.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Length of a doctor's turn.")] = 160,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest word.")] = 0.7,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    """Talk with the doctor model, be the doctor yourself, or watch the two models talk."""
    if as_doctor and case is None:
        raise typer.BadParameter("a doctor needs a patient: give --case", param_hint="--as-doctor")
    from rich.console import Console

    from anamnesis.common.v1 import rollout_pb2
    from gateway.chat import Conversation
    from gateway.client import AnamnesisClient

    async def talk(client: AnamnesisClient) -> None:
        sampling = rollout_pb2.Sampling(temperature=temperature, top_p=0.95, max_tokens=max_tokens)
        conversation = Conversation(client, Console(), sampling=sampling, seed=seed, max_doctor_turns=max_turns)
        if case is None:
            await conversation.with_you_as_patient()
        elif as_doctor:
            await conversation.with_you_as_doctor(case)
        else:
            await conversation.watch_case(case)

    with_client(target, api_key, talk)
