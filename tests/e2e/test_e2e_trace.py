"""One trace an episode: from the trainer's request through Kafka, the worker and the rubrics to the optimizer step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.finished_run import FinishedRun
from tests.otlp_receiver import OtlpReceiver, Span

pytestmark = pytest.mark.engine
PATIENCE_SECONDS = 60.0


def of_run(otlp: OtlpReceiver, name: str, run_id: str) -> list[Span]:
    return [span for span in otlp.spans(name=name) if span.attributes.get("anamnesis.run_id") == run_id]


def path_to_root(span: Span, trace: list[Span]) -> list[str]:
    """Service and name of the span and all its ancestors, the root first."""
    by_id = {other.span_id: other for other in trace}
    path = [span]
    while path[0].parent_id:
        path.insert(0, by_id[path[0].parent_id])
    return [f"{step.service} {step.name}" for step in path]


@pytest.fixture
def trained_trace(stack: Any, smoke_run: FinishedRun) -> list[Span]:
    """All spans of an episode that the run's last step links to."""
    otlp: OtlpReceiver = stack.otlp
    run = smoke_run.run

    def last_step(receiver: OtlpReceiver) -> Span | None:
        steps = of_run(receiver, "trainer.step", run.run_id)
        return steps[-1] if len(steps) == run.total_steps else None

    step: Span = otlp.wait_for(last_step, PATIENCE_SECONDS)
    trace_id, _ = step.links[0]

    def complete(receiver: OtlpReceiver) -> list[Span] | None:
        spans = receiver.spans(trace_id=trace_id)
        names = {span.name for span in spans}
        published = sum(span.kind == "PRODUCER" for span in spans)
        return spans if {"trainer.request", "rollout.episode", "rollout.scoring"} <= names and published == 2 else None

    spans: list[Span] = otlp.wait_for(complete, PATIENCE_SECONDS)
    return spans


def test_the_trainers_request_is_the_root_and_the_worker_continues_it(trained_trace: list[Span]) -> None:
    roots = [span for span in trained_trace if not span.parent_id]
    assert [(root.service, root.name) for root in roots] == [("trainer", "trainer.request")]
    (episode,) = [span for span in trained_trace if span.name == "rollout.episode"]
    path = path_to_root(episode, trained_trace)
    assert path[0] == "trainer trainer.request"
    assert path[1] == "trainer send anamnesis.rollout.requests.v1"
    assert path[2] == "rollout process anamnesis.rollout.requests.v1"


def test_the_doctors_turn_reaches_the_policy_and_the_score_reaches_the_rubric(trained_trace: list[Span]) -> None:
    servers = {
        (span.service, span.name): path_to_root(span, trained_trace) for span in trained_trace if span.kind == "SERVER"
    }
    generate = next(path for (_, name), path in servers.items() if name.endswith("InferenceService/GenerateBatch"))
    assert any(step.endswith("rollout.doctor_turn") for step in generate)
    score = next(path for (_, name), path in servers.items() if name.endswith("RubricService/ScoreDialogue"))
    assert any(step.endswith("rollout.scoring") for step in score)
    judged = [span for span in trained_trace if span.name.startswith("rubric.judge.")]
    assert judged


def test_the_trajectory_is_published_in_the_same_trace_and_the_step_links_to_it(
    trained_trace: list[Span], stack: Any, smoke_run: FinishedRun
) -> None:
    (published,) = [span for span in trained_trace if span.name == "send anamnesis.rollout.trajectories.v1"]
    assert any(step.endswith("rollout.episode") for step in path_to_root(published, trained_trace))
    steps = of_run(stack.otlp, "trainer.step", smoke_run.run.run_id)
    links = {link for step in steps for link in step.links}
    assert (published.trace_id, published.span_id) in links
    assert smoke_run.run.traced_episodes == len(links)


def test_a_consultation_shows_the_patient_asking_the_frozen_model(stack: Any, smoke_run: FinishedRun) -> None:
    def patient_turn(receiver: OtlpReceiver) -> Span | None:
        episodes = of_run(receiver, "rollout.episode", smoke_run.run.run_id)
        traces = {span.trace_id for span in episodes if span.attributes["anamnesis.kind"].endswith("CONSULTATION")}
        return next((span for span in receiver.spans(name="rollout.patient_turn") if span.trace_id in traces), None)

    turn: Span = stack.otlp.wait_for(patient_turn, PATIENCE_SECONDS)
    spans = stack.otlp.spans(trace_id=turn.trace_id)
    assert path_to_root(turn, spans)[0] == "trainer trainer.request"


def test_no_words_of_a_consultation_stand_in_any_span(stack: Any, smoke_run: FinishedRun) -> None:
    said = [message.content for message in smoke_run.run.example_before.messages if len(message.content) > 20]
    assert said
    for span in stack.otlp.spans():
        text = repr(span.attributes)
        assert not any(words in text for words in said), span.name
