"""The requests of a run. Each is a function of (run, seed, purpose, group, sample), the same on every incarnation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1 import patient_pb2, rollout_pb2
from trainer_svc.config import RunConfig
from trainer_svc.flow.cases import CaseSplits
from trainer_svc.flow.tasks import Tasks
from trainer_svc.records.ledger import Entry
from trainer_svc.seeds import derive, shuffled

DOCTOR_PROMPT = Path(__file__).parent / "prompts" / "doctor.txt"

TRAIN, EVALUATE, CONTEXT, SAMPLE = "train", "evaluate", "context", "sample"
_PURPOSES = {
    TRAIN: rollout_pb2.PURPOSE_TRAIN,
    EVALUATE: rollout_pb2.PURPOSE_EVALUATE,
    CONTEXT: rollout_pb2.PURPOSE_CONTEXT,
    SAMPLE: rollout_pb2.PURPOSE_SAMPLE,
}
_KINDS = {
    "prompt": rollout_pb2.ROLLOUT_KIND_PROMPT,
    "fragment": rollout_pb2.ROLLOUT_KIND_FRAGMENT,
    "consultation": rollout_pb2.ROLLOUT_KIND_CONSULTATION,
}
Trainable = rollout_pb2.FragmentContext | rollout_pb2.PromptContext
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What each group of a run asks for. Held-out group i is asked as group i before training, as count + i after,
    and as (1 + step) * count + i between.

    What is held out is the stage's own (consultations, or tasks), and after it the tasks of general abilities.
    """

    run_id: str
    seed: int
    config: RunConfig
    cases: CaseSplits
    tasks: Tasks = field(default_factory=Tasks)

    @property
    def held_out_count(self) -> int:
        if self.config.consults:
            return min(self.config.evaluation.cases, len(self.cases.held_out)) * self.config.evaluation.personas
        return len(self.tasks.held_out)

    @property
    def evaluated_count(self) -> int:
        return self.held_out_count + len(self.tasks.abilities)

    def held_out(self, values: Mapping[int, T]) -> dict[int, T]:
        """Without the general abilities."""
        return {index: value for index, value in values.items() if index < self.held_out_count}

    def group_size(self, purpose: str) -> int:
        return {TRAIN: self.config.schedule.group_size, SAMPLE: self.config.selection.candidates}.get(purpose, 1)

    def entries(self, purpose: str, group_index: int) -> list[Entry]:
        return [
            Entry(f"{self.run_id}/{purpose}/{group_index}/{sample}", purpose, group_index, sample)
            for sample in range(self.group_size(purpose))
        ]

    def request(
        self, entry: Entry, pool: Sequence[Trainable], version: rollout_pb2.PolicyVersion, expires_at: float
    ) -> rollout_pb2.RolloutRequest:
        config = self.config
        asked = entry.group_index
        sampling = rollout_pb2.Sampling(temperature=config.sampling.temperature, max_tokens=config.sampling.max_tokens)
        if entry.purpose == EVALUATE:
            asked %= self.evaluated_count
            context = self._evaluated(asked)
            if context.HasField("prompt"):  # the likeliest answer has no luck in it
                sampling = rollout_pb2.Sampling(temperature=0.0, max_tokens=config.evaluation.max_tokens)
        elif entry.purpose == SAMPLE:
            context = _single(self.tasks.train[asked].context())
        elif entry.purpose == CONTEXT or config.rollouts.kind == "consultation":
            order = shuffled(self.seed, f"{entry.purpose}-cases", len(self.cases.train))
            case_id = self.cases.train[order[asked % len(order)]]
            context = self._consultation(case_id, asked, config.rollouts.max_doctor_turns)
        else:
            order = shuffled(self.seed, f"fragments-{asked // len(pool)}", len(pool))
            context = _single(pool[order[asked % len(order)]])
        expires = Timestamp()
        expires.FromNanoseconds(int(expires_at * 1_000_000_000))
        return rollout_pb2.RolloutRequest(
            request_id=entry.request_id,
            run_id=self.run_id,
            purpose=_PURPOSES[entry.purpose],
            group_id=f"{self.run_id}/{entry.purpose}/{entry.group_index}",
            sample_index=entry.sample_index,
            group_size=self.group_size(entry.purpose),
            kind=_KINDS[context.WhichOneof("kind") or ""],
            context=context,
            seed=derive(self.seed, entry.purpose, asked, entry.sample_index),
            sampling=sampling,
            policy_version_wanted=version,
            expires_at=expires,
        )

    def _evaluated(self, index: int) -> rollout_pb2.RolloutContext:
        if index >= self.held_out_count:
            return _single(self.tasks.abilities[index - self.held_out_count].task.context())
        if not self.config.consults:
            return _single(self.tasks.held_out[index].context())
        cases = min(self.config.evaluation.cases, len(self.cases.held_out))
        case_id, persona = self.cases.held_out[index % cases], index // cases
        return self._consultation(case_id, persona, self.config.evaluation.max_doctor_turns)

    def _consultation(self, case_id: str, persona: int, turns: int) -> rollout_pb2.RolloutContext:
        # The patient's persona follows from patient_seed: personas are the simulator's business.
        consultation = rollout_pb2.ConsultationContext(
            case=patient_pb2.CaseReference(case_id=case_id),
            patient_seed=derive(self.seed, "patient", case_id, persona),
            max_doctor_turns=turns,
        )
        return rollout_pb2.RolloutContext(system_prompt=_doctor(), consultation=consultation)


def _single(context: Trainable) -> rollout_pb2.RolloutContext:
    """A task stands alone; a fragment is answered by the doctor of the consultations."""
    if isinstance(context, rollout_pb2.PromptContext):
        return rollout_pb2.RolloutContext(prompt=context)
    return rollout_pb2.RolloutContext(system_prompt=_doctor(), fragment=context)


def _doctor() -> str:
    return DOCTOR_PROMPT.read_text(encoding="utf-8").strip()
