"""Users talk to a doctor that is instructed as the trained one was; services share no file, so a test holds it."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_gateway_trainer_and_evaluation_instruct_the_doctor_alike() -> None:
    trained = (REPOSITORY / "trainer_svc/flow/prompts/doctor.txt").read_text(encoding="utf-8")
    served = (REPOSITORY / "gateway/prompts/doctor.txt").read_text(encoding="utf-8")
    evaluated = (REPOSITORY / "simulator_svc/prompts/doctor.txt").read_text(encoding="utf-8")
    assert served.strip() == trained.strip() == evaluated.strip()
