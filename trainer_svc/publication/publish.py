"""New weights for every policy replica: written under the weight store, announced in CURRENT.json, then loaded by each.

A replica that starts late reads CURRENT.json. One that fails keeps its old version, is left out, so that no step waits
for it again, and takes part once it has caught up. Every call has a deadline.
"""

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anamnesis.common.v1 import rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.errors import Code, ServiceError
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings
from trainer_svc.figures import measures
from trainer_svc.publication.latecomers import Latecomers
from trainer_svc.publication.replicas import replicas

WEIGHTS = "model.safetensors"
KEEP = 2
PAUSE_SECONDS = 2.0
PASSING = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


class NoReplicaUpdated(Exception):
    """Not one policy replica serves the new version; the message says why each refused.

    `passing`: none of them refused it, they only did not answer; they may later."""

    def __init__(self, errors: dict[str, ServiceError]) -> None:
        super().__init__("; ".join(f"{replica}: {error}" for replica, error in sorted(errors.items())))
        self.passing = all(error.code in PASSING for error in errors.values())


class ForeignNames(Exception):
    """The merged tensors are not those of the base model's file."""


@dataclass(frozen=True)
class Published:
    version: rollout_pb2.PolicyVersion
    path: str
    sha256: str
    # Replica and what it said; it is left out from now on.
    failures: dict[str, str]
    # Left out since an earlier version.
    left_out: list[str] = field(default_factory=list)
    # Left out before, and in again.
    returned: list[str] = field(default_factory=list)

    def manifest(self) -> str:
        fields = {
            "run_id": self.version.run_id,
            "incarnation": self.version.incarnation,
            "step": self.version.step,
            "path": self.path,
            "sha256": self.sha256,
            "format": "SAFETENSORS_FULL",
        }
        return json.dumps(fields)


class WeightPublisher:
    def __init__(
        self,
        store: Path,
        base: Path,
        targets: Sequence[str],
        deadline_seconds: float,
        tls: TlsSettings | None = None,
    ) -> None:
        self._store = store
        self._targets = tuple(targets)
        self._deadline = deadline_seconds
        self._tls = tls
        with safe_open(base / WEIGHTS, framework="pt") as file:
            self._names = frozenset(file.keys())
        self._latecomers: Latecomers[inference_pb2.UpdateWeightsRequest] = Latecomers(self._update_late)
        self._left_out: set[str] = set()

    def publish(self, weights: dict[str, torch.Tensor], version: rollout_pb2.PolicyVersion) -> Published:
        """Raises NoReplicaUpdated when none took it. Versions older than the last two are deleted."""
        path = f"{version.run_id}/{version.incarnation}-{version.step}"
        digest = self._write(weights, path)
        replace_text(self._store / "CURRENT.json", Published(version, path, digest, {}).manifest())
        request = inference_pb2.UpdateWeightsRequest(
            version=version,
            path=path,
            format=inference_pb2.WEIGHT_FORMAT_SAFETENSORS_FULL,
            sha256=digest,
            in_flight=inference_pb2.IN_FLIGHT_DRAIN,
        )
        there, answers = asyncio.run(self._update_all(request, self._latecomers.ask_for(request)))
        errors = {replica: error for replica, error in answers.items() if error is not None}
        if len(errors) == len(answers):
            raise NoReplicaUpdated(errors)
        self._delete_old(version.run_id)
        returned = sorted(self._left_out & answers.keys() - errors.keys())
        left_out = there - answers.keys()
        self._left_out = left_out | errors.keys()
        self._latecomers.keep_only(self._left_out)
        self._latecomers.leave_out(self._left_out)
        failures = {replica: str(error) for replica, error in errors.items()}
        return Published(version, path, digest, failures, sorted(left_out), returned)

    def publish_patiently(
        self,
        weights: dict[str, torch.Tensor],
        version: rollout_pb2.PolicyVersion,
        seconds: float,
        check: Callable[[], None],
        told: Callable[[str], None],
    ) -> Published:
        """publish, again and again while no replica answers, as while the only one is started again, for `seconds`.

        `check` raises Halt where there is an order to stop; `told` hears of it once. Raises NoReplicaUpdated.
        """
        began, waits = time.monotonic(), False
        while True:
            try:
                return self.publish(weights, version)
            except NoReplicaUpdated as error:
                if not error.passing or time.monotonic() - began > seconds:
                    raise
                if not waits:
                    told(f"no policy replica took step {version.step} yet, the run waits for one: {error}")
                waits = True
            check()
            time.sleep(PAUSE_SECONDS)

    def _write(self, weights: dict[str, torch.Tensor], path: str) -> str:
        missing = self._names - weights.keys()
        if missing:
            raise ForeignNames(f"no merged tensor for {sorted(missing)[:3]}")
        directory = self._store / path
        directory.mkdir(parents=True, exist_ok=True)
        temporary = directory / f".{WEIGHTS}.tmp"
        # Tied tensors are in memory twice and in the base file once; its names decide.
        save_file({name: weights[name] for name in self._names}, temporary, metadata={"format": "pt"})
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        temporary.rename(directory / WEIGHTS)
        return digest

    async def _update_all(
        self, request: inference_pb2.UpdateWeightsRequest, behind: set[str]
    ) -> tuple[set[str], dict[str, ServiceError | None]]:
        """The replicas that there are now, and what each that was asked answered; None is success.

        Those `behind` are not asked, unless there is no other.
        """
        found = await asyncio.gather(*(replicas(target) for target in self._targets))
        there = {replica for of_target in found for replica in of_target}
        asked = sorted(there - behind or there)
        errors = await asyncio.gather(*(self._update(target, request) for target in asked))
        return there, dict(zip(asked, errors, strict=True))

    def _update_late(self, target: str, request: inference_pb2.UpdateWeightsRequest) -> bool:
        return asyncio.run(self._update(target, request)) is None

    async def _update(self, target: str, request: inference_pb2.UpdateWeightsRequest) -> ServiceError | None:
        # A version loads the same however often, so the call may be repeated.
        idempotent = {"anamnesis.inference.v1.InferenceService": ["UpdateWeights"]}
        channel = open_channel(target, idempotent=idempotent, tls=self._tls, peer="inference-policy")
        try:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            await stub.UpdateWeights(request, timeout=call_deadline(self._deadline), wait_for_ready=True)
            measures.count_update(None)
            return None
        except grpc.aio.AioRpcError as error:
            refused = service_error(error, f"inference-policy at {target}")
            measures.count_update(refused)
            return refused
        finally:
            await channel.close(None)

    def _delete_old(self, run_id: str) -> None:
        versions = sorted((self._store / run_id).iterdir(), key=lambda path: path.stat().st_mtime)
        for old in versions[:-KEEP]:
            shutil.rmtree(old)


def replace_text(path: Path, text: str) -> None:
    """The file has the old text or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
