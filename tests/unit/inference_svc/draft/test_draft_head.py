"""The head: the parallel training-time test computes what drafting step by step computes."""

from pathlib import Path

import pytest
import torch

from inference_svc.draft.acceptance import walk
from inference_svc.draft.batches import collate, order
from inference_svc.draft.features import TargetSequence
from inference_svc.draft.head import Eagle3Head, HeadShape
from inference_svc.draft.objective import TargetEnds, objective
from inference_svc.draft.train import OtherPlan, Plan, Trainer, rate_factor

SHAPE = HeadShape(
    hidden=16, intermediate=32, heads=4, key_value_heads=2, head_dim=4, rope_theta=1e4, epsilon=1e-5, draft_vocabulary=8
)
TARGET = 24


def ends() -> TargetEnds:
    torch.manual_seed(5)
    ids = torch.arange(0, TARGET, 3)
    t2d = torch.full((TARGET,), -1)
    t2d[ids] = torch.arange(8)
    return TargetEnds(torch.randn(TARGET, 16).bfloat16(), torch.randn(8, 16).bfloat16(), ids, t2d)


def sequences(count: int) -> list[TargetSequence]:
    torch.manual_seed(6)
    return [
        TargetSequence(
            3 * torch.randint(0, 8, (12 + place % 3,)),
            4 + place % 2,
            torch.randn(12 + place % 3, 48).bfloat16(),
            torch.randn(12 + place % 3, 16).bfloat16(),
        )
        for place in range(count)
    ]


def test_a_chain_sees_what_it_would_see_alone() -> None:
    """Slot t's second and third step equal a plain causal pass over slots 0..t+2, the last two drafted."""
    torch.manual_seed(0)
    head = Eagle3Head(SHAPE)
    embeds, hidden = torch.randn(1, 9, 16), torch.randn(1, 9, 16)
    drafted = [torch.randn(1, 6, 16) for _ in range(2)]
    first, past = head.first(embeds, hidden)
    chains = first[:, :6]
    steps = []
    for embed in drafted:
        chains = head.further(embed, chains, past)
        steps.append(chains)
    slot = 4
    alone_embeds = torch.cat([embeds[:, : slot + 1], drafted[0][:, slot : slot + 1]], dim=1)
    alone_hidden = torch.cat([hidden[:, : slot + 1], first[:, slot : slot + 1]], dim=1)
    second, _ = head.first(alone_embeds, alone_hidden)
    torch.testing.assert_close(second[:, -1], steps[0][:, slot])
    alone_embeds = torch.cat([alone_embeds, drafted[1][:, slot : slot + 1]], dim=1)
    alone_hidden = torch.cat([alone_hidden, second[:, -1:]], dim=1)
    third, _ = head.first(alone_embeds, alone_hidden)
    torch.testing.assert_close(third[:, -1], steps[1][:, slot])


def test_padding_changes_no_loss() -> None:
    torch.manual_seed(0)
    head = Eagle3Head(SHAPE).bfloat16()
    short, longer = sequences(3)[0], sequences(3)[2]
    both = objective(head, collate([short, longer]), ends(), steps=1)
    apart = [objective(head, collate([one]), ends(), steps=1).loss for one in (short, longer)]
    counted = [int(collate([one]).answered[:, collate([one]).start + 2 :].sum()) for one in (short, longer)]
    expected = sum(loss * count for loss, count in zip(apart, counted, strict=True)) / sum(counted)
    assert both.loss.item() == pytest.approx(float(expected), rel=0.02)


def test_a_round_goes_on_behind_the_first_token_that_was_not_foreseen() -> None:
    tokens = torch.tensor([1, 1, 5, 6, 7, 8, 9, 4, 3])
    drafts = torch.full((8, 2), -1)
    drafts[1] = torch.tensor([6, 7])  # both taken: on to slot 4
    drafts[4] = torch.tensor([9, 0])  # slot 4 foresees tokens 6 and 7: one taken
    assert walk(drafts, torch.cat([tokens, torch.tensor([2, 2])]), prompt_length=2)[:2] == [2, 1]


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    plan = Plan(epochs=3, batch=2, steps=2, warm_up=2)

    def trainer(folder: Path) -> Trainer:
        torch.manual_seed(3)
        return Trainer(Eagle3Head(SHAPE), sequences(4), ends(), plan, folder)

    whole = trainer(tmp_path / "whole")
    whole.run(lambda progress: None)
    stopped = trainer(tmp_path / "stopped")
    for _ in range(3):
        stopped._advance()
    stopped.save()
    resumed = trainer(tmp_path / "stopped")
    resumed.run(lambda progress: None)
    assert resumed.step == whole.step == 6
    for one, other in zip(whole.head.parameters(), resumed.head.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(3)
    Trainer(Eagle3Head(SHAPE), sequences(4), ends(), Plan(epochs=1), tmp_path).save()
    with pytest.raises(OtherPlan, match="another plan"):
        Trainer(Eagle3Head(SHAPE), sequences(4), ends(), Plan(epochs=2), tmp_path).resume()


def test_an_epochs_order_depends_on_seed_and_epoch_and_has_everything_once() -> None:
    lengths = [5, 9, 40, 41, 7, 80, 6]
    assert order(lengths, 2, seed=0, epoch=1) == order(lengths, 2, seed=0, epoch=1)
    assert order(lengths, 2, seed=0, epoch=1) != order(lengths, 2, seed=0, epoch=2)
    assert sorted(place for batch in order(lengths, 2, 0, 0) for place in batch) == list(range(7))


def test_the_rate_rises_and_falls_to_nothing() -> None:
    assert rate_factor(0, 100, 10) == pytest.approx(0.1)
    assert rate_factor(10, 100, 10) == pytest.approx(1.0)
    assert rate_factor(100, 100, 10) == pytest.approx(0.0)
