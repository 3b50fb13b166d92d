"""What learns: the run, the rollouts, the patient and the judge. Every metric comes out of the table."""

from __future__ import annotations

from k8s.dashboards.panel import Dashboard, Panel, Query, now, quantile, quantiles, rate, share


def gauge(metric: str, title: str, unit: str = "short") -> Panel:
    return Panel(title, [Query(now(f"anamnesis.trainer.{metric}", how="max"), title.lower())], unit)


TRAINING = Dashboard(
    "anamnesis-training",
    "Anamnesis: training",
    [
        (
            "Does it learn",
            [
                gauge("reward_mean", "Reward"),
                gauge("reward_std", "Spread of the reward within a group"),
                gauge("length_mean", "Length of a turn"),
                gauge("entropy", "Entropy"),
                gauge("mismatch_kl", "KL between sampler and trainer"),
                gauge("clip_fraction", "Tokens clipped", "percentunit"),
                gauge("loss", "Loss"),
                gauge("gradient_norm", "Norm of the gradient"),
                gauge("staleness", "Staleness in versions"),
                gauge("held_out_reward", "Reward on held-out cases"),
                gauge("truncated_fraction", "Tokens with a truncated weight", "percentunit"),
                gauge("masked_fraction", "Tokens masked as off-policy", "percentunit"),
                Panel(
                    "Importance weight",
                    [
                        Query(now("anamnesis.trainer.importance_weight", how="max"), "before truncation"),
                        Query(now("anamnesis.trainer.truncated_importance_weight", how="max"), "after truncation"),
                    ],
                ),
                Panel(
                    "Reward by component",
                    [Query(now("anamnesis.trainer.reward_component", "component", how="max"), "{{component}}")],
                ),
                Panel("Alerts about the curves", [Query(rate("anamnesis.trainer.alerts", "alert"), "{{alert}}")]),
            ],
        ),
        (
            "Does it move",
            [
                Panel("Steps an hour", [Query(f"3600 * {rate('anamnesis.trainer.steps', 'service_name')}", "steps")]),
                gauge("tokens_per_second", "Sampled tokens a second"),
                gauge("seconds", "Time of a step", "s"),
                Panel("Memory", [Query(now("anamnesis.trainer.memory", "device", how="max"), "{{device}}")], "bytes"),
                Panel(
                    "Time of a step by phase, 95 %",
                    [Query(quantile(0.95, "anamnesis.trainer.phase.duration", "phase"), "{{phase}}")],
                    "s",
                ),
                Panel("A run is played", [Query(now("anamnesis.trainer.run.active", how="max"), "active")]),
                Panel(
                    "Weights given to replicas, by outcome",
                    [Query(rate("anamnesis.trainer.weight_updates", "outcome"), "{{outcome}}")],
                ),
            ],
        ),
        (
            "Where trajectories go",
            [
                Panel("Trained on", [Query(rate("anamnesis.trainer.trajectories.trained", "service_name"), "trained")]),
                Panel(
                    "Dropped, by reason",
                    [
                        Query(
                            rate("anamnesis.trainer.trajectories.dropped", "purpose, reason"), "{{purpose}} {{reason}}"
                        )
                    ],
                ),
                Panel(
                    "Read and not taken, by cause",
                    [Query(rate("anamnesis.trainer.trajectories.ignored", "cause"), "{{cause}}")],
                ),
            ],
        ),
    ],
)

ROLLOUT = Dashboard(
    "anamnesis-rollout",
    "Anamnesis: rollouts",
    [
        (
            "Episodes",
            [
                Panel(
                    "Ended, by state", [Query(rate("anamnesis.rollout.episodes", "kind, state"), "{{kind}} {{state}}")]
                ),
                Panel(
                    "Not completed, by reason",
                    [
                        Query(
                            rate("anamnesis.rollout.episodes", "state, reason", 'state!="completed"'),
                            "{{state}} {{reason}}",
                        )
                    ],
                ),
                Panel("Duration", quantiles("anamnesis.rollout.episode.duration", "kind"), "s", exemplars=True),
                Panel("Played now", [Query(now("anamnesis.rollout.episodes.playing"), "playing")]),
                Panel(
                    "Messages that wait on the broker",
                    [Query(now("anamnesis.kafka.consumer.lag", "topic, group"), "{{topic}} {{group}}")],
                ),
                Panel("Tokens a second", [Query(rate("anamnesis.rollout.tokens", "part"), "{{part}}")]),
            ],
        ),
    ],
)

PATIENT = Dashboard(
    "anamnesis-patient",
    "Anamnesis: the patient",
    [
        (
            "Replies",
            [
                Panel(
                    "By how they left the Fact Unit",
                    [Query(rate("anamnesis.simulator.replies", "service_name, source"), "{{service_name}} {{source}}")],
                ),
                Panel(
                    "Share that fell back to the plain statement",
                    [
                        Query(
                            share("anamnesis.simulator.replies", 'source="plain_statement"', by="service_name"),
                            "{{service_name}}",
                        )
                    ],
                    "percentunit",
                ),
                Panel(
                    "Endings of the Termination Gate",
                    [Query(rate("anamnesis.simulator.replies", "ending", 'ending!="none"'), "{{ending}}")],
                ),
                Panel(
                    "Where the gate's rules were unsure: the model's answers",
                    [Query(rate("anamnesis.simulator.gate.asked", "answer"), "{{answer}}")],
                ),
            ],
        ),
    ],
)

JUDGE = Dashboard(
    "anamnesis-judge",
    "Anamnesis: the judge",
    [
        (
            "Verdicts",
            [
                Panel(
                    "By outcome and check",
                    [Query(rate("anamnesis.rubric.verdicts", "outcome, check"), "{{check}} {{outcome}}")],
                ),
                Panel(
                    "Share ungraded, by check",
                    [Query(share("anamnesis.rubric.verdicts", 'outcome="ungraded"', by="check"), "{{check}}")],
                    "percentunit",
                ),
                Panel("Ungraded, by reason", [Query(rate("anamnesis.rubric.ungraded", "reason"), "{{reason}}")]),
                Panel(
                    "Share met, by check",
                    [Query(share("anamnesis.rubric.verdicts", 'outcome="met"', by="check"), "{{check}}")],
                    "percentunit",
                ),
                Panel(
                    "Share on which a second judge disagrees, by check",
                    [Query(share("anamnesis.rubric.second_opinions", 'opinion="disagreed"', by="check"), "{{check}}")],
                    "percentunit",
                ),
                Panel(
                    "Duration of scoring",
                    quantiles("rpc.server.call.duration", "rpc_method", 'service_name="rubric"'),
                    "s",
                    width=16,
                    exemplars=True,
                ),
            ],
        ),
    ],
)
