"""`anamnesis simulator evaluate`: what it asks for, and what it prints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.errors import Unavailable
from service_kit.grpc.channel import open_channel
from simulator_svc.cases.model import Case
from simulator_svc.evaluate.case_source import load_cases
from simulator_svc.evaluate.cast import balanced_personas
from simulator_svc.evaluate.choices import DoctorKind, Unit
from simulator_svc.evaluate.conditions import patient_without
from simulator_svc.evaluate.doctors.model import ModelDoctor
from simulator_svc.evaluate.engagements import attacked, scripted
from simulator_svc.evaluate.measure import Measured, measure, score
from simulator_svc.evaluate.patients import PatientUnderTest, ServedPatient
from simulator_svc.evaluate.play import Engagement, play
from simulator_svc.evaluate.report import as_json, axes_table, table
from simulator_svc.language import FrozenLanguageModel
from simulator_svc.patient import PatientSettings

_DOCTOR_PROMPT = Path(__file__).parent.parent / "prompts" / "doctor.txt"
_DRAFT_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    cases: Path | None
    doctor: DoctorKind
    turns: int
    each: int
    seed: int
    at_once: int
    # The patient's service; for an ablation, the frozen engine; for a model doctor, the policy.
    target: str
    frozen: str
    policy: str
    ablate: Sequence[Unit]
    json_file: Path | None
    plot_file: Path | None


def run(options: Options, console: Console) -> dict[str, Measured]:
    cases = load_cases(options.cases)
    measured = asyncio.run(_measured(options, cases, console))
    console.print(table(measured, f"{options.doctor} doctor, {len(cases)} cases, seed {options.seed}"))
    if any(column.personification for column in measured.values()):
        console.print(axes_table(measured))
    if options.json_file:
        options.json_file.write_text(json.dumps(as_json(measured), indent=2), encoding="utf-8")
    if options.plot_file:
        from simulator_svc.evaluate.plot import plot

        plot(measured, options.plot_file)
    return measured


async def _measured(options: Options, cases: Sequence[Case], console: Console) -> dict[str, Measured]:
    channels = {name: open_channel(name) for name in (options.target, options.frozen, options.policy)}
    try:
        frozen = FrozenLanguageModel(
            inference_pb2_grpc.InferenceServiceStub(channels[options.frozen]),
            inference_pb2.PRIORITY_ROLLOUT,
            _DRAFT_SECONDS,
        )
        patients: dict[str, PatientUnderTest] = {}
        if options.ablate:
            patients["whole"] = patient_without(None, frozen, PatientSettings())
            patients |= {f"no {unit}": patient_without(unit, frozen, PatientSettings()) for unit in options.ablate}
        else:
            stub = simulator_pb2_grpc.PatientSimulatorServiceStub(channels[options.target])
            patients["served"] = ServedPatient(stub)
        policy = inference_pb2_grpc.InferenceServiceStub(channels[options.policy])
        measured = {}
        for condition, patient in patients.items():
            engagements = _engagements(options, cases, policy)
            with _progress(console) as progress:
                bar = progress.add_task(condition, total=options.turns * len(engagements))
                played = await play(
                    patient, engagements, at_once=options.at_once, on_turn=partial(progress.advance, bar)
                )
            if all(consultation.broken and not consultation.turns for consultation in played):
                where = options.frozen if options.ablate else options.target
                raise Unavailable(condition, f"no consultation came about with {where}; is the stack up (make up)?")
            measured[condition] = measure([score(consultation) for consultation in played], options.seed)
        return measured
    finally:
        for channel in channels.values():
            await channel.close(None)


def _engagements(
    options: Options, cases: Sequence[Case], policy: inference_pb2_grpc.InferenceServiceStub
) -> list[Engagement]:
    if options.doctor is DoctorKind.SCRIPTED:
        return scripted(cases, options.seed, turns=options.turns, each=options.each)
    if options.doctor is DoctorKind.ATTACKS:
        return attacked(cases, options.seed, turns=options.turns, least=options.turns * options.each * len(cases))
    cast = balanced_personas(options.seed)
    instructions = _DOCTOR_PROMPT.read_text(encoding="utf-8").strip()
    return [
        Engagement(
            case,
            next(cast),
            options.seed + number,
            ModelDoctor(policy, instructions, options.seed + 1000 * number, turns=options.turns),
            "model",
        )
        for number, case in enumerate(list(cases) * options.each)
    ]


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("turns"), TimeElapsedColumn(),
        console=console, transient=True,
    )  # fmt: skip
