"""How far a run has come: the part of a checkpoint that is neither tensors nor ledger. Lossless as JSON."""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from trainer_svc.figures.heldout import Measured
from trainer_svc.flow.inbox import Bookmark


@dataclass
class Measurement:
    """One side of the held-out comparison, by held-out index."""

    finished: bool = False
    values: dict[int, Measured] = field(default_factory=dict)
    dialogues: dict[int, dialogue_pb2.Dialogue] = field(default_factory=dict)
    # Of texts that were held out, by name.
    perplexity: dict[str, float] = field(default_factory=dict)


@dataclass
class Journal:
    bookmark: Bookmark
    step: int = 0
    next_group: int = 0
    before: Measurement = field(default_factory=Measurement)
    after: Measurement = field(default_factory=Measurement)
    # The mean reward on held-out cases or tasks by step, wherever it was measured.
    held_out: dict[int, float] = field(default_factory=dict)
    context_finished: bool = False
    # What is trained on: the fragments of RL 3, or the single prompts of RL 1 and RL 2.
    fragments: list[rollout_pb2.FragmentContext] = field(default_factory=list)
    prompts: list[rollout_pb2.PromptContext] = field(default_factory=list)
    # What a stage has to remember and to report: counts, and the digests of files that it wrote.
    stage: dict[str, Any] = field(default_factory=dict)
    # The StepMetrics of every step, as JSON.
    history: list[dict[str, Any]] = field(default_factory=list)
    traced_episodes: int = 0

    @property
    def pool(self) -> Sequence[rollout_pb2.FragmentContext | rollout_pb2.PromptContext]:
        return self.prompts or self.fragments

    def to_json(self) -> dict[str, Any]:
        return {
            "bookmark": {
                "offsets": {str(partition): offset for partition, offset in self.bookmark.offsets.items()},
                "settled": [list(place) for place in self.bookmark.settled],
            },
            "step": self.step,
            "next_group": self.next_group,
            "before": _measurement_to_json(self.before),
            "after": _measurement_to_json(self.after),
            "held_out": {str(step): mean for step, mean in self.held_out.items()},
            "context_finished": self.context_finished,
            "fragments": [_bytes(fragment.SerializeToString(deterministic=True)) for fragment in self.fragments],
            "prompts": [_bytes(prompt.SerializeToString(deterministic=True)) for prompt in self.prompts],
            "stage": self.stage,
            "history": self.history,
            "traced_episodes": self.traced_episodes,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Journal":
        bookmark = value["bookmark"]
        return cls(
            bookmark=Bookmark(
                {int(partition): offset for partition, offset in bookmark["offsets"].items()},
                [(partition, offset) for partition, offset in bookmark["settled"]],
            ),
            step=value["step"],
            next_group=value["next_group"],
            before=_measurement_from_json(value["before"]),
            after=_measurement_from_json(value["after"]),
            held_out={int(step): mean for step, mean in value.get("held_out", {}).items()},
            context_finished=value["context_finished"],
            fragments=[rollout_pb2.FragmentContext.FromString(_unbytes(text)) for text in value["fragments"]],
            prompts=[rollout_pb2.PromptContext.FromString(_unbytes(text)) for text in value["prompts"]],
            stage=value["stage"],
            history=value["history"],
            traced_episodes=value["traced_episodes"],
        )


def _measurement_to_json(measurement: Measurement) -> dict[str, Any]:
    return {
        "finished": measurement.finished,
        "values": {str(index): asdict(value) for index, value in measurement.values.items()},
        "dialogues": {str(i): _bytes(dialogue.SerializeToString()) for i, dialogue in measurement.dialogues.items()},
        "perplexity": measurement.perplexity,
    }


def _measurement_from_json(value: dict[str, Any]) -> Measurement:
    return Measurement(
        finished=value["finished"],
        values={int(index): Measured(**measured) for index, measured in value["values"].items()},
        dialogues={int(i): dialogue_pb2.Dialogue.FromString(_unbytes(text)) for i, text in value["dialogues"].items()},
        perplexity=value["perplexity"],
    )


def _bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unbytes(text: str) -> bytes:
    return base64.b64decode(text)
