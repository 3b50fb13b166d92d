"""RL 2, rubric-based: single prompts whose answers a rubric scores, with the length bonus of the objective."""

from trainer_svc.run import Run, RunFailed


def practise(run: Run) -> None:
    """Every training task is trained on; the preset turns the length bonus on."""
    if not run.journal.prompts:
        run.journal.prompts = [task.context() for task in run.plan.tasks.train]
        if not run.journal.prompts:
            raise RunFailed("there is no task to train on: data.tasks names none")
        run.checkpoint()
    run.train()
