"""Which stage does what between the two measurements of a run."""

from collections.abc import Callable
from functools import partial

from trainer_svc.config import StageName
from trainer_svc.run import Run
from trainer_svc.settings import TrainerSettings
from trainer_svc.stages import mid_training, rl1, rl2, rl3, sft
from trainer_svc.stages.corpus import Corpus
from trainer_svc.stages.embedding import Embedder


def practice_of(stage: StageName, corpus: Corpus, settings: TrainerSettings) -> Callable[[Run], None]:
    match stage:
        case "mid":
            return partial(mid_training.practise, corpus=corpus)
        case "sft":
            embedder = Embedder(settings.embedder_path())
            return partial(sft.practise, corpus=corpus, embed=embedder.embed)
        case "rl1":
            return partial(rl1.practise, end=corpus.end)
        case "rl2":
            return rl2.practise
        case "rl3":
            return rl3.practise
