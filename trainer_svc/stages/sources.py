"""Where texts and tasks come from: `format:path`, the path under the data directory, absolute, or `@name` for what
ships with the trainer.

Invariant: a record's id alone decides whether it is held out: no stage trains on what another is measured on.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from trainer_svc.flow.tasks import Task
from trainer_svc.stages import task_formats

SHIPPED = Path(__file__).parent / "data"

T = TypeVar("T")


class DataError(Exception):
    """A file is missing, or is not of the format that it is said to have."""


class DataMissing(DataError):
    """There is no such file."""


@dataclass(frozen=True)
class Split(Generic[T]):
    train: tuple[T, ...]
    held_out: tuple[T, ...]


@dataclass(frozen=True)
class Text:
    text_id: str
    text: str


@dataclass(frozen=True)
class Pair:
    """A prompt with the answer that is to be learned."""

    pair_id: str
    prompt: str
    answer: str


def read_texts(root: Path, sources: tuple[str, ...], held_out_percent: int) -> Split[Text]:
    return _read(root, sources, TEXT_FORMATS, held_out_percent, lambda text: text.text_id)


def read_tasks(root: Path, sources: tuple[str, ...], held_out_percent: int) -> Split[Task]:
    return _read(root, sources, task_formats.FORMATS, held_out_percent, lambda task: task.task_id)


def read_pairs(root: Path, sources: tuple[str, ...], held_out_percent: int) -> Split[Pair]:
    return _read(root, sources, PAIR_FORMATS, held_out_percent, lambda pair: pair.pair_id)


def is_held_out(record_id: str, percent: int) -> bool:
    return int.from_bytes(hashlib.sha256(record_id.encode()).digest()[:4], "big") % 100 < percent


def _read(
    root: Path,
    sources: tuple[str, ...],
    formats: dict[str, Callable[[Path], Iterator[T]]],
    held_out_percent: int,
    identity: Callable[[T], str],
) -> Split[T]:
    train: list[T] = []
    held_out: list[T] = []
    for source in sources:
        name, _, location = source.partition(":")
        if name not in formats or not location:
            raise DataError(f"{source!r} is not format:path; formats are {', '.join(sorted(formats))}")
        path = SHIPPED / location[1:] if location.startswith("@") else root / location
        if not path.is_file():
            raise DataMissing(f"there is no {path} (ANAMNESIS_TRAINER_DATA says where data lies)")
        try:
            for record in formats[name](path):
                (held_out if is_held_out(identity(record), held_out_percent) else train).append(record)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no {name} file: {type(error).__name__}: {error}") from error
    return Split(tuple(train), tuple(held_out))


def _jsonl(path: Path) -> Iterator[Text]:
    """`{"id", "text"}` a line: what the data steps write."""
    for line in task_formats.lines(path):
        yield Text(str(line["id"]), str(line["text"]))


def _pairs(path: Path) -> Iterator[Pair]:
    """`{"id", "prompt", "answer"}` a line, all three not empty. Lines of one id are held out together."""
    for line in task_formats.lines(path):
        pair = Pair(str(line["id"]), str(line["prompt"]), str(line["answer"]))
        if not (pair.pair_id and pair.prompt and pair.answer):
            raise ValueError(f"{pair.pair_id!r}: a pair has an id, a prompt and an answer")
        yield pair


def _mts_dialog(path: Path) -> Iterator[Text]:
    """A dialogue with the note that was made of it."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Text(f"mts-dialog/{row['ID']}", f"{row['dialogue'].strip()}\n\nNote: {row['section_text'].strip()}")


def _gsm8k(path: Path) -> Iterator[Text]:
    for number, line in enumerate(task_formats.lines(path)):
        yield Text(f"gsm8k/{path.stem}/{number}", f"{line['question']}\n{task_formats.worked(line['answer'])}")


def _ifeval(path: Path) -> Iterator[Text]:
    for line in task_formats.lines(path):
        yield Text(f"ifeval/{line['key']}", line["prompt"])


def _prose(path: Path) -> Iterator[Text]:
    """A plain text, in pieces of forty lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for start in range(0, len(lines), 40):
        if piece := "\n".join(lines[start : start + 40]).strip():
            yield Text(f"{path.stem}/{start}", piece)


TEXT_FORMATS: dict[str, Callable[[Path], Iterator[Text]]] = {
    "jsonl": _jsonl,
    "mts-dialog": _mts_dialog,
    "gsm8k": _gsm8k,
    "ifeval": _ifeval,
    "prose": _prose,
}
PAIR_FORMATS: dict[str, Callable[[Path], Iterator[Pair]]] = {"pairs": _pairs}
