"""The trainer's server process. It never imports torch: training happens in the run processes it starts."""

from collections.abc import Sequence

import grpc

from anamnesis.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import load_settings
from trainer_svc.records.database import connect
from trainer_svc.records.runs import RunStore
from trainer_svc.server import TrainerServicer
from trainer_svc.service import Training
from trainer_svc.settings import TrainerSettings
from trainer_svc.supervisor import Supervisor

# Left to the run process of the drain time, so that gRPC's own drain fits in as well.
DRAIN_SHARE = 0.8


def main() -> None:
    settings = load_settings(TrainerSettings, "trainer")
    connection = connect(settings.database())
    supervisor = Supervisor(RunStore(connection))
    training = Training(settings, connection, supervisor)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(TrainerServicer(training), server)
        return [trainer_pb2.DESCRIPTOR.services_by_name["TrainerService"].full_name]

    async def prepare() -> None:
        await supervisor.recover(settings.auto_resume)

    async def close() -> None:
        await supervisor.close(settings.drain_seconds * DRAIN_SHARE)

    run_service(serve(settings, "trainer", register, prepare=prepare, close=close))


if __name__ == "__main__":
    main()
