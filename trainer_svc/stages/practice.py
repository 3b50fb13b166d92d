"""The steps of a supervised stage: rows in order, a checkpoint now and then, orders obeyed between steps."""

from collections.abc import Callable, Sequence
from typing import Any

from trainer_svc.figures import measures
from trainer_svc.learner.supervised import Row, SupervisedEngine, SupervisedResult
from trainer_svc.records.orders import Halt
from trainer_svc.run import Run


def train_on(run: Run, rows: Callable[[int], Sequence[Row]]) -> None:
    """`rows(count)` gives the first so many rows of the run, the same ones each time. Served at the end."""
    schedule, supervised = run.config.schedule, run.config.supervised
    if run.journal.step >= schedule.steps:
        return
    assert isinstance(run.engine, SupervisedEngine)
    done, size = run.journal.step, supervised.rows_per_step
    told = run.steps_told()
    run.progress("training", done, schedule.steps)

    def after_step(result: SupervisedResult) -> None:
        run.journal.step += 1
        step = run.journal.step
        figures = step_metrics(step, result)
        run.journal.history.append(figures)
        if step > told:  # a step that is taken again after a crash was told before it
            run.tell_step(figures)
        measures.record_supervised(figures)
        run.progress("training", step, schedule.steps)
        try:
            run.check_orders()
        except Halt:
            run.checkpoint()
            raise
        if step % supervised.checkpoint_steps == 0 or step == schedule.steps:
            run.checkpoint()

    run.engine.train(rows(schedule.steps * size)[done * size :], after_step)
    run.publish_weights()


def step_metrics(step: int, result: SupervisedResult) -> dict[str, Any]:
    """The fields of StepMetrics that mean something without rewards."""
    return {
        "step": step,
        "loss": result.nll,
        "gradient_norm": result.gradient_norm,
        "tokens_per_second": result.tokens / max(result.seconds, 1e-9),
        "seconds": result.seconds,
        "extra": {"nll": result.nll, "reference_kl": result.kl, "tokens": float(result.tokens)},
    }
