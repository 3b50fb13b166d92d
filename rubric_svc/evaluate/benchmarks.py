"""The benchmarks as the rubric service plays them: its own data, its own judge, candidates that its settings name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urldefrag

from rubric_svc.evaluate.candidate import Sampling, open_candidate
from rubric_svc.evaluate.healthbench import NotHealthBench, read_items
from rubric_svc.evaluate.healthbench_task import HealthBenchTask
from rubric_svc.evaluate.journal import Journal
from rubric_svc.evaluate.osce import OsceTask
from rubric_svc.evaluate.patients import Patients
from rubric_svc.evaluate.registry import Spec
from rubric_svc.evaluate.run import Evaluation, Judge, Progress, Task
from rubric_svc.generate.templates import Templates
from rubric_svc.settings import RubricSettings
from service_kit.errors import FailedPrecondition, NotFound, Unavailable

HEALTHBENCH, OSCE = "healthbench", "osce"
_ANSWER_TOKENS = {HEALTHBENCH: 1024, OSCE: 160}
_PATIENT_SECONDS = 120.0


class Benchmarks:
    def __init__(self, settings: RubricSettings, judge: Judge, templates: Templates) -> None:
        self._settings = settings
        self._judge = judge
        self._templates = templates

    def check(self, spec: Spec) -> None:
        """Raises NotFound for an unknown candidate, FailedPrecondition where the data set is missing."""
        if spec.candidate not in self._settings.candidates:
            raise NotFound("candidate", spec.candidate)
        if spec.benchmark == HEALTHBENCH and self._settings.healthbench_data is None:
            raise FailedPrecondition(
                "HEALTHBENCH_DATA_UNSET", "this service has no HealthBench data: ANAMNESIS_RUBRIC_HEALTHBENCH_DATA"
            )

    async def play(self, spec: Spec, directory: Path, progress: Progress) -> Evaluation:
        address, model = urldefrag(self._settings.candidates[spec.candidate])
        key = self._settings.candidate_api_key
        sampling = Sampling(max_tokens=_ANSWER_TOKENS[spec.benchmark], seed=spec.seed)
        candidate = open_candidate(
            address, model, key.get_secret_value() if key else "none", sampling, tls=self._settings.tls
        )
        patients = Patients(self._settings.simulator_target, _PATIENT_SECONDS, self._settings.tls)
        try:
            tasks, data = await self._tasks(spec, patients)
            identity = {"benchmark": spec.benchmark, "candidate": spec.candidate, "data": data, "seed": spec.seed}
            evaluation = Evaluation(
                tasks,
                candidate,
                self._judge,
                Journal(directory, identity),
                self._settings.evaluation_concurrency,
                progress,
            )
            await evaluation.run()
            return evaluation
        finally:
            await candidate.close()
            await patients.close()

    async def _tasks(self, spec: Spec, patients: Patients) -> tuple[Sequence[Task], str]:
        """And the digest of what they are made of."""
        settings = self._settings
        if spec.benchmark == OSCE:
            found = await patients.held_out(spec.limit or settings.osce_patients, spec.seed)
            if not found:
                raise Unavailable("simulator", "has no held-out case")
            kept, turns, void = settings.whole_model_criteria, settings.osce_turns, settings.void_share
            tasks = [OsceTask(patient, patients, self._templates, kept, turns, void) for patient in found]
            return tasks, hashlib.sha256(repr((self._templates, turns)).encode()).hexdigest()
        assert settings.healthbench_data is not None  # checked when it was started
        try:
            items = list(read_items(settings.healthbench_data))[: spec.limit or None]
        except (NotHealthBench, OSError) as error:
            raise FailedPrecondition("HEALTHBENCH_DATA_UNREADABLE", str(error)) from error
        digest = hashlib.sha256(settings.healthbench_data.read_bytes()).hexdigest()
        return [HealthBenchTask(item, settings.void_share) for item in items], digest
