"""Trajectories of a real run, to measure the optimizer on real lengths; results/trajectories.jsonl has a group a line.

`python -m tests.benchmarks.recorded --bootstrap HOST:PORT` records them from the log of a run with the preset demo.
They hold no patient: the cases are the built-in ones, which were made up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

from anamnesis.common.v1 import rollout_pb2
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from trainer_svc.flow.groups import FreshMember, judge
from trainer_svc.learner.batches import Group, Sample
from trainer_svc.learner.packing import shared_prefix

PATH = Path(__file__).parent / "results" / "trajectories.jsonl"
TRAJECTORIES_TOPIC = "anamnesis.rollout.trajectories.v1"
LOGPROB_DIGITS = 5


def load_groups(path: Path = PATH) -> list[Group]:
    groups = []
    for line in path.read_text(encoding="utf-8").splitlines():
        value = json.loads(line)
        samples = [
            Sample(value["prompt"] + row["tokens"], row["trained"], row["logprobs"], row["reward"])
            for row in value["rows"]
        ]
        groups.append(Group(samples))
    return groups


def record(bootstrap: str, wanted: int, seconds: float) -> int:
    """Waits for so many whole groups with spread."""
    settings = KafkaSettings(bootstrap=bootstrap)
    producer = EventProducer(settings, "recorder")
    consumer = EventConsumer(
        settings,
        TRAJECTORIES_TOPIC,
        rollout_pb2.Trajectory,
        group=None,
        client_id="recorder",
        producer_for_dead_letters=producer,
    )
    consumer.seek(dict.fromkeys(consumer.end_offsets(), 0))
    received: dict[str, dict[str, rollout_pb2.Trajectory]] = defaultdict(dict)
    groups: dict[str, list[FreshMember]] = {}
    deadline = time.monotonic() + seconds
    while len(groups) < wanted and time.monotonic() < deadline:
        for item in consumer.poll(1.0):
            request = item.message.request
            if request.purpose != rollout_pb2.PURPOSE_TRAIN:
                continue
            group = received[request.group_id]
            group[request.request_id] = item.message
            if len(group) == request.group_size:
                judged = judge(0, sorted(group), group, request.run_id, 0, staleness=10**9)
                if len(judged.members) == request.group_size:
                    groups[request.group_id] = judged.members
    consumer.close()
    producer.close(5.0)
    lines = []
    for _, members in sorted(groups.items()):
        prefix = shared_prefix([member.member.token_ids for member in members])
        rows = [
            {
                "tokens": member.member.token_ids[prefix:],
                "trained": member.trained,
                "logprobs": [round(value, LOGPROB_DIGITS) for value in member.logprobs],
                "reward": round(member.member.trajectory.reward, LOGPROB_DIGITS),
            }
            for member in members
        ]
        lines.append(json.dumps({"prompt": members[0].member.token_ids[:prefix], "rows": rows}))
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    print(f"{record(arguments.bootstrap, arguments.groups, arguments.seconds)} groups in {PATH}")


if __name__ == "__main__":
    main()
