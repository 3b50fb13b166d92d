"""Mid-training: next-token loss on medical, general and maths texts, and a KL to the frozen reference on the last two.

What the texts are is decided before, by the data steps (`anamnesis data`); a run reads them from files.
"""

from trainer_svc.run import Run, RunFailed
from trainer_svc.stages.corpus import Corpus
from trainer_svc.stages.practice import train_on


def practise(run: Run, corpus: Corpus) -> None:
    for kind, texts in corpus.train.items():
        if not texts:
            raise RunFailed(f"data.{kind} has no text to train on")
    run.journal.stage["texts"] = {kind: len(texts) for kind, texts in corpus.train.items()}
    train_on(run, lambda count: corpus.rows(run.config.supervised.row_tokens, count, run.plan.seed))
