"""New weights for every policy replica: written under the weight store, announced in CURRENT.json, then loaded by each.

A replica that starts late reads CURRENT.json; one that fails keeps its old version and gets the next one.
"""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anamnesis.common.v1 import rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.errors import ServiceError
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings
from trainer_svc.figures import measures
from trainer_svc.publication.replicas import replicas

WEIGHTS = "model.safetensors"
KEEP = 2


class NoReplicaUpdated(Exception):
    """Not one policy replica serves the new version; the message says why each refused."""


class ForeignNames(Exception):
    """The merged tensors are not those of the base model's file."""


@dataclass(frozen=True)
class Published:
    version: rollout_pb2.PolicyVersion
    path: str
    sha256: str
    # Replica and what it said.
    failures: dict[str, str]

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

    def publish(self, weights: dict[str, torch.Tensor], version: rollout_pb2.PolicyVersion) -> Published:
        """Raises NoReplicaUpdated when none took it. Versions older than the last two are deleted."""
        path = f"{version.run_id}/{version.incarnation}-{version.step}"
        digest = self._write(weights, path)
        replace_text(self._store / "CURRENT.json", Published(version, path, digest, {}).manifest())
        answers = asyncio.run(self._update_all(version, path, digest))
        failures = {replica: str(error) for replica, error in answers.items() if error is not None}
        if len(failures) == len(answers):
            raise NoReplicaUpdated("; ".join(f"{replica}: {error}" for replica, error in sorted(failures.items())))
        self._delete_old(version.run_id)
        return Published(version, path, digest, failures)

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
        self, version: rollout_pb2.PolicyVersion, path: str, digest: str
    ) -> dict[str, ServiceError | None]:
        """What each replica that there is now answered; None is success."""
        request = inference_pb2.UpdateWeightsRequest(
            version=version,
            path=path,
            format=inference_pb2.WEIGHT_FORMAT_SAFETENSORS_FULL,
            sha256=digest,
            in_flight=inference_pb2.IN_FLIGHT_DRAIN,
        )
        found = await asyncio.gather(*(replicas(target) for target in self._targets))
        targets = [replica for of_target in found for replica in of_target]
        errors = await asyncio.gather(*(self._update(target, request) for target in targets))
        return dict(zip(targets, errors, strict=True))

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
