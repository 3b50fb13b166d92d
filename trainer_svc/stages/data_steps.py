"""The data steps of mid-training: texts rewritten in a clear structure, and texts with thinking notes behind them.

The frozen model writes; plain rules judge what it wrote, and count what they reject by reason. Invariant: a source that
has an outcome is never asked again, so a step that was cut short goes on where it stopped.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer_svc.stages.sources import Text
from trainer_svc.stages.task_formats import PROMPTS

Step = Literal["rephrase", "notes"]
# Gives an answer or a reason why there is none, for each prompt.
Generate = Callable[[Sequence[str]], list[tuple[str, str]]]

LEAST_WORDS = 12
# A text of which a smaller share of its three-word sequences are different ones goes round in circles.
LEAST_VARIETY = 0.5

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# Of a list that the model numbered itself.
_ORDINAL = re.compile(r"^\s*\d+[.)]\s", re.M)


@dataclass(frozen=True)
class Outcome:
    """`text` where it was kept, otherwise the reason."""

    source: str
    text: str = ""
    reason: str = ""


def judge(source: str, written: str) -> str:
    """Why what was written is not to be trained on; empty if nothing speaks against it."""
    words = written.split()
    if len(words) < LEAST_WORDS:
        return "too_short"
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if len(set(triples)) < LEAST_VARIETY * len(triples):
        return "repeats_itself"
    if written.strip() == source.strip():
        return "copied"
    if set(_NUMBER.findall(_ORDINAL.sub("", written))) - set(_NUMBER.findall(source)):
        return "invented_number"
    return ""


class Outcomes:
    """Kept texts in `out`, rejected ones beside it in `<out>.rejected`; both one JSON object a line."""

    def __init__(self, out: Path) -> None:
        self._kept, self._rejected = out, out.with_name(f"{out.name}.rejected")
        self._known = {line["source"] for path in (self._kept, self._rejected) for line in _whole_lines(path)}

    def knows(self, source: str) -> bool:
        return source in self._known

    def add(self, step: Step, outcomes: Sequence[Outcome]) -> None:
        for path, chosen in (
            (self._kept, [o for o in outcomes if not o.reason]),
            (self._rejected, [o for o in outcomes if o.reason]),
        ):
            with path.open("a", encoding="utf-8") as file:
                for outcome in chosen:
                    line = {"id": f"{outcome.source}/{step}", "source": outcome.source}
                    line |= {"reason": outcome.reason} if outcome.reason else {"text": outcome.text}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._known |= {outcome.source for outcome in outcomes}


def play(
    step: Step, texts: Sequence[Text], generate: Generate, outcomes: Outcomes, batch: int, told: Callable[[int], None]
) -> Counter[str]:
    """Every text that has no outcome yet; what became of them, by reason, `kept` among them."""
    template = (PROMPTS / f"{step}.txt").read_text(encoding="utf-8").strip()
    left = [text for text in texts if not outcomes.knows(text.text_id)]
    counts: Counter[str] = Counter()
    for start in range(0, len(left), batch):
        asked = left[start : start + batch]
        answers = generate([template.format(text=text.text) for text in asked])
        found = [_outcome(step, text, *answer) for text, answer in zip(asked, answers, strict=True)]
        outcomes.add(step, found)
        counts.update(outcome.reason or "kept" for outcome in found)
        told(start + len(asked))
    return counts


def _outcome(step: Step, text: Text, written: str, error: str) -> Outcome:
    reason = error or judge(text.text, written)
    if reason:
        return Outcome(text.text_id, reason=reason)
    whole = written.strip() if step == "rephrase" else f"{text.text.strip()}\n\nNotes:\n{written.strip()}"
    return Outcome(text.text_id, whole)


def _whole_lines(path: Path) -> list[dict[str, str]]:
    """A last line that was cut short has not happened, and is cut off the file."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]
