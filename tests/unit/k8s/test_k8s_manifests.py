"""The base holds to our rules, and each rule sees the faults that are planted. `make k8s-check` does the overlays."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from k8s.check.configuration import environment_of, variables
from k8s.check.faults import FAULTS, IN_THE_BASE, Fault
from k8s.check.manifests import K8S, Finding, Manifest, named, pods, read_plain, selects
from k8s.check.rules import WHOLE, findings
from k8s.check.rules.arrows import wanted_arrows
from k8s.check.waivers import Waiver, apart, read_waivers
from k8s.check.workloads import WORKLOADS
from service_kit.kafka.commands import kafka_settings


@pytest.fixture(scope="module")
def base() -> list[Manifest]:
    return read_plain(K8S / "base")


def test_the_base_breaks_no_rule(base: Sequence[Manifest]) -> None:
    assert findings(base) == []


@pytest.mark.parametrize("fault", IN_THE_BASE, ids=lambda fault: fault.name)
def test_a_planted_fault_is_seen_by_its_rule(base: Sequence[Manifest], fault: Fault) -> None:
    seen = findings(fault.planted(base))
    assert fault.caught_by in {finding.rule for finding in seen}, seen


def test_planting_leaves_the_manifests_as_they_were(base: Sequence[Manifest]) -> None:
    before = repr(base)
    for fault in IN_THE_BASE:
        fault.planted(base)
    assert repr(base) == before


def test_no_rule_is_without_a_fault_that_it_must_see() -> None:
    rules = {rule.__module__.rpartition(".")[2].replace("_", "-") for rule in WHOLE}
    assert rules <= {fault.caught_by for fault in FAULTS}
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def test_every_workload_of_the_base_is_one_that_is_known(base: Sequence[Manifest]) -> None:
    assert {pod.name for pod in pods(base)} == set(WORKLOADS)


def test_only_the_trainer_may_move_weights_and_nobody_calls_the_worker(base: Sequence[Manifest]) -> None:
    arrows = wanted_arrows(base)
    assert {caller for caller, callee, _ in arrows if callee == "inference-policy"} == {
        "gateway", "rollout-worker", "rubric", "trainer",
    }  # fmt: skip
    assert not [arrow for arrow in arrows if arrow[1] == "rollout-worker"]


def test_an_empty_selector_selects_everything_and_a_missing_one_nothing() -> None:
    assert selects({}, {"a": "1"}) and not selects(None, {"a": "1"})
    assert not selects({"matchLabels": {"a": "2"}}, {"a": "1"})
    expression = {"key": "a", "operator": "NotIn", "values": ["1"]}
    assert not selects({"matchExpressions": [expression]}, {"a": "1"}) and selects(
        {"matchExpressions": [expression]}, {}
    )


def test_judging_a_pods_settings_leaves_our_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_RUBRIC_LOG_LEVEL", "DEBUG")
    before = dict(os.environ)
    with environment_of({"ANAMNESIS_GATEWAY_AUTH": "keys", "PATH": "nowhere"}):
        assert {name for name in os.environ if name.startswith("ANAMNESIS_")} == {"ANAMNESIS_GATEWAY_AUTH"}
        assert os.environ["PATH"] == before["PATH"]
    assert dict(os.environ) == before


def test_a_waiver_that_covers_nothing_is_itself_a_finding() -> None:
    waiver = Waiver(rule="images", subject="Deployment/.*", reason="for as long as it takes to say why")
    covered, other = Finding("images", "Deployment/a", ""), Finding("probes", "Deployment/a", "")
    assert apart([covered, other], [waiver]) == ([other], [covered])
    ((idle,), waived) = apart([], [waiver])
    assert idle.message == "the waiver covers nothing any more" and waived == []


def test_no_rule_of_our_own_is_waived() -> None:
    ours = {rule.__module__.rpartition(".")[2].replace("_", "-") for rule in WHOLE}
    assert not ours & {waiver.rule for waiver in read_waivers()}


def test_the_replay_of_dead_letters_is_given_settings_that_it_takes(base: Sequence[Manifest]) -> None:
    (job,) = pods(read_plain(K8S / "examples" / "dead-letters"))
    given = kafka_settings(variables(job.spec["containers"][0]), None)
    assert (given.security_protocol, given.ssl_certfile) == ("SSL", "/etc/anamnesis/kafka/user.crt")
    assert named(base, "KafkaUser", "dead-letters") is not None
