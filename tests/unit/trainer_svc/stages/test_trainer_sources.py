"""Public files become texts and tasks that the rubric service's matchers verify; HealthBench is never trained on."""

import json
from pathlib import Path

import protovalidate
import pytest

from trainer_svc.config import preset_names, resolve
from trainer_svc.stages.sources import DataError, DataMissing, read_tasks, read_texts
from trainer_svc.stages.task_formats import FORMATS, as_line

DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"
public = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
TASKS = (
    "mediq:mediq/all_dev_good.jsonl",
    "mediq-diagnosis:mediq/all_dev_good.jsonl",
    "gsm8k:gsm8k/test.jsonl",
    "ifeval:ifeval/input_data.jsonl",
    "rubric:@rubric_tasks.jsonl",
)


@public
@pytest.mark.parametrize("source", TASKS)
def test_every_task_of_a_source_is_valid_under_the_contract(source: str) -> None:
    split = read_tasks(DATA, (source,), 20)
    assert split.train and split.held_out
    for task in (*split.train, *split.held_out):
        protovalidate.validate(task.context())
        assert task.criteria and task.prompt


@public
def test_a_vignette_that_is_held_out_is_so_with_choices_and_without() -> None:
    split = read_tasks(DATA, TASKS[:2], 20)
    assert not {task.task_id for task in split.train} & {task.task_id for task in split.held_out}


@public
@pytest.mark.parametrize("stage", ["mid", "sft", "rl1", "rl2"])
def test_the_laptops_presets_name_files_that_can_be_read(stage: str) -> None:
    data = resolve("laptop", {}, stage).data
    for sources in (data.medical, data.general, data.maths, data.general_probe):
        assert all(len(read_texts(DATA, (source,), 20).train) > 50 for source in sources)
    assert bool(data.tasks) == (stage != "mid")
    assert read_tasks(DATA, data.tasks, 20).train or stage == "mid"


@pytest.mark.parametrize("stage", ["mid", "sft", "rl1", "rl2", "rl3"])
def test_every_stage_has_presets_for_a_laptop_a_cluster_and_tests(stage: str) -> None:
    assert set(preset_names(stage)) >= {"laptop", "cluster", "smoke"}
    assert all(resolve(preset, {}, stage).stage == stage for preset in preset_names(stage))


def test_a_task_that_is_written_down_reads_back_as_it_was(tmp_path: Path) -> None:
    tasks = list(FORMATS["rubric"](Path("trainer_svc/stages/data/rubric_tasks.jsonl")))
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(json.dumps(as_line(task)) for task in tasks))
    assert list(FORMATS["tasks"](file)) == tasks


def test_an_item_that_carries_healthbenchs_canary_is_refused(tmp_path: Path) -> None:
    line = {"prompt_id": "1", "canary": "healthbench", "prompt": [{"role": "user", "content": "?"}], "rubrics": []}
    (tmp_path / "items.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match="evaluation alone"):
        read_tasks(tmp_path, ("rubric:items.jsonl",), 20)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no-such\.jsonl"):
        read_texts(tmp_path, ("jsonl:no-such.jsonl",), 20)
    with pytest.raises(DataError, match="format:path"):
        read_texts(tmp_path, ("nonsense:a",), 20)
    (tmp_path / "bad.jsonl").write_text('{"id": 1}')
    with pytest.raises(DataError, match=r"bad\.jsonl is no jsonl file"):
        read_texts(tmp_path, ("jsonl:bad.jsonl",), 20)


EXPERT = {"criterion": "Asks when it began.", "points": 3, "dimension": "consultation_logic"}


def test_a_task_for_a_rubric_carries_the_experts_and_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"task_id": "t", "skill": "open", "prompt": "Write.", "expert": [EXPERT]}))
    (task,) = FORMATS["tasks"](file)
    context = task.context()
    protovalidate.validate(context)
    (criterion,) = context.expert.criteria
    assert (criterion.text, criterion.points, criterion.dimension) == ("Asks when it began.", 3, 2)
    assert not context.HasField("rubric")
    file.write_text(json.dumps(as_line(task)))
    assert list(FORMATS["tasks"](file)) == [task]


@pytest.mark.parametrize(
    "wrong", [{}, {"expert": [EXPERT | {"dimension": "taste"}]}, {"expert": [EXPERT], "rubrics": [EXPERT]}]
)
def test_a_task_with_no_one_to_judge_it_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"task_id": "t", "skill": "open", "prompt": "Write."} | wrong))
    with pytest.raises(DataError, match=r"tasks\.jsonl is no tasks file"):
        read_tasks(tmp_path, ("tasks:tasks.jsonl",), 20)
