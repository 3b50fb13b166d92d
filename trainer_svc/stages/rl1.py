"""RL 1, rule-based: tasks whose answers a verifier tells right from wrong, of a difficulty at which trying teaches.

The difficulty is the pass rate of the model that the stage starts from. A task that is never or always solved gives a
group without spread; it is left out before it costs a group, and counted.
"""

from trainer_svc.run import Run, RunFailed
from trainer_svc.seeds import shuffled
from trainer_svc.stages.sampling import sample
from trainer_svc.stages.selection import pass_rate


def practise(run: Run, end: int) -> None:
    if not run.journal.prompts:
        filter_by_difficulty(run, end)
    run.train()


def filter_by_difficulty(run: Run, end: int) -> None:
    selection, tasks = run.config.selection, run.plan.tasks.train
    # What SFT handed on stands first.
    handed = range(min(run.plan.tasks.handed_on, selection.tasks))
    others = [i for i in shuffled(run.plan.seed, "pool", len(tasks)) if i not in handed]
    asked = [*handed, *others][: selection.tasks]
    answers = sample(run, asked, end)
    counts = {"asked": len(asked), "unanswered": 0, "too_hard": 0, "too_easy": 0, "kept": 0}
    kept = []
    for index in asked:
        rate = pass_rate(answers[index], selection.passes_at)
        if not answers[index]:
            counts["unanswered"] += 1
        elif rate < selection.least_pass_rate:
            counts["too_hard"] += 1
        elif rate > selection.greatest_pass_rate:
            counts["too_easy"] += 1
        else:
            counts["kept"] += 1
            kept.append(index)
    run.journal.stage["difficulty"] = counts
    run.notice("difficulty: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if not kept:
        raise RunFailed(f"no task has a pass rate that teaches: {counts}")
    run.journal.prompts = [tasks[index].context() for index in kept]
    run.checkpoint()
