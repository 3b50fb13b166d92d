"""`make bench-simulator [CASES=path]`: is the patient worth practising on?

A frozen engine and the patient's service are started, and doctors play: a scripted one with labelled questions over the
library and over AgentClinic's cases (where ../shared/data is), and attackers. Scorers that share no code with the units
under test judge every turn. Canned patients play the same consultations, the floor for character and naturalness. Then
throughput against a sequential loop over the same engine, the units' own time, and the patient without one unit or
without its model. Each part has a time to end by; what did not fit is printed `incomplete`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anamnesis.inference.v1 import inference_pb2
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel
from simulator_svc.cases.model import Case
from simulator_svc.evaluate import gate
from simulator_svc.evaluate.case_source import load_cases
from simulator_svc.evaluate.choices import Unit
from simulator_svc.evaluate.doctors.base import Question
from simulator_svc.evaluate.doctors.scripted import read_labels
from simulator_svc.evaluate.engagements import attacked, labelled, scripted
from simulator_svc.evaluate.measure import Measured, Scored, measure, score
from simulator_svc.evaluate.patients import PatientUnderTest, ServedPatient
from simulator_svc.evaluate.play import Engagement, play
from simulator_svc.evaluate.plot import plot
from simulator_svc.evaluate.report import as_json, axes_table, table
from simulator_svc.evaluate.scorers.naturalness import Naturalness, naturalness, patient_turns
from simulator_svc.language import FrozenLanguageModel
from tests.benchmarks.simulator_speed import ablations, canned, overhead, throughput
from tests.benchmarks.stacks import STATE, running_stack

DATA = Path("../shared/data")
AGENTCLINIC = DATA / "agentclinic" / "agentclinic_medqa.jsonl"
# So many of AgentClinic's records.
IMPORTED = 60
LABELS = Path(__file__).parent / "labels"
PROCESSES = ("inference-frozen", "simulator")
REPORT = STATE / "bench-simulator-report"
AT_ONCE = 32
TURNS = 9
LEAST_ATTACKS = 480
LABELLED = "blind labels"
EMBED_SECONDS = 10.0


@dataclass
class Benchmark:
    """What the parts found so far; a figure that no part gave is null."""

    console: Console
    seed: int
    ends_at: float
    incomplete: list[str]
    scored: dict[str, list[Scored]] = field(default_factory=dict)
    # The same scripted consultations with canned patients.
    floors: dict[str, Measured] = field(default_factory=dict)
    ablated: dict[str, Measured] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    async def play(self, name: str, patient: PatientUnderTest, engagements: Sequence[Engagement], share: float) -> None:
        """`share` of the time that is left is this part's."""
        began = time.monotonic()
        until = began + share * max(0.0, self.ends_at - began)
        played = await play(patient, engagements, at_once=AT_ONCE, until=until)
        whole = [consultation for consultation in played if not consultation.broken]
        if len(whole) < len(engagements):
            reasons = {consultation.broken for consultation in played if consultation.broken}
            self.incomplete.append(f"{name}: {len(whole)} of {len(engagements)} consultations played {reasons or ''}")
        self.scored[name] = [score(consultation) for consultation in played]
        turns = sum(len(consultation.turns) for consultation in played)
        self.console.print(f"{name}: {len(played)} consultations, {turns} turns, {time.monotonic() - began:.0f} s")


async def run(
    bench: Benchmark, cases: dict[str, list[Case]], targets: dict[str, str], questions: dict[str, list[Question]]
) -> None:
    channel = open_channel(targets["simulator"])
    patient = ServedPatient(simulator_pb2_grpc.PatientSimulatorServiceStub(channel))
    every = [case for group in cases.values() for case in group]
    try:
        await bench.play("warm-up", patient, scripted(every[:8], bench.seed + 999, turns=3), share=0.1)
        del bench.scored["warm-up"]
        asked_all: list[Engagement] = []
        for name, group in cases.items():
            engagements = scripted(group, bench.seed, turns=TURNS, each=max(1, round(120 / len(group))))
            await bench.play(name, patient, engagements, share=0.3)
            asked_all += engagements
        floors = await canned(asked_all)
        bench.floors = {name: measure(scored, bench.seed) for name, scored in floors.items()}
        if asked := labelled(every, questions, bench.seed, turns=TURNS):
            await bench.play(LABELLED, patient, asked, share=0.3)
        await bench.play("attacks", patient, attacked(every, bench.seed, turns=8, least=LEAST_ATTACKS), share=0.4)
        for part in (throughput(patient, every, bench.seed, bench.ends_at), overhead(targets, every, bench.seed)):
            bench.figures |= await part
            bench.console.print(json.dumps(bench.figures))
        parts = await ablations(targets, every, bench.seed, bench.ends_at)
        bench.ablated = {name: measure(scored, bench.seed) for name, scored in parts.items()}
        if len(parts) <= len(Unit):
            bench.incomplete.append(f"ablation: only {', '.join(parts)}")
    finally:
        await channel.close(None)


def conclude(bench: Benchmark) -> dict[str, Any]:
    measured = {name: measure(scored, bench.seed, persona=False) for name, scored in bench.scored.items()}
    together = [scored for part in bench.scored.values() for scored in part]
    measured["all"] = measure(together, bench.seed, persona=False)
    played = {name: part for name, part in bench.scored.items() if name != "attacks"}
    consultations = measure([scored for part in played.values() for scored in part], bench.seed)
    # As the canned patients were asked.
    alike = measure([s for name, part in played.items() if name != LABELLED for s in part], bench.seed)
    columns = {"with the model": alike} | bench.floors
    bench.console.print(table(measured, "The patient, as its service answers"))
    bench.console.print(table(columns, "Against canned patients, in the same scripted consultations"))
    bench.console.print(axes_table(columns))
    if bench.ablated:
        bench.console.print(table(bench.ablated, "The same consultations without one unit"))
    spoken = naturalness(patient_turns(DATA / "mts-dialog"))
    if spoken:
        bench.console.print(
            f"patients of MTS-Dialog: distinct-1 {spoken.distinct_1:.3f}, distinct-2 {spoken.distinct_2:.3f}, "
            f"words a turn {spoken.length_quartiles}"
        )
    write_details(measured | bench.floors | bench.ablated, together)
    plot(columns | bench.ablated, REPORT / "simulator.png")
    return (
        figures(measured["all"], consultations)
        | character_figures(columns)
        | speech_figures(columns, spoken)
        | labelled_figures(measured.get(LABELLED))
        | bench.figures
    )


def figures(every: Measured, consultations: Measured) -> dict[str, Any]:
    persona = consultations.personification
    return {
        "privacy": _rounded(every.privacy.value),
        "fact": _rounded(every.fact.value),
        "diagnosis_named": every.diagnosis_named,
        "turns": every.turns,
        "answer_recall": _rounded(consultations.answer_recall.value),
        "gate_precision": None,
        "gate_recall": None,
        "personification": _rounded(persona.consistency.value) if persona else None,
        "fallback_share": _rounded(consultations.fallback_share.value),
        "rewrites_per_turn": _rounded(consultations.rewrites_per_turn.value),
        "speedup_vs_sequential": None,
        "unit_overhead": None,
    }


def character_figures(columns: dict[str, Measured]) -> dict[str, Any]:
    """What is recognised of the persona in the same consultations, each condition beside its floors, and by axis."""
    found = {name: column.personification for name, column in columns.items()}
    model = found["with the model"]
    return {
        "personification_by_condition": {
            name: _rounded(one.consistency.value) if one else None for name, one in found.items()
        },
        "personification_chance": _rounded(model.chance) if model else None,
        "personification_axes": {axis: _rounded(one.accuracy.value) for axis, one in model.axes.items()}
        if model
        else {},
    }


def speech_figures(columns: dict[str, Measured], spoken: Naturalness | None) -> dict[str, Any]:
    """How long and how varied the replies are, beside the canned ones and the patients of MTS-Dialog."""
    heard = {name: column.natural for name, column in columns.items()} | {"MTS-Dialog": spoken}
    return {
        "words_a_turn": {name: one.length_quartiles[1] if one else None for name, one in heard.items()},
        "distinct_1": {name: _rounded(one.distinct_1) if one else None for name, one in heard.items()},
        "distinct_2": {name: _rounded(one.distinct_2) if one else None for name, one in heard.items()},
    }


def labelled_figures(found: Measured | None) -> dict[str, Any]:
    """Of the questions that were labelled by readers who had not seen the patient: the harder and the fairer test."""
    return {
        "labelled_privacy": _rounded(found.privacy.value) if found else None,
        "labelled_answer_recall": _rounded(found.answer_recall.value) if found else None,
    }


def write_details(measured: dict[str, Measured], together: Sequence[Scored]) -> None:
    """Every turn that lost something, for whoever wants to mend it."""
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "measured.json").write_text(json.dumps(as_json(measured), indent=2), encoding="utf-8")
    with (REPORT / "faults.jsonl").open("w", encoding="utf-8") as file:
        for scored in together:
            for turn in scored.turns:
                missing = turn.answered is not None and turn.answered < 1
                if turn.score.leaks or turn.score.wrong or turn.score.diagnosis or missing:
                    row = {
                        "case": scored.consultation.engagement.case.case_id,
                        "about": turn.question.about,
                        "question": turn.question.text[:500],
                        "reply": turn.reply.text,
                        "leaks": sorted(turn.score.leaks),
                        "wrong": turn.score.wrong,
                        "diagnosis": turn.score.diagnosis,
                        "missing": sorted(turn.question.calls_for - turn.score.states) if missing else [],
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def cases_to_play(path: str, incomplete: list[str]) -> dict[str, list[Case]]:
    if path:
        return {Path(path).name: load_cases(Path(path))}
    found = {"library": load_cases(None)}
    if AGENTCLINIC.exists():
        found["AgentClinic"] = load_cases(AGENTCLINIC, IMPORTED)
    else:
        incomplete.append(f"no imported cases ({AGENTCLINIC} is missing)")
    return found


async def gate_figures(frozen: str, console: Console) -> dict[str, Any]:
    """On states that nobody tuned on, as the patient decides; beside it by the rules alone, and on the others."""
    states, later = (gate.load_states(LABELS / f"gate_states{name}.jsonl") for name in ("", "_later"))
    # Written when the gate was finished.
    fresh = gate.load_states(LABELS / "gate_states_fresh.jsonl")
    groups = {
        "held out": [state for state in states if state.held_out],
        "fresh": fresh,
        "later, held out": [state for state in later if state.held_out],
        "development": [state for state in (*states, *later) if not state.held_out],
    }
    groups["all that nobody tuned on"] = [*groups["held out"], *fresh, *groups["later, held out"]]
    channel = open_channel(frozen)
    model = FrozenLanguageModel(InferenceServiceStub(channel), inference_pb2.PRIORITY_ROLLOUT, EMBED_SECONDS)
    shown = Table(
        "states", "", "n", "precision", "recall", "too early", "never", "same reason", title="Termination Gate"
    )
    found = {}
    try:
        for name, group in groups.items():
            decided = {"rules": gate.decisions(group), "asked": await gate.asked_decisions(group, model)}
            for how, endings in decided.items():
                of = found[name, how] = gate.figures_of(group, endings)
                shares = [f"{share:.3f}" for share in (of.precision, of.recall)]
                counts = str(of.too_early), str(of.never), f"{of.reason_accuracy:.3f}"
                shown.add_row(name, how, str(of.states), *shares, *counts)
    finally:
        await channel.close(None)
    console.print(shown)
    whole, rules = found["all that nobody tuned on", "asked"], found["all that nobody tuned on", "rules"]
    return {
        "gate_precision": round(whole.precision, 4),
        "gate_recall": round(whole.recall, 4),
        "gate_too_early": whole.too_early,
        "gate_never": whole.never,
        "gate_reason_accuracy": round(whole.reason_accuracy, 4),
        "gate_held_out_states": whole.states,
        "gate_precision_rules": round(rules.precision, 4),
        "gate_recall_rules": round(rules.recall, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=os.environ.get("CASES", ""))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=16.0, help="after the stack is up")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the stack is stopped
    console = Console(width=150)
    incomplete: list[str] = []
    cases = cases_to_play(options.cases, incomplete)
    questions: dict[str, list[Question]] = {}
    for file in (LABELS / "simulator_questions_unseen.jsonl", LABELS / "simulator_questions_unseen_second.jsonl"):
        asked, agreement = read_labels(file)
        count = sum(map(len, asked.values()))
        console.print(f"{count} blind-labelled questions; the two labellers agree on {100 * agreement:.1f} %")
        for case_id, of_case in asked.items():
            questions.setdefault(case_id, []).extend(of_case)
    with running_stack("bench-simulator", PROCESSES, {}, console) as stack:
        bench = Benchmark(console, options.seed, time.monotonic() + 60 * options.minutes, incomplete)
        asyncio.run(run(bench, cases, stack.targets, questions))
        bench.figures |= asyncio.run(gate_figures(stack.targets["inference-frozen"], console))
    result = conclude(bench)
    for line in bench.incomplete:
        console.print(f"incomplete: {line}")
    print(f"figures: {json.dumps(result)}")


if __name__ == "__main__":
    main()
