"""The requests of a run. Each is a function of (run, seed, purpose, group, sample), the same on every incarnation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1 import patient_pb2, rollout_pb2
from trainer_svc.config import RunConfig
from trainer_svc.flow.cases import CaseSplits
from trainer_svc.records.ledger import Entry
from trainer_svc.seeds import derive, shuffled

DOCTOR_PROMPT = Path(__file__).parent / "prompts" / "doctor.txt"

TRAIN, EVALUATE, CONTEXT = "train", "evaluate", "context"
_PURPOSES = {
    TRAIN: rollout_pb2.PURPOSE_TRAIN,
    EVALUATE: rollout_pb2.PURPOSE_EVALUATE,
    CONTEXT: rollout_pb2.PURPOSE_CONTEXT,
}


@dataclass(frozen=True)
class Plan:
    """What each group of a run asks for. Held-out group i is asked as group i before training, as count + i after."""

    run_id: str
    seed: int
    config: RunConfig
    cases: CaseSplits

    @property
    def held_out_count(self) -> int:
        return min(self.config.evaluation.cases, len(self.cases.held_out)) * self.config.evaluation.personas

    def entries(self, purpose: str, group_index: int) -> list[Entry]:
        size = self.config.schedule.group_size if purpose == TRAIN else 1
        return [
            Entry(f"{self.run_id}/{purpose}/{group_index}/{sample}", purpose, group_index, sample)
            for sample in range(size)
        ]

    def request(
        self,
        entry: Entry,
        fragments: Sequence[rollout_pb2.FragmentContext],
        version: rollout_pb2.PolicyVersion,
        expires_at: float,
    ) -> rollout_pb2.RolloutRequest:
        config = self.config
        context = rollout_pb2.RolloutContext(system_prompt=DOCTOR_PROMPT.read_text(encoding="utf-8").strip())
        kind = rollout_pb2.ROLLOUT_KIND_CONSULTATION
        asked = entry.group_index
        if entry.purpose == EVALUATE:
            asked %= self.held_out_count
            cases = min(config.evaluation.cases, len(self.cases.held_out))
            case_id, persona = self.cases.held_out[asked % cases], asked // cases
            self._consult(context, case_id, persona, config.evaluation.max_doctor_turns)
        elif entry.purpose == CONTEXT or config.rollouts.kind == "consultation":
            order = shuffled(self.seed, f"{entry.purpose}-cases", len(self.cases.train))
            case_id = self.cases.train[order[asked % len(order)]]
            self._consult(context, case_id, asked, config.rollouts.max_doctor_turns)
        else:
            order = shuffled(self.seed, f"fragments-{asked // len(fragments)}", len(fragments))
            context.fragment.CopyFrom(fragments[order[asked % len(order)]])
            kind = rollout_pb2.ROLLOUT_KIND_FRAGMENT
        expires = Timestamp()
        expires.FromNanoseconds(int(expires_at * 1_000_000_000))
        return rollout_pb2.RolloutRequest(
            request_id=entry.request_id,
            run_id=self.run_id,
            purpose=_PURPOSES[entry.purpose],
            group_id=f"{self.run_id}/{entry.purpose}/{entry.group_index}",
            sample_index=entry.sample_index,
            group_size=config.schedule.group_size if entry.purpose == TRAIN else 1,
            kind=kind,
            context=context,
            seed=derive(self.seed, entry.purpose, asked, entry.sample_index),
            sampling=rollout_pb2.Sampling(
                temperature=config.sampling.temperature, max_tokens=config.sampling.max_tokens
            ),
            policy_version_wanted=version,
            expires_at=expires,
        )

    def _consult(self, context: rollout_pb2.RolloutContext, case_id: str, persona: int, turns: int) -> None:
        # The patient's persona follows from patient_seed: personas are the simulator's business.
        context.consultation.CopyFrom(
            rollout_pb2.ConsultationContext(
                case=patient_pb2.CaseReference(case_id=case_id),
                patient_seed=derive(self.seed, "patient", case_id, persona),
                max_doctor_turns=turns,
            )
        )
