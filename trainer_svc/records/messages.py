"""Runs, ledgers and events as the contract's messages."""

from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from trainer_svc.config import RunConfig, StageName
from trainer_svc.records.ledger import Account
from trainer_svc.records.runs import Event, RunRecord, State

STATES: dict[State, trainer_pb2.RunState.ValueType] = {
    state: trainer_pb2.RunState.Value(f"RUN_STATE_{state.name}") for state in State
}
STAGES: dict[StageName, trainer_pb2.Stage.ValueType] = {
    "mid": trainer_pb2.STAGE_MID_TRAINING,
    "sft": trainer_pb2.STAGE_SFT,
    "rl1": trainer_pb2.STAGE_RL1,
    "rl2": trainer_pb2.STAGE_RL2,
    "rl3": trainer_pb2.STAGE_RL3,
}
PURPOSES: dict[str, rollout_pb2.Purpose.ValueType] = {
    "train": rollout_pb2.PURPOSE_TRAIN,
    "evaluate": rollout_pb2.PURPOSE_EVALUATE,
    "context": rollout_pb2.PURPOSE_CONTEXT,
    "sample": rollout_pb2.PURPOSE_SAMPLE,
}


def run_message(record: RunRecord, accounts: list[Account]) -> trainer_pb2.Run:
    config = RunConfig.model_validate_json(record.config)
    message = trainer_pb2.Run(
        run_id=record.run_id,
        spec=trainer_pb2.RunSpec(
            preset=record.preset,
            overrides=record.overrides,
            seed=record.seed,
            stage=STAGES[config.stage],
            start_from=config.start_from,
        ),
        state=STATES[record.state],
        incarnation=record.incarnation,
        step=record.step,
        total_steps=record.total_steps,
        error=record.error,
        ledger=[account_message(account) for account in accounts],
        checkpoint_path=record.checkpoint_path,
        plot_paths=record.plot_paths,
        traced_episodes=record.traced_episodes,
        general={name: trainer_pb2.Change(**change) for name, change in record.general.items()},
    )
    if record.started_at is not None:
        message.started_at.CopyFrom(timestamp(record.started_at))
    if record.finished_at is not None:
        message.finished_at.CopyFrom(timestamp(record.finished_at))
    if record.held_out is not None:
        values = dict(record.held_out)
        count = int(values.pop("count"))
        message.held_out.CopyFrom(trainer_pb2.HeldOut(count=count, **values))
    if record.example_before is not None:
        message.example_before.CopyFrom(dialogue_pb2.Dialogue.FromString(record.example_before))
    if record.example_after is not None:
        message.example_after.CopyFrom(dialogue_pb2.Dialogue.FromString(record.example_after))
    return message


def account_message(account: Account) -> trainer_pb2.LedgerAccount:
    return trainer_pb2.LedgerAccount(
        purpose=PURPOSES[account.purpose],
        published=account.published,
        trained=account.trained,
        used=account.used,
        dropped=account.dropped,
        outstanding=account.outstanding,
        duplicates=account.duplicates,
    )


def event_message(event: Event) -> trainer_pb2.RunEvent:
    message = trainer_pb2.RunEvent(sequence=event.sequence, at=timestamp(event.at))
    match event.kind:
        case "state":
            message.state = STATES[State(event.payload["state"])]
        case "progress":
            message.progress.CopyFrom(trainer_pb2.Progress(**event.payload))
        case "step":
            message.step.CopyFrom(trainer_pb2.StepMetrics(**event.payload))
        case "held_out":
            message.held_out.CopyFrom(trainer_pb2.HeldOutReward(**event.payload))
        case "notice":
            message.notice = event.payload["notice"]
        case "alert":
            message.alert.CopyFrom(trainer_pb2.Alert(**event.payload))
    return message


def timestamp(seconds: float) -> Timestamp:
    message = Timestamp()
    message.FromNanoseconds(int(seconds * 1_000_000_000))
    return message
