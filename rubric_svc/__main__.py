"""The rubric service's process: settings in, judges wired, served until told to stop."""

from __future__ import annotations

from rubric_svc.case_store import CaseStore
from rubric_svc.evaluate.benchmarks import Benchmarks
from rubric_svc.evaluate.registry import Evaluations
from rubric_svc.evaluate.server import EvaluationServicer
from rubric_svc.generate import templates
from rubric_svc.generate.pipeline import Generation
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.head import WrongHead, load_head
from rubric_svc.judge.model import ModelJudge
from rubric_svc.judge.panel import Judge, Panel
from rubric_svc.judge.second import SecondOpinion
from rubric_svc.judge.trained import TrainedJudge
from rubric_svc.model import Scope
from rubric_svc.scoring import Scorer
from rubric_svc.server import RubricServicer, register
from rubric_svc.settings import RubricSettings
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import load_settings


def model_judge(settings: RubricSettings, model: FrozenModel) -> ModelJudge:
    return ModelJudge(model, settings.judge_threshold, settings.judge_turns, settings.judge_seconds)


def judge_of(settings: RubricSettings, frozen: FrozenModel) -> Judge:
    """The trained judge that the settings name, or the model as it is. Raises WrongHead, which ends the process."""
    model = model_judge(settings, frozen)
    if not settings.judge_name:
        return model
    if settings.judge_store is None:
        raise WrongHead("judge_name is set, and judge_store is not")
    return TrainedJudge(model, frozen, load_head(settings.judge_store, settings.judge_name))


def wire(
    settings: RubricSettings, frozen: FrozenModel, writer: FrozenModel, other: FrozenModel | None = None
) -> tuple[RubricServicer, EvaluationServicer]:
    """Reads every criteria file and term list, so a wrong one ends the process before it serves.

    `writer` writes criteria and may be the frozen model itself; `other` is another model, for second opinions.
    """
    panel = Panel(judge_of(settings, frozen))
    scorer = Scorer(
        panel=panel,
        second=SecondOpinion(model_judge(settings, other) if other else panel.model, another_model=other is not None),
        chooser=frozen,
        templates=templates.built_in(),
        model_criteria={
            Scope.LAST_DOCTOR_TURN: settings.fragment_model_criteria,
            Scope.WHOLE_DIALOGUE: settings.whole_model_criteria,
        },
        void_share=settings.void_share,
        coherence_seconds=settings.coherence_seconds,
        embedder=frozen,
        agreement_seconds=settings.generation_seconds,
    )
    benchmarks = Benchmarks(settings, panel, scorer.templates)
    evaluations = Evaluations(settings.state_dir / "evaluations", benchmarks.check, benchmarks.play)
    generation = Generation(frozen, writer, scorer.templates, scorer.model_criteria, settings.generation_seconds)
    rubrics = RubricServicer(scorer, generation, CaseStore(settings.case_store), settings.score_concurrency)
    return rubrics, EvaluationServicer(evaluations)


async def main(settings: RubricSettings) -> None:
    frozen = FrozenModel(settings.inference_frozen_target, settings.tls, overload=settings.judge_spill_over)
    target = settings.second_judge_target
    other = FrozenModel(target, settings.tls, overload=settings.judge_spill_over) if target is not None else None
    writer = FrozenModel(settings.generator_target, settings.tls) if settings.generator_target is not None else frozen
    rubrics, evaluations = wire(settings, frozen, writer, other)

    async def close() -> None:
        await evaluations.registry.close()
        await frozen.close()
        if writer is not frozen:
            await writer.close()
        if other is not None:
            await other.close()

    await serve(
        settings,
        "rubric",
        lambda server: register(server, rubrics, evaluations),
        prepare=evaluations.registry.take_up,
        close=close,
    )


if __name__ == "__main__":
    run_service(main(load_settings(RubricSettings, "rubric")))
