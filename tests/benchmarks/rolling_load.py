"""Users at work while services are replaced: calls through the gateway, each counted once, its attempts apart.

Invariant: a request is answered, refused with the answer that it deserves, or failed; nothing is dropped from the
count. A stream that is cut must say so with STREAM_INTERRUPTED and how to resume: any other end is a failure.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import grpc

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rollout_pb2
from anamnesis.gateway.v1 import training_pb2, training_pb2_grpc
from gateway.client import AnamnesisClient
from service_kit.errors import STREAM_INTERRUPTED, Code, ServiceError
from service_kit.grpc.channel import open_channel, service_error

USERS = 6
WATCHERS = 2
RETRY_SECONDS = 60.0
WATCH = "WatchRun"
CASE = "migraine-aura"
ILL = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="I have had a headache since this morning.")
QUESTION = dialogue_pb2.Message(
    role=dialogue_pb2.ROLE_ASSISTANT, content="Where is the pain, and how long is it there?"
)
# What a user does, and how often of a hundred.
MIX = {
    "ListCases": 25,
    "ListRuns": 20,
    "GetRun": 15,
    "GetEvaluation": 10,
    "StartConsultation": 8,
    "Respond": 7,
    "AskDoctor": 15,
}


@dataclass
class Tally:
    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    # Streams that were cut, said so, and were taken up again.
    interrupted: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.requests.total()

    def answered(self, what: str, attempts: int, seconds: float) -> None:
        self.requests[what] += 1
        self.attempts[what] += attempts
        self.seconds.setdefault(what, []).append(seconds)

    def failed(self, what: str, attempts: int, error: ServiceError) -> None:
        self.requests[what] += 1
        self.attempts[what] += attempts
        self.failures[what] += 1
        self.reasons[f"{what}: {error}"[:300]] += 1


class Load:
    def __init__(
        self,
        target: str,
        run_id: str,
        persona: patient_pb2.Persona,
        tally: Tally,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`retry_seconds`: for how long a user comes back to a service that is away before a call has failed."""
        self._retry_seconds = retry_seconds
        self._target = target
        self._persona = persona
        self._run_id = run_id
        self._tally = tally
        self._stopping = False

    async def run(self) -> None:
        """Until `stop`; what is under way then is finished and counted."""
        watches = [asyncio.create_task(self._watch()) for _ in range(WATCHERS)]
        try:
            await asyncio.gather(*(self._user(number) for number in range(USERS)))
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches)

    def stop(self) -> None:
        self._stopping = True

    async def _user(self, number: int) -> None:
        """One client with connections of its own, like one user's program."""
        choose = random.Random(number)
        async with AnamnesisClient(
            self._target, call_seconds=60.0, answer_seconds=120.0, retry_seconds=self._retry_seconds
        ) as client:
            actions = self._actions(client, choose)
            while not self._stopping:
                (what,) = choose.choices(list(MIX), list(MIX.values()))
                await self._once(client, what, actions[what])

    async def _once(self, client: AnamnesisClient, what: str, act: Callable[[], Awaitable[None]]) -> None:
        before, began = client.retries.attempts, time.monotonic()
        while True:
            try:
                await act()
            except ServiceError as error:
                if error.reason == STREAM_INTERRUPTED and "resume" in error.metadata:
                    self._tally.interrupted[what] += 1
                    continue  # asked again, as it says
                self._tally.failed(what, client.retries.attempts - before, error)
            else:
                self._tally.answered(what, client.retries.attempts - before, time.monotonic() - began)
            return

    def _actions(self, client: AnamnesisClient, choose: random.Random) -> dict[str, Callable[[], Awaitable[None]]]:
        async def list_cases() -> None:
            assert [case async for case in client.list_cases()]

        async def list_runs() -> None:
            runs, _ = await client.list_runs()
            assert [run.run_id for run in runs] == [self._run_id]

        async def get_run() -> None:
            assert (await client.get_run(self._run_id)).run_id == self._run_id

        async def get_evaluation() -> None:
            """The rubric service answers that there is none."""
            try:
                await client.get_evaluation("no-such-evaluation")
            except ServiceError as error:
                if error.code not in (Code.NOT_FOUND, Code.UNIMPLEMENTED):
                    raise

        async def start_consultation() -> None:
            assert (await client.start_consultation(CASE, seed=choose.randrange(10**6))).opening

        async def respond() -> None:
            seed = choose.randrange(10**6)
            assert (await client.respond(CASE, self._persona, [ILL, QUESTION], seed=seed)).reply

        async def ask_doctor() -> None:
            sampling = rollout_pb2.Sampling(max_tokens=12, temperature=0.7, top_p=0.95)
            async with aclosing(client.ask_doctor([ILL], sampling=sampling, seed=choose.randrange(10**6))) as texts:
                assert "".join([text async for text in texts])

        return {
            "ListCases": list_cases,
            "ListRuns": list_runs,
            "GetRun": get_run,
            "GetEvaluation": get_evaluation,
            "StartConsultation": start_consultation,
            "Respond": respond,
            "AskDoctor": ask_doctor,
        }

    async def _watch(self) -> None:
        """A watch of a run that goes on and on. It is one request, however often it is cut and taken up again."""
        after, attempts, absent_since = 0, 0, None
        async with open_channel(self._target, health_of="anamnesis.gateway.v1.TrainingService") as channel:
            stub = training_pb2_grpc.TrainingServiceStub(channel)
            try:
                while True:
                    attempts += 1
                    begun = False
                    request = training_pb2.WatchRunRequest(run_id=self._run_id, after_sequence=after)
                    try:
                        async for response in stub.WatchRun(request, timeout=3600):
                            after, begun, absent_since = response.event.sequence, True, None
                    except grpc.aio.AioRpcError as raw:
                        error = service_error(raw, "gateway")
                        now = time.monotonic()
                        if error.reason == STREAM_INTERRUPTED and "resume" in error.metadata:
                            self._tally.interrupted[WATCH] += 1
                            absent_since = None
                        elif (
                            begun
                            or error.code is not Code.UNAVAILABLE
                            or now - (absent_since or now) > self._retry_seconds
                        ):
                            self._tally.failed(WATCH, attempts, error)
                            return
                        else:  # refused before it began: the trainer is being replaced
                            absent_since = absent_since or now
                    await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                self._tally.answered(WATCH, attempts, 0.0)
