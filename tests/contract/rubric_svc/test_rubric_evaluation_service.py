"""EvaluationService plays an OSCE by itself, says what is missing, and goes on after a restart."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.rubric.v1 import evaluation_pb2 as pb
from anamnesis.rubric.v1 import evaluation_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2_grpc
from rubric_svc.__main__ import wire
from rubric_svc.inference import FrozenModel
from rubric_svc.server import register
from rubric_svc.settings import RubricSettings
from service_kit.errors import Code
from service_kit.grpc.channel import open_channel, service_error
from service_kit.grpc.server import GrpcServer
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.server import SERVICE, PatientSimulator
from simulator_svc.settings import SimulatorSettings

NOWHERE = "127.0.0.1:9"


class Policy(inference_pb2_grpc.InferenceServiceServicer):
    """A doctor that asks one thing; it can be held up."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.stops_after: int | None = None

    async def GenerateBatch(self, request: inference_pb2.GenerateBatchRequest, context: Any) -> Any:
        if self.stops_after is not None and self.asked >= self.stops_after:
            self.go_on.clear()
        await self.go_on.wait()
        self.asked += 1
        completion = inference_pb2.Completion(text="I am sorry to hear that. When did it start?")
        return inference_pb2.GenerateBatchResponse(completions=[completion])


@pytest.fixture
async def policy() -> AsyncIterator[tuple[Policy, str]]:
    server = grpc.aio.server()
    servicer = Policy()  # type: ignore[abstract]  # the generated base answers UNIMPLEMENTED
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[str]:
    def add(server: grpc.aio.Server) -> Sequence[str]:
        simulated = PatientSimulator(CaseLibrary.load(), Patient(None, PatientSettings()))
        simulator_pb2_grpc.add_PatientSimulatorServiceServicer_to_server(simulated, server)
        return [SERVICE]

    server = GrpcServer(SimulatorSettings(grpc_port=0), "simulator", add)
    port = await server.start()
    await server.ready()
    yield f"127.0.0.1:{port}"
    await server.drain(1)


@asynccontextmanager
async def _service(
    state_dir: Path, simulator: str, policy: str
) -> AsyncIterator[evaluation_pb2_grpc.EvaluationServiceStub]:
    settings = RubricSettings(
        grpc_port=0,
        state_dir=state_dir,
        simulator_target=simulator,
        candidates={"policy": f"grpc://{policy}"},
        whole_model_criteria=0,
        osce_turns=2,
        evaluation_concurrency=1,
    )
    frozen = FrozenModel(NOWHERE)
    rubrics, evaluations = wire(settings, frozen, frozen)
    server = GrpcServer(settings, "rubric", lambda grpc_server: register(grpc_server, rubrics, evaluations))
    port = await server.start()
    await evaluations.registry.take_up()
    await server.ready()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield evaluation_pb2_grpc.EvaluationServiceStub(channel)
    finally:
        await evaluations.registry.close()
        await server.drain(1.0)
        await frozen.close()


def _osce(**spec: Any) -> pb.StartEvaluationRequest:
    given = {"benchmark": pb.BENCHMARK_OSCE, "candidate": "policy", "limit": 3, **spec}
    return pb.StartEvaluationRequest(spec=pb.EvaluationSpec(**given))


async def _watched(stub: Any, evaluation_id: str) -> list[pb.Evaluation]:
    call = stub.WatchEvaluation(pb.WatchEvaluationRequest(evaluation_id=evaluation_id), timeout=60)
    return [response.evaluation async for response in call]


async def test_an_evaluation_is_watched_to_its_scores(
    tmp_path: Path, simulator: str, policy: tuple[Policy, str]
) -> None:
    async with _service(tmp_path, simulator, policy[1]) as stub:
        started = (await stub.StartEvaluation(_osce(), timeout=10)).evaluation
        seen = await _watched(stub, started.evaluation_id)
        assert seen[-1].state == pb.EVALUATION_STATE_SUCCEEDED, seen[-1].error
        assert (seen[-1].done, seen[-1].total) == (3, 3)
        assert {mean.name for mean in seen[-1].means} >= {"overall", "station:history", "station:diagnosis"}
        overall = next(mean for mean in seen[-1].means if mean.name == "overall")
        assert (seen[-1].score, overall.count) == (overall.value, 3)
        got = await stub.GetEvaluation(pb.GetEvaluationRequest(evaluation_id=started.evaluation_id), timeout=10)
        assert got.evaluation == seen[-1]


async def test_an_evaluation_goes_on_after_a_restart_and_asks_nothing_twice(
    tmp_path: Path, simulator: str, policy: tuple[Policy, str]
) -> None:
    doctor, address = policy
    doctor.stops_after = 3  # in the middle of the second interview
    async with _service(tmp_path, simulator, address) as stub:
        started = (await stub.StartEvaluation(_osce(), timeout=10)).evaluation
        while doctor.go_on.is_set():
            await asyncio.sleep(0.05)
    doctor.stops_after = None
    doctor.go_on.set()
    async with _service(tmp_path, simulator, address) as stub:
        ended = (await _watched(stub, started.evaluation_id))[-1]
    assert ended.state == pb.EVALUATION_STATE_SUCCEEDED, ended.error
    # Two turns of the first interview, which was not played again, one that was cut off, and four of the others.
    assert doctor.asked <= 8


@pytest.mark.parametrize(
    ("spec", "code", "reason"),
    [
        ({"candidate": "nobody"}, Code.NOT_FOUND, "CANDIDATE_NOT_FOUND"),
        ({"benchmark": pb.BENCHMARK_HEALTHBENCH}, Code.FAILED_PRECONDITION, "HEALTHBENCH_DATA_UNSET"),
    ],
)
async def test_what_cannot_be_played_is_refused_at_the_start(
    tmp_path: Path, simulator: str, policy: tuple[Policy, str], spec: dict[str, Any], code: Code, reason: str
) -> None:
    async with _service(tmp_path, simulator, policy[1]) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.StartEvaluation(_osce(**spec), timeout=10)
        error = service_error(raised.value, "rubric")
        assert (error.code, error.reason) == (code, reason)


async def test_a_simulator_that_is_away_fails_the_evaluation_by_name(
    tmp_path: Path, policy: tuple[Policy, str]
) -> None:
    async with _service(tmp_path, NOWHERE, policy[1]) as stub:
        started = (await stub.StartEvaluation(_osce(), timeout=10)).evaluation
        ended = (await _watched(stub, started.evaluation_id))[-1]
        assert ended.state == pb.EVALUATION_STATE_FAILED
        assert ended.error.startswith("DEPENDENCY_UNAVAILABLE: simulator")


async def test_an_unknown_evaluation_is_not_found(tmp_path: Path, simulator: str, policy: tuple[Policy, str]) -> None:
    async with _service(tmp_path, simulator, policy[1]) as stub:
        for call in (
            stub.GetEvaluation(pb.GetEvaluationRequest(evaluation_id="x"), timeout=10),
            stub.WatchEvaluation(pb.WatchEvaluationRequest(evaluation_id="x"), timeout=10).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
