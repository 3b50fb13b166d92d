"""Files of questions as tasks with their verifiers: multiple choice, numbers, constraints on form, diagnoses, rubrics.

Matchers are the rubric service's; this module only writes down which one verifies what, and with which terms.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from anamnesis.common.v1 import rubric_pb2
from trainer_svc.flow.tasks import Task, verified_by

PROMPTS = Path(__file__).parent / "prompts"
SYNONYMS = Path(__file__).parent / "data" / "synonyms.toml"
# Wherever HealthBench's items are published they carry it. They are for evaluation alone.
CANARY = "canary"
# Constraints of IFEval that no matcher tells; tasks with one are left out.
UNVERIFIED = {"language:response_language"}
# A term of a diagnosis must be words that can be looked for.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z' -]{2,80}")
_DIMENSION = "DIMENSION_"
_CALCULATION = re.compile(r"<<[^>]*>>")


def worked(answer: str) -> str:
    """GSM8K's worked answer in words: without its calculator marks, the result named as the prompt asks for it."""
    steps, _, result = _CALCULATION.sub("", answer).partition("####")
    return f"{steps.strip()}\nThe answer is {result.strip()}."


def _mediq(path: Path) -> Iterator[Task]:
    """Vignettes with a question: multiple choice; those that ask for a diagnosis also without choices."""
    choose, diagnose = _prompt("multiple_choice"), _prompt("diagnosis")
    for line in lines(path):
        vignette, question = " ".join(line["context"]), line["question"].strip()
        options = "\n".join(f"{letter}. {text}" for letter, text in line["options"].items())
        letter, answer = line["answer_idx"], line["answer"]
        yield Task(
            task_id=f"mediq/{line['id']}",
            skill="knowledge",
            prompt=choose.format(vignette=vignette, question=question, options=options),
            criteria=(verified_by("choice", f"Answers {letter}, {answer}.", "answers_choice", [letter, answer[:250]]),),
            reference=f"The answer is {letter}. {answer}",
        )
        if "most likely diagnosis" in question and _PLAIN.fullmatch(answer):
            yield Task(
                task_id=f"mediq/{line['id']}",
                skill="reasoning",
                prompt=diagnose.format(vignette=vignette),
                criteria=(verified_by("diagnosis", f"Names {answer}.", "named_diagnosis", _names(answer)),),
                reference=f"The most likely diagnosis is {answer}.",
            )


def _mediq_choice(path: Path) -> Iterator[Task]:
    return (task for task in _mediq(path) if task.skill == "knowledge")


def _mediq_diagnosis(path: Path) -> Iterator[Task]:
    return (task for task in _mediq(path) if task.skill == "reasoning")


def _gsm8k(path: Path) -> Iterator[Task]:
    prompt = _prompt("number")
    for number, line in enumerate(lines(path)):
        result = line["answer"].rpartition("####")[2].strip().replace(",", "")
        yield Task(
            task_id=f"gsm8k/{path.stem}/{number}",
            skill="reasoning",
            prompt=prompt.format(question=line["question"]),
            criteria=(verified_by("number", f"The answer is {result}.", "answers_number", [result]),),
            reference=worked(line["answer"]),
        )


def _ifeval(path: Path) -> Iterator[Task]:
    """One criterion an instruction; the reward is the share that was followed. A language is not told by rules."""
    for line in lines(path):
        if not UNVERIFIED.isdisjoint(line["instruction_id_list"]):
            continue
        instructions = zip(line["instruction_id_list"], line["kwargs"], strict=True)
        yield Task(
            task_id=f"ifeval/{line['key']}",
            skill="instruction",
            prompt=line["prompt"],
            criteria=tuple(
                verified_by(f"instruction-{i}", name, "follows_instruction", _instruction(name, arguments))
                for i, (name, arguments) in enumerate(instructions)
            ),
        )


def _instruction(name: str, arguments: dict[str, Any]) -> list[str]:
    """The instruction's name, and its arguments as JSON in pieces, since a term is 256 characters at most."""
    text = json.dumps({key: value for key, value in arguments.items() if value is not None}, separators=(",", ":"))
    return [name, *(f"|{text[start : start + 250]}" for start in range(0, len(text), 250))]


def _rubric(path: Path) -> Iterator[Task]:
    """HealthBench's form: `prompt_id, prompt[{role, content}], rubrics[{criterion, points, tags}]`. A rubric may have a
    `matcher` and its `terms`; otherwise the judge model answers."""
    for line in lines(path):
        if CANARY in line:
            raise ValueError(f"{line['prompt_id']} carries a canary: HealthBench's items are for evaluation alone")
        said = line["prompt"]
        if len(said) != 1 or said[0]["role"] != "user":
            raise ValueError(f"{line['prompt_id']}: a task is one message of the user")
        criteria = tuple(_criterion(f"c{i}", rubric) for i, rubric in enumerate(line["rubrics"]))
        yield Task(line["prompt_id"], "open", said[0]["content"], criteria, line.get("reference", ""))


def _criterion(criterion_id: str, rubric: dict[str, Any]) -> rubric_pb2.Criterion:
    if "matcher" in rubric:
        return verified_by(
            criterion_id, rubric["criterion"], rubric["matcher"], list(rubric.get("terms", ())), rubric["points"]
        )
    check = rubric_pb2.CriterionCheck(model=rubric_pb2.CriterionCheck.Model())
    return rubric_pb2.Criterion(
        criterion_id=criterion_id, text=rubric["criterion"], points=rubric["points"], check=check
    )


def _tasks(path: Path) -> Iterator[Task]:
    """What `rl_tasks.jsonl` of an SFT run is: `{"task_id", "skill", "prompt", "rubrics", "reference"}`.

    A task whose answer is a rubric has `expert` in place of rubrics: `[{criterion, points, dimension}]`.
    """
    for line in lines(path):
        criteria = tuple(_criterion(f"c{i}", rubric) for i, rubric in enumerate(line.get("rubrics", ())))
        expert = tuple(_expert(f"e{i}", rubric) for i, rubric in enumerate(line.get("expert", ())))
        if bool(criteria) is bool(expert):
            raise ValueError(f"{line['task_id']}: either rubrics or expert")
        yield Task(line["task_id"], line["skill"], line["prompt"], criteria, line.get("reference", ""), expert)


def _expert(criterion_id: str, rubric: dict[str, Any]) -> rubric_pb2.Criterion:
    dimension = rubric_pb2.Dimension.Value(f"{_DIMENSION}{rubric['dimension'].upper()}")
    return rubric_pb2.Criterion(
        criterion_id=criterion_id, text=rubric["criterion"], points=rubric["points"], dimension=dimension
    )


def as_line(task: Task) -> dict[str, Any]:
    """The line that `_tasks` reads."""
    rubrics = []
    for criterion in task.criteria:
        rubric: dict[str, Any] = {"criterion": criterion.text, "points": criterion.points}
        if criterion.check.WhichOneof("check") == "verifiable":
            rubric |= {
                "matcher": criterion.check.verifiable.matcher,
                "terms": list(criterion.check.verifiable.terms),
            }
        rubrics.append(rubric)
    expert = [
        {
            "criterion": criterion.text,
            "points": criterion.points,
            "dimension": rubric_pb2.Dimension.Name(criterion.dimension).removeprefix(_DIMENSION).lower(),
        }
        for criterion in task.expert
    ]
    return {
        "task_id": task.task_id,
        "skill": task.skill,
        "prompt": task.prompt,
        **({"expert": expert} if expert else {"rubrics": rubrics}),
        "reference": task.reference,
    }


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _prompt(name: str) -> str:
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip()


def _names(diagnosis: str) -> list[str]:
    """The diagnosis and its synonyms."""
    return next((names for names in _synonyms() if diagnosis.lower() in names), [diagnosis.lower()])


@cache
def _synonyms() -> list[list[str]]:
    groups: list[list[str]] = tomllib.loads(SYNONYMS.read_text(encoding="utf-8"))["same"]
    return groups


FORMATS: dict[str, Callable[[Path], Iterator[Task]]] = {
    "mediq": _mediq_choice,
    "mediq-diagnosis": _mediq_diagnosis,
    "gsm8k": _gsm8k,
    "ifeval": _ifeval,
    "rubric": _rubric,
    "tasks": _tasks,
}
