"""Ten thousand trajectories through Kafka and the batcher, without a model: how many a second; is memory flat?

They lie on the log before the clock starts. What is measured is what a run does with them: read and decode, take each
once (duplicates are refused by the ledger), form groups, judge them in order, settle their outcomes and move the
bookmark, step by step, with the admission's count of what is worth waiting for at every poll. This is done twice: what
the process has grown by after the second time, that was not given back.
"""

from __future__ import annotations

import gc
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.common.v1.patient_pb2 import CaseReference
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from tests.benchmarks.stacks import running_stack
from trainer_svc.flow.groups import Groups, Judged
from trainer_svc.flow.inbox import Bookmark, Inbox
from trainer_svc.records.database import connect
from trainer_svc.records.ledger import Entry, Ledger
from trainer_svc.records.runs import RunStore

TOPIC = "anamnesis.rollout.trajectories.v1"
RUN_ID = "ingest"
TRAJECTORIES, GROUP_SIZE, GROUPS_PER_STEP, STALENESS = 10_000, 8, 8, 2
# Every so many trajectories one comes twice.
DUPLICATE_EVERY = 50
PROMPT_TOKENS, SAMPLED_TOKENS = 400, 100
PAGE = os.sysconf("SC_PAGE_SIZE")


def entries() -> list[Entry]:
    return [
        Entry(f"{RUN_ID}/train/{group}/{sample}", "train", group, sample)
        for group in range(TRAJECTORIES // GROUP_SIZE)
        for sample in range(GROUP_SIZE)
    ]


def trajectory(entry: Entry, source: random.Random) -> rollout_pb2.Trajectory:
    """As a worker sends it: the request echoed with its dialogue so far, prompt, sampled turn, rewards."""
    version = rollout_pb2.PolicyVersion(run_id=RUN_ID, incarnation=1, step=entry.group_index // GROUPS_PER_STEP)
    said = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="It hurts when I climb the stairs. " * 6)] * 4
    context = rollout_pb2.RolloutContext(
        system_prompt="You are a doctor. Ask one question at a time, then say what you think it is.",
        fragment=rollout_pb2.FragmentContext(
            case=CaseReference(case_id="c1"), so_far=dialogue_pb2.Dialogue(messages=said)
        ),
    )
    sampled = source.randint(SAMPLED_TOKENS // 2, SAMPLED_TOKENS * 3 // 2)
    reward = source.random()
    return rollout_pb2.Trajectory(
        trajectory_id=entry.request_id,
        request=rollout_pb2.RolloutRequest(
            request_id=entry.request_id,
            run_id=RUN_ID,
            purpose=rollout_pb2.PURPOSE_TRAIN,
            group_id=f"{RUN_ID}/train/{entry.group_index}",
            sample_index=entry.sample_index,
            group_size=GROUP_SIZE,
            kind=rollout_pb2.ROLLOUT_KIND_FRAGMENT,
            context=context,
            policy_version_wanted=version,
        ),
        segments=[
            rollout_pb2.Segment(
                role=dialogue_pb2.ROLE_USER, token_ids=[source.randrange(49152) for _ in range(PROMPT_TOKENS)]
            ),
            rollout_pb2.Segment(
                role=dialogue_pb2.ROLE_ASSISTANT,
                token_ids=[source.randrange(49152) for _ in range(sampled)],
                logprobs=[-source.random() for _ in range(sampled)],
                trainable=True,
                version_runs=[rollout_pb2.VersionRun(policy_version=version, token_count=sampled)],
            ),
        ],
        rewards=[rollout_pb2.RewardComponent(name="rubric", value=reward, trained=True)],
        reward=reward,
        terminal_state=rollout_pb2.TERMINAL_STATE_COMPLETED,
        dialogue=dialogue_pb2.Dialogue(messages=said),
    )


def publish(kafka: KafkaSettings) -> int:
    """Returns how many messages lie on the log."""
    producer, source, sent = EventProducer(kafka, "ingest"), random.Random(1), 0
    for number, entry in enumerate(entries()):
        message = trajectory(entry, source)
        for _ in range(2 if number % DUPLICATE_EVERY == 0 else 1):
            producer.publish(TOPIC, message, key=message.request.group_id)
            sent += 1
    producer.flush(120)
    producer.close()
    return sent


def rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def batches(inbox: Inbox, groups: Groups) -> Iterator[list[Judged]]:
    """The groups of one step after the other, as `Run._next_batch` takes them."""
    step = 0
    while groups.oldest() is not None:
        judged: list[Judged] = []
        while len(judged) < GROUPS_PER_STEP and groups.oldest() is not None:
            if (group := groups.judge_next(RUN_ID, step, STALENESS)) is not None:
                judged.append(group)
                continue
            groups.worth_waiting_for(RUN_ID, step, STALENESS)
            for received in inbox.receive(0.25):
                index = int(received.trajectory.request.group_id.rpartition("/")[2])
                groups.add(index, received.trajectory)
        step += 1
        yield judged


def ingest(kafka: KafkaSettings, directory: Path) -> float:
    """All that lies on the log. Returns trajectories a second."""
    database = connect(directory / "trainer.db")
    RunStore(database).create(RUN_ID, "smoke", {}, 0, "{}", 1)
    ledger = Ledger(database, RUN_ID)
    ledger.publish(entries(), 1, time.time() + 3600)
    groups = Groups()
    for index in range(TRAJECTORIES // GROUP_SIZE):
        groups.expect(index, [f"{RUN_ID}/train/{index}/{sample}" for sample in range(GROUP_SIZE)], 0.0)
    consumer: EventConsumer[rollout_pb2.Trajectory] = EventConsumer(
        kafka, TOPIC, rollout_pb2.Trajectory, group=None, client_id="ingest", producer_for_dead_letters=None
    )
    try:
        inbox = Inbox(consumer, ledger, RUN_ID, Bookmark(dict.fromkeys(consumer.end_offsets(), 0), []))
        settled, began = 0, time.perf_counter()
        for step, judged in enumerate(batches(inbox, groups), start=1):
            outcomes = [outcome for group in judged for outcome in group.outcomes]
            ledger.settle(outcomes, step)
            inbox.settle(outcome.request_id for outcome in outcomes)
            inbox.bookmark()
            settled += len(outcomes)
        seconds = time.perf_counter() - began
    finally:
        consumer.close()
    (account,) = ledger.accounts()
    if account.trained != TRAJECTORIES or account.outstanding:
        raise RuntimeError(f"not every trajectory was taken once: {account}")
    return settled / seconds


def measure() -> dict[str, float]:
    """Trajectories a second, and by how many MiB the process grew over the second ten thousand."""
    console = Console(stderr=True)
    with running_stack("ingest", ["broker"], {}, console) as stack, tempfile.TemporaryDirectory() as directory:
        kafka = KafkaSettings(bootstrap=stack.bootstrap)
        console.print(f"{publish(kafka)} messages on the log")
        rates, sizes = [], []
        for turn in ("first", "second"):
            (Path(directory) / turn).mkdir()
            rates.append(ingest(kafka, Path(directory) / turn))
            gc.collect()
            sizes.append(rss_mb())
            console.print(f"{turn} time: {rates[-1]:.0f} trajectories a second, {sizes[-1]:.0f} MiB after it")
        return {"ingest_per_s": round(min(rates), 1), "rss_growth_mb": round(sizes[1] - sizes[0], 1)}


def main() -> None:
    print(f"figures: {json.dumps(measure())}")


if __name__ == "__main__":
    main()
