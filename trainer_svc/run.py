"""One run, from the base model to the report: `play` is the story, the methods below it are its chapters.

Invariant: at every checkpoint the journal, the ledger's outcomes and the weights tell the same step; whatever happened
after it has not happened for a run that resumes. The process may die at any instruction.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from opentelemetry import trace

from anamnesis.common.v1 import rollout_pb2
from service_kit.spans import end_with, traced
from trainer_svc.figures import measures
from trainer_svc.figures.general import compare_general
from trainer_svc.figures.heldout import Measured, compare, measured
from trainer_svc.flow.admission import capacity, whole_groups
from trainer_svc.flow.exchange import Exchange
from trainer_svc.flow.groups import FreshMember
from trainer_svc.flow.requests import EVALUATE, TRAIN, Plan
from trainer_svc.flow.step import Step
from trainer_svc.learner.batches import Group, Sample
from trainer_svc.learner.checkpoint import Checkpoints
from trainer_svc.learner.engine import Engine
from trainer_svc.learner.learner import EngineState, Learner
from trainer_svc.learner.trainer import StepResult
from trainer_svc.publication.model_directory import write_model
from trainer_svc.publication.publish import WeightPublisher, replace_text
from trainer_svc.records.journal import Journal, Measurement
from trainer_svc.records.ledger import Entry, Ledger
from trainer_svc.records.orders import Orders
from trainer_svc.records.runs import RunStore
from trainer_svc.settings import TrainerSettings
from trainer_svc.tracking.alerts import alerts
from trainer_svc.tracking.tracker import Tracker

FINISHED_REASON = "run_finished"

_tracer = trace.get_tracer(__name__)


class RunFailed(Exception):
    """The run cannot go on; the message is for people."""


class Run:
    def __init__(
        self,
        *,
        settings: TrainerSettings,
        store: RunStore,
        plan: Plan,
        incarnation: int,
        ledger: Ledger,
        orders: Orders,
        exchange: Exchange,
        journal: Journal,
        checkpoints: Checkpoints,
        publisher: WeightPublisher,
        tracker: Tracker,
        model_path: Path,
        load_engine: Callable[[], Learner],
        practise: Callable[["Run"], None],
        perplexities: Callable[[Learner], dict[str, float]],
        saved: EngineState | None,
    ) -> None:
        self._settings = settings
        self._store = store
        self.plan = plan
        self.config = plan.config
        self._incarnation = incarnation
        self._ledger = ledger
        self._orders = orders
        self._exchange = exchange
        self.journal = journal
        self._checkpoints = checkpoints
        self._publisher = publisher
        self._tracker = tracker
        self._model_path = model_path
        self._load_engine = load_engine
        self._practise = practise
        self._perplexities = perplexities
        self._saved = saved
        self._step = Step()

    @property
    def directory(self) -> Path:
        return self._settings.run_directory(self.plan.run_id)

    def play(self) -> None:
        self.load_model()
        self.publish_weights()
        self.take_up_unfinished_requests()
        self.evaluate("evaluating_before", self.journal.before, block=0)
        self._practise(self)
        self.write_model()
        self._exchange.drop_training(FINISHED_REASON)
        self.evaluate("evaluating_after", self.journal.after, block=1)
        self.write_report()

    def load_model(self) -> None:
        self.progress("loading_model", 0, 1)
        self.engine = self._load_engine()
        if self._saved is not None:
            self.engine.restore(self._saved)
        self.progress("loading_model", 1, 1)
        self._orders.check()

    def publish_weights(self) -> None:
        """Every policy replica serves this step's weights, or says why not and is left out until it does.

        Raises NoReplicaUpdated.
        """
        published = self._publisher.publish_patiently(
            self.engine.merged_weights(),
            self._version(),
            self._settings.stall_seconds,
            self._orders.check,
            self.notice,
        )
        for replica, said in sorted(published.failures.items()):
            self.notice(
                f"policy replica {replica} did not take step {self.journal.step} and is left out until it does: {said}"
            )
        for replica in published.returned:
            self.notice(f"policy replica {replica} has caught up at step {self.journal.step}")
        replace_text(self.directory / "published.json", published.manifest())

    def write_model(self) -> None:
        """The trained model in full precision, which the next stage starts from."""
        weights = self.engine.merged_weights(torch.float32)
        write_model(self.directory / "model", self._model_path, weights)

    def take_up_unfinished_requests(self) -> None:
        """What an earlier incarnation asked for: expected again, and asked again where the log may not have it."""
        outstanding = self._ledger.outstanding()
        self._exchange.expect(outstanding)
        for index in sorted({entry.group_index for entry in outstanding if entry.purpose == TRAIN}):
            members = [entry.request_id for entry in self.plan.entries(TRAIN, index)]
            self._exchange.groups.expect(index, members, time.monotonic())
            self.journal.next_group = max(self.journal.next_group, index + 1)
        if uncertain := self._ledger.uncertain(time.time()):
            self._ask(uncertain)
        for figures in self.journal.history[self._store.steps_told(self.plan.run_id) :]:
            self.tell_step(figures)

    def evaluate(self, phase: str, measurement: Measurement, block: int) -> None:
        """Held-out cases or tasks, and what training must not cost."""
        if measurement.finished:
            return
        measurement.perplexity = self._perplexities(self.engine)
        for index, trajectory in self._held_out(phase, block, self.plan.evaluated_count).items():
            measurement.values[index] = measured(trajectory)
            measurement.dialogues[index] = trajectory.dialogue
        measurement.finished = True
        self._keep_held_out(self.plan.held_out(measurement.values))

    def evaluate_between(self) -> None:
        """Held-out cases or tasks at the steps that ask for it; the weights of this one are served."""
        step, every, last = self.journal.step, self.config.evaluation.every_steps, self.config.schedule.steps
        if not every or step % every or not 0 < step < last or step in self.journal.held_out:
            return
        found = self._held_out("evaluating", 1 + step, self.plan.held_out_count)
        self._keep_held_out({index: measured(trajectory) for index, trajectory in found.items()})
        self.progress("training", step, last)

    def _held_out(self, phase: str, block: int, count: int) -> dict[int, rollout_pb2.Trajectory]:
        """The first `count` by index, which asks the same in every block."""
        first = block * self.plan.evaluated_count
        entries = [entry for i in range(count) for entry in self.plan.entries(EVALUATE, first + i)]
        found = self.collect(phase, entries, (rollout_pb2.TERMINAL_STATE_COMPLETED,))
        if count and not found:
            raise RunFailed(f"none of {count} held-out requests was completed")
        return {entry.group_index - first: trajectory for entry, trajectory in found}

    def _keep_held_out(self, values: Mapping[int, Measured]) -> None:
        """Told, and in a checkpoint with the weights that it is of."""
        step = self.journal.step
        self._tracker.held_out(step, values)
        mean = measures.record_held_out(values)
        if mean is not None:
            self.journal.held_out[step] = mean
            told = {"step": step, "mean": mean, "count": len(values)}
            self._store.append_event(self.plan.run_id, "held_out", told)
        self.checkpoint(mean)

    def train(self) -> None:
        if self.journal.step < self.config.schedule.steps:
            self.evaluate_between()
            self.progress("training", self.journal.step, self.config.schedule.steps)
            try:
                assert isinstance(self.engine, Engine)
                self.engine.train(self._next_batch, self._after_step)
            except BaseException as error:  # the step under way has a span too
                if self._step.span.is_recording():
                    end_with(self._step.span, error)
                    self._step.span.end()
                raise

    def write_report(self) -> None:
        from trainer_svc.figures.report import write_report

        self.progress("writing_report", 0, 1)
        journal, run_id = self.journal, self.plan.run_id
        before, after = self.plan.held_out(journal.before.values), self.plan.held_out(journal.after.values)
        held_out = compare(before, after)
        general = compare_general(self.plan.held_out_count, self.plan.tasks.abilities, journal.before, journal.after)
        pictures = write_report(
            self.directory / "report",
            journal.history,
            before,
            after,
            journal.held_out,
            held_out,
            general,
            journal.stage,
            [vars(account) for account in self._ledger.accounts()],
        )
        columns: dict[str, object] = {"plot_paths": [str(path) for path in pictures], "general": general}
        both = sorted(before.keys() & after.keys())
        if held_out is not None:
            columns["held_out"] = held_out.as_columns()
            columns["example_before"] = journal.before.dialogues[both[0]].SerializeToString()
            columns["example_after"] = journal.after.dialogues[both[0]].SerializeToString()
        self._store.update(run_id, **columns)
        self.progress("writing_report", 1, 1)

    # Training: what the engine asks for, and what follows its answer.

    def _next_batch(self) -> Sequence[Group]:
        """The next groups in order of their index, as many as a step takes; waits for them."""
        wanted = self.config.schedule.groups_per_step
        self._step = Step(cpu_since=time.process_time())
        self._exchange.wait_from_now()
        groups = self._exchange.groups
        with self._step.phase("rollout"):
            while len(self._step.groups) < wanted:
                judged = groups.judge_next(self.plan.run_id, self.journal.step, self._staleness)
                if judged is not None:
                    self._step.judged.append(judged)
                    continue
                self._admit()
                self._exchange.receive(f"training group {groups.oldest()} of step {self.journal.step + 1}")
                groups.time_out(time.monotonic(), self.config.schedule.group_timeout_seconds)
        taken = [o.request_id for group in self._step.judged for o in group.outcomes if not o.reason]
        episodes = [received.span for received in map(self._exchange.held, taken) if received is not None]
        self.journal.traced_episodes += self._step.begin_span(self.plan.run_id, self.journal.step + 1, episodes)
        self._step.training_since = time.monotonic()
        return [Group([_sample(member) for member in group]) for group in self._step.groups]

    def _after_step(self, result: StepResult) -> bool:
        step = self._step
        step.seconds["train"] += time.monotonic() - step.training_since
        self.journal.step += 1
        outcomes = [outcome for group in step.judged for outcome in group.outcomes]
        figures = measures.step_metrics(
            self.journal.step, result, step.groups, outcomes, step.seconds, time.process_time() - step.cpu_since
        )
        self.journal.history.append(figures)
        within = trace.set_span_in_context(step.span)
        with step.phase("checkpoint"), traced(_tracer, "trainer.checkpoint", context=within):
            self._exchange.settle(outcomes)
            self.checkpoint()
        with step.phase("publish"), traced(_tracer, "trainer.publish", context=within):
            self.publish_weights()
        figures["seconds_by_phase"] = dict(step.seconds)
        figures["seconds"] = sum(step.seconds.values())
        step.span.end()
        measures.record(figures)
        self.tell_step(figures)
        self.progress("training", self.journal.step, self.config.schedule.steps)
        self._orders.check()
        self.evaluate_between()
        return True

    @property
    def _staleness(self) -> int:
        return self.config.schedule.max_staleness

    def _admit(self) -> None:
        """Whole groups, under the admission formula; running and accepted count places, not survivors."""
        schedule = self.config.schedule
        size = schedule.group_size
        groups = self._exchange.groups
        waiting = groups.worth_waiting_for(self.plan.run_id, self.journal.step, self._staleness)
        accepted = self.journal.step * schedule.groups_per_step + len(self._step.groups) + waiting
        free = capacity(
            max_concurrent=schedule.max_concurrent,
            running=groups.running() * size,
            staleness=schedule.max_staleness,
            version=self.journal.step,
            batch=self.config.trajectories_per_step,
            accepted=accepted * size,
            steps=schedule.steps,
        )
        asked: list[Entry] = []
        for _ in range(whole_groups(free, size)):
            entries = self.plan.entries(TRAIN, self.journal.next_group)
            groups.expect(self.journal.next_group, [e.request_id for e in entries], time.monotonic())
            self.journal.next_group += 1
            asked += entries
        if asked:
            self._ask(asked)

    def _ask(self, entries: Sequence[Entry]) -> None:
        self._exchange.ask(entries, self.journal.pool, self._version())

    def collect(
        self, phase: str, entries: Sequence[Entry], good: tuple[rollout_pb2.TerminalState.ValueType, ...]
    ) -> list[tuple[Entry, rollout_pb2.Trajectory]]:
        """Asks for single trajectories and waits for all of them; settled, and in the order of `entries`."""
        told = partial(self.progress, phase)
        return self._exchange.collect(entries, good, self.journal.pool, self._version(), told)

    # What is written down and told.

    def checkpoint(self, held_out: float | None = None) -> None:
        """`held_out` is the mean held-out reward of these weights, where it has just been measured."""
        self.journal.bookmark = self._exchange.bookmark()
        state = self.engine.state()
        progress = {"engine": state.scalars, "journal": self.journal.to_json()}
        path = self._checkpoints.write(state.tensors, progress, held_out)
        self._store.update(
            self.plan.run_id,
            step=self.journal.step,
            checkpoint_path=str(path),
            traced_episodes=self.journal.traced_episodes,
        )

    def check_orders(self) -> None:
        """Raises Halt."""
        self._orders.check()

    def steps_told(self) -> int:
        return self._store.steps_told(self.plan.run_id)

    def tell_step(self, figures: Mapping[str, Any]) -> None:
        self._store.append_event(self.plan.run_id, "step", figures)
        self._tracker.step(figures)
        for alert in alerts(self.journal.history[: figures["step"]], self.config.alerts):
            measures.count_alert(alert.name)
            self._store.append_event(self.plan.run_id, "alert", vars(alert))

    def _version(self) -> rollout_pb2.PolicyVersion:
        return rollout_pb2.PolicyVersion(run_id=self.plan.run_id, incarnation=self._incarnation, step=self.journal.step)

    def progress(self, phase: str, done: int, total: int) -> None:
        self._store.append_event(self.plan.run_id, "progress", {"phase": phase, "done": done, "total": total})

    def notice(self, text: str) -> None:
        self._store.append_event(self.plan.run_id, "notice", {"notice": text})


def _sample(fresh: FreshMember) -> Sample:
    return Sample(fresh.member.token_ids, fresh.trained, fresh.logprobs, fresh.member.trajectory.reward)
