"""The engine: TRL's loss under our configuration, steps that can be resumed bit for bit, weights that can be served."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from tests.tiny_llama import VOCABULARY, tiny_model, tiny_tokenizer
from trainer_svc.config import RunConfig, resolve
from trainer_svc.learner.batches import Group, Sample, micro_batches, rows_of
from trainer_svc.learner.checkpoint import Checkpoints
from trainer_svc.learner.engine import Engine
from trainer_svc.learner.learner import EngineState
from trainer_svc.learner.trainer import ImprovedGRPOTrainer, StepResult
from trainer_svc.learner.trl_engine import GRPOTrainer

OVERRIDES = {
    "schedule.steps": "4",
    "schedule.groups_per_step": "2",
    "schedule.group_size": "3",
    "sampling.max_tokens": "5",
    "optimizer.learning_rate": "0.05",
    "lora.rank": "2",
}


@pytest.fixture
def config() -> RunConfig:
    return resolve("smoke", OVERRIDES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def recorded(step: int, config: RunConfig) -> list[Group]:
    """The trajectories of a step: the same however often they are asked for."""
    source = random.Random(step)
    groups = []
    for _ in range(config.schedule.groups_per_step):
        prompt = [source.randrange(2, VOCABULARY) for _ in range(6)]
        samples = []
        for _ in range(config.schedule.group_size):
            answer = [source.randrange(2, VOCABULARY) for _ in range(source.randint(1, 5))]
            trained = list(range(6, 6 + len(answer)))
            samples.append(Sample(prompt + answer, trained, [-3.0 - source.random() for _ in answer], source.random()))
        groups.append(Group(samples))
    return groups


def engine(config: RunConfig, scratch: Path, steps_done: int = 0) -> Engine:
    return Engine(config, tiny_model(), tiny_tokenizer(), seed=7, scratch=scratch, steps_done=steps_done)


def play(engine: Engine, config: RunConfig, first: int, last: int) -> list[StepResult]:
    results: list[StepResult] = []

    def after(result: StepResult) -> bool:
        results.append(result)
        return first + len(results) < last

    engine.train(lambda: recorded(first + len(results), config), after)
    return results


def disturb(ours: ImprovedGRPOTrainer) -> None:
    """An adapter that does something."""
    with torch.no_grad():
        for name, parameter in ours.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)


def gradients_of(ours: ImprovedGRPOTrainer) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in ours.model.named_parameters() if p.grad is not None}


def test_loss_and_gradients_are_those_of_trl_configured_alike(config: RunConfig, tmp_path: Path) -> None:
    ours = engine(config, tmp_path).trainer
    group = recorded(0, config)[0]
    disturb(ours)

    batches = micro_batches(rows_of([group], config), budget=20)
    loss = torch.stack([ours.loss_of(ours.model, batch) for batch in batches]).sum()
    torch.autograd.backward(loss)
    gradients = gradients_of(ours)
    ours.model.zero_grad()

    prompt = torch.tensor([s.token_ids[: s.trained[0]] for s in group.samples])
    pad = torch.nn.utils.rnn.pad_sequence
    answers = pad([torch.tensor([s.token_ids[i] for i in s.trained]) for s in group.samples], batch_first=True)
    mask = pad([torch.ones(len(s.trained), dtype=torch.long) for s in group.samples], batch_first=True)
    rewards = torch.tensor([s.reward for s in group.samples])
    ours.args.delta = config.objective.truncation
    ours.epsilon_low, ours.epsilon_high = config.objective.epsilon_low, config.objective.epsilon_high
    ours.loss_type = "dr_grpo"
    ours.current_gradient_accumulation_steps = 1
    theirs = GRPOTrainer._compute_loss(
        ours,
        ours.model,
        {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": answers,
            "completion_mask": mask,
            "advantages": rewards - rewards.mean(),
            "old_per_token_logps": pad([torch.tensor(s.logprobs) for s in group.samples], batch_first=True),
        },
    )
    torch.autograd.backward(theirs)
    torch.testing.assert_close(loss, theirs, atol=1e-5, rtol=1e-4)
    assert gradients
    for name, gradient in gradients_of(ours).items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-3)


def dialogues() -> list[Group]:
    """Two groups whose rows have two doctor turns each, with the patient between them."""
    source = random.Random(5)

    def some(count: int) -> list[int]:
        return [source.randrange(2, VOCABULARY) for _ in range(count)]

    groups = []
    for _ in range(2):
        prompt = some(6)
        samples = []
        for _ in range(3):
            first, patient, second = some(source.randint(1, 4)), some(source.randint(1, 5)), some(source.randint(1, 4))
            begins = len(prompt) + len(first) + len(patient)
            trained = [*range(6, 6 + len(first)), *range(begins, begins + len(second))]
            logprobs = [-2.0 - 2 * source.random() for _ in trained]
            samples.append(Sample(prompt + first + patient + second, trained, logprobs, source.random()))
        groups.append(Group(samples))
    return groups


def read_slowly(ours: ImprovedGRPOTrainer, groups: Sequence[Group]) -> torch.Tensor:
    """-J row by row and token by token, each row alone in a plain pass."""
    objective, total = ours.objective, torch.zeros(())
    assert objective.ratio_bound is not None
    for group in groups:
        mean = sum(sample.reward for sample in group.samples) / len(group.samples)
        for sample in group.samples:
            ids = torch.tensor([sample.token_ids])
            logp = torch.log_softmax(ours.model(input_ids=ids).logits[0] / ours.config.sampling.temperature, -1)
            with torch.no_grad(), ours.model.disable_adapter():
                before = torch.log_softmax(ours.model(input_ids=ids).logits[0] / ours.config.sampling.temperature, -1)
            for at, sampler in zip(sample.trained, sample.logprobs, strict=True):
                token = sample.token_ids[at]
                r, a = torch.exp(logp[at - 1, token] - sampler), sample.reward - mean
                if not 1 / objective.ratio_bound < r < objective.ratio_bound:
                    continue
                clipped = torch.clamp(r, 1 - objective.epsilon_low, 1 + objective.epsilon_high)
                gain = torch.minimum(torch.clamp(r, max=objective.truncation) * a, clipped * a)
                d = before[at - 1, token] - logp[at - 1, token]
                gain = gain - objective.beta * (torch.exp(d) - 1 - d)
                total = total - gain / (objective.l_max * len(group.samples) * len(groups))
    return total


@pytest.mark.parametrize("budget", [20, 60, 1000])
def test_several_turns_packed_in_any_number_of_passes_are_the_formula_read_slowly(budget: int, tmp_path: Path) -> None:
    options = {"objective.kl_to_reference": "0.1", "objective.mask_ratio": "3.0"}
    config = resolve("smoke", OVERRIDES | options)
    ours = engine(config, tmp_path).trainer
    disturb(ours)
    groups = dialogues()
    expected = read_slowly(ours, groups)
    torch.autograd.backward(expected)
    gradients = gradients_of(ours)
    assert gradients
    ours.model.zero_grad()

    batches = micro_batches(rows_of(groups, config), budget)
    assert len(batches) == {20: 6, 60: 2, 1000: 1}[budget]
    losses = [ours.loss_of(ours.model, batch) for batch in batches]
    for loss in losses:
        torch.autograd.backward(loss)
    torch.testing.assert_close(sum(losses), expected)
    assert 0 < ours.sums.masked < ours.sums.tokens
    for name, gradient in gradients_of(ours).items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("steps", [0, 2])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(
    config: RunConfig, tmp_path: Path, steps: int
) -> None:
    whole = engine(config, tmp_path / "a")
    whole_results = play(whole, config, 0, 4)

    first = engine(config, tmp_path / "b")
    first_results = play(first, config, 0, steps) if steps else []
    state = first.state()
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    checkpoints.write(state.tensors, {"engine": state.scalars})
    found = checkpoints.newest()
    assert found is not None
    second = engine(config, tmp_path / "c", steps_done=steps)
    second.restore(EngineState(found.tensors, found.state["engine"]))
    second_results = play(second, config, steps, 4)

    assert first_results + second_results == whole_results
    expected, got = whole.state(), second.state()
    assert json.dumps(expected.scalars) == json.dumps(got.scalars)
    assert expected.tensors.keys() == got.tensors.keys()
    assert all(torch.equal(expected.tensors[name], got.tensors[name]) for name in expected.tensors)


def test_training_stops_when_told_and_after_the_last_step(config: RunConfig, tmp_path: Path) -> None:
    assert len(play(engine(config, tmp_path / "a"), config, 0, 1)) == 1
    assert len(play(engine(config, tmp_path / "b"), config, 0, 100)) == 4


def test_errors_of_the_hooks_come_through(config: RunConfig, tmp_path: Path) -> None:
    class Wanted(Exception):
        pass

    def fail() -> Sequence[Group]:
        raise Wanted

    with pytest.raises(Wanted):
        engine(config, tmp_path).train(fail, lambda result: True)


def test_merged_weights_have_the_base_models_names_and_the_adapters_effect(config: RunConfig, tmp_path: Path) -> None:
    trained = engine(config, tmp_path)
    untouched = trained.merged_weights()
    base = dict(tiny_model().named_parameters())
    assert untouched.keys() == base.keys()
    assert all(torch.equal(untouched[name], base[name].to(torch.bfloat16)) for name in base)
    play(trained, config, 0, 4)
    served = tiny_model()
    served.load_state_dict({k: v.float() for k, v in trained.merged_weights().items()}, strict=False)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = trained.trainer.model(input_ids=ids).logits
        assert (expected - tiny_model()(input_ids=ids).logits).abs().max() > 0.05
        torch.testing.assert_close(served(input_ids=ids).logits, expected, atol=0.1, rtol=0.1)


def test_a_rewarded_token_becomes_likelier(config: RunConfig, tmp_path: Path) -> None:
    trained = engine(config, tmp_path)
    prompt = [5, 6, 7]
    model = trained.trainer.model

    def logprob(token: int) -> float:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
            return float(torch.log_softmax(logits / config.sampling.temperature, -1)[token])

    def batch() -> list[Group]:
        samples = [Sample([*prompt, token], [3], [logprob(token)], float(token == 9)) for token in (9, 10, 11)]
        return [Group(samples), Group(samples)]

    before = logprob(9)
    trained.train(batch, lambda result: True)
    assert logprob(9) > before + 0.5
