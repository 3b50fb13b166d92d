"""The process of one run: puts its parts together, goes back to the newest whole checkpoint, and says how it ended.

Every way to end that the process lives to see becomes a state of the run; what it does not live to see, the supervisor
calls INTERRUPTED.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import ServiceError
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.topics import ensure_topics
from service_kit.logs import configure_logging
from service_kit.settings import load_settings
from service_kit.telemetry import configure_telemetry
from trainer_svc.config import RunConfig
from trainer_svc.figures import measures
from trainer_svc.flow.cases import CaseStoreError, read_splits
from trainer_svc.flow.exchange import Exchange, Stalled
from trainer_svc.flow.outbox import REQUESTS_TOPIC, Outbox
from trainer_svc.flow.patience import LogUnavailable, Patience
from trainer_svc.flow.requests import Plan
from trainer_svc.learner.followers import followers
from trainer_svc.publication.publish import ForeignNames, NoReplicaUpdated
from trainer_svc.records.database import connect
from trainer_svc.records.ledger import Ledger
from trainer_svc.records.orders import Halt, Orders, die_with
from trainer_svc.records.runs import RunRecord, RunStore, State
from trainer_svc.service import CANCELLED_REASON
from trainer_svc.settings import TrainerSettings
from trainer_svc.tracking.tracker import TrackerMissing

TRAJECTORIES_TOPIC = "anamnesis.rollout.trajectories.v1"
CLOSE_SECONDS = 10.0

logger = logging.getLogger(__name__)


class ModelMissing(Exception):
    """There is no model directory where the settings say."""


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Threads that wait must not spin: the engines need the same cores. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Large tensors come and go: in huge pages they cost a few page faults in place of hundreds of thousands.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    parser = argparse.ArgumentParser(prog="trainer_svc.process")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True, help="the server's process id; the run ends with it")
    arguments = parser.parse_args()
    die_with(arguments.parent)
    settings = load_settings(TrainerSettings, "trainer")
    configure_logging("trainer", settings.log_level)
    telemetry = configure_telemetry("trainer", settings.otlp_endpoint)
    try:
        with alone(settings.run_directory(arguments.run_id)), measures.active_run():
            execute(settings, arguments.run_id, arguments.incarnation)
    finally:
        telemetry.shutdown()


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One process a run, also across servers: a second one waits for the first to be gone."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def execute(settings: TrainerSettings, run_id: str, incarnation: int) -> None:
    """Runs to an end and records it."""
    from trainer_svc.run import RunFailed
    from trainer_svc.stages.embedding import EmbedderMissing
    from trainer_svc.stages.sources import DataError

    connection = connect(settings.database())
    store, ledger = RunStore(connection), Ledger(connection, run_id)
    record = store.get(run_id)
    expected = (
        RunFailed,
        Stalled,
        DataError,
        EmbedderMissing,
        TrackerMissing,
        LogUnavailable,
        NoReplicaUpdated,
        ForeignNames,
        CaseStoreError,
        ModelMissing,
        ServiceError,
    )
    try:
        orders = Orders(store, run_id)
        store.change_state(run_id, State.RUNNING)
        play(settings, store, ledger, orders, record, incarnation)
        store.change_state(run_id, State.SUCCEEDED)
    except Halt as halt:
        if halt.state == State.CANCELLED:
            ledger.drop_outstanding(CANCELLED_REASON, checkpoint=0)
        store.change_state(run_id, halt.state, halt.why)
    except expected as error:
        logger.error("run failed", extra={"run_id": run_id, "cause": str(error)})
        store.change_state(run_id, State.FAILED, f"{error}")
    except Exception as error:
        logger.exception("run failed unexpectedly", extra={"run_id": run_id})
        store.change_state(run_id, State.FAILED, f"{type(error).__name__}: {error}")


def play(
    settings: TrainerSettings, store: RunStore, ledger: Ledger, orders: Orders, record: RunRecord, incarnation: int
) -> None:
    from trainer_svc.stages.corpus import read_all_tasks

    def notice(text: str) -> None:
        store.append_event(record.run_id, "notice", {"notice": text})

    config = RunConfig.model_validate_json(record.config)
    handed_on = settings.run_directory(config.start_from) / "data" / "rl_tasks.jsonl" if config.start_from else None
    wanted = handed_on is not None and config.stage == "rl1" and handed_on.is_file()
    tasks = read_all_tasks(settings.data, config, notice, handed_on if wanted else None)
    plan = Plan(record.run_id, record.seed, config, read_splits(settings.case_store), tasks)
    patience = Patience(settings.stall_seconds, orders.check, notice)
    client_id = f"trainer-{record.run_id}"
    patience.outlast(lambda: ensure_topics(settings.kafka, [REQUESTS_TOPIC, TRAJECTORIES_TOPIC]))
    with contextlib.ExitStack() as stack:
        producer = patience.outlast(lambda: EventProducer(settings.kafka, client_id))
        stack.callback(producer.close, CLOSE_SECONDS)
        consumer: EventConsumer[rollout_pb2.Trajectory] = patience.outlast(
            lambda: EventConsumer(
                settings.kafka,
                TRAJECTORIES_TOPIC,
                rollout_pb2.Trajectory,
                group=None,
                client_id=client_id,
                producer_for_dead_letters=producer,
            )
        )
        stack.callback(consumer.close)
        stack.enter_context(
            followers(plan.config, settings.model_of(plan.config.start_from), plan.seed, settings.threads)
        )
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trainer-", ignore_cleanup_errors=True)))
        _play(settings, store, ledger, orders, patience, plan, incarnation, producer, consumer, scratch)


def _play(
    settings: TrainerSettings,
    store: RunStore,
    ledger: Ledger,
    orders: Orders,
    patience: Patience,
    plan: Plan,
    incarnation: int,
    producer: EventProducer,
    consumer: EventConsumer[rollout_pb2.Trajectory],
    scratch: Path,
) -> None:
    model_path = settings.model_of(plan.config.start_from)
    if not (model_path / "model.safetensors").is_file():
        raise ModelMissing(f"no model.safetensors in {model_path}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainer_svc.figures.perplexity import perplexities
    from trainer_svc.flow.inbox import Bookmark, Inbox
    from trainer_svc.learner.checkpoint import Checkpoints
    from trainer_svc.learner.engine import Engine
    from trainer_svc.learner.learner import EngineState, Learner
    from trainer_svc.learner.supervised import SupervisedEngine
    from trainer_svc.publication.publish import WeightPublisher
    from trainer_svc.records.journal import Journal
    from trainer_svc.run import Run
    from trainer_svc.stages.corpus import read_corpus
    from trainer_svc.stages.practices import practice_of
    from trainer_svc.tracking.choice import tracker_of

    torch.set_num_threads(settings.threads)
    checkpoints = Checkpoints(settings.run_directory(plan.run_id) / "checkpoints", settings.keep_checkpoints)
    found = checkpoints.newest()
    if found is None:
        # Read from where the log ends now, and remember it: what comes is written down before the first request goes.
        journal, saved = Journal(Bookmark(patience.outlast(consumer.end_offsets), [])), None
        checkpoints.write({}, {"engine": {}, "journal": journal.to_json()})
    else:
        ledger.roll_back(found.number)
        journal = Journal.from_json(found.state["journal"])
        saved = EngineState(found.tensors, found.state["engine"]) if found.tensors else None

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    corpus = read_corpus(settings.data, plan.config, tokenizer, patience.told)
    evaluation = plan.config.evaluation
    probes = corpus.probe(plan.config.supervised.row_tokens, evaluation.perplexity_tokens)

    def load_engine() -> Learner:
        model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32, attn_implementation="sdpa")
        engine = SupervisedEngine if plan.config.supervises else Engine
        return engine(plan.config, model, tokenizer, plan.seed, scratch, steps_done=journal.step)

    tracker = tracker_of(settings, plan, incarnation)
    run = Run(
        settings=settings,
        store=store,
        plan=plan,
        incarnation=incarnation,
        ledger=ledger,
        orders=orders,
        exchange=Exchange(
            ledger=ledger,
            orders=orders,
            outbox=Outbox(producer, ledger, plan, incarnation, patience, settings.kafka.delivery_timeout_seconds),
            inbox=Inbox(consumer, ledger, plan.run_id, journal.bookmark),
            patience=patience,
            next_checkpoint=checkpoints.next_number,
            answer_seconds=plan.config.schedule.group_timeout_seconds,
        ),
        journal=journal,
        checkpoints=checkpoints,
        publisher=WeightPublisher(
            settings.weight_store(),
            model_path,
            settings.policy_targets,
            settings.update_deadline_seconds,
            settings.tls,
        ),
        tracker=tracker,
        model_path=model_path,
        load_engine=load_engine,
        practise=practice_of(plan.config.stage, corpus, settings),
        perplexities=lambda engine: perplexities(engine.trainer.model, probes),
        saved=saved,
    )
    with tracker:
        run.play()


if __name__ == "__main__":
    main()
