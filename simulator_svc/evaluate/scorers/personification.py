"""Does the patient speak as its persona? A blind classifier tells each axis of the persona from the replies alone.

It never sees a case that it learnt from: the folds are cut by case. It knows no lexicon and no persona data, only the
words of other sessions, so what it finds is in the replies. Chance is 1 / classes, as accuracy is balanced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator_svc.evaluate.scorers.intervals import Estimate, ratio

PERSONALITY_AXES = ("extraversion", "intuition", "feeling", "perceiving", "emotional_state")
SOCIAL_AXES = ("health_literacy", "education", "means")
_FOLDS = 5
# Fewer sessions than this teach nothing.
LEAST_SESSIONS = 40


@dataclass(frozen=True, slots=True)
class Session:
    case_id: str
    # The value of each axis, by its name.
    persona: Mapping[str, str]
    replies: Sequence[str]


@dataclass(frozen=True, slots=True)
class AxisAccuracy:
    accuracy: Estimate
    chance: float


@dataclass(frozen=True, slots=True)
class Personification:
    """`consistency`: the mean, over sessions, of the shares of personality and of social axes that were recognised."""

    consistency: Estimate
    chance: float
    axes: dict[str, AxisAccuracy]


def personification(sessions: Sequence[Session], seed: int = 0) -> Personification | None:
    """None where there are too few sessions, or cases, to learn from."""
    if len(sessions) < LEAST_SESSIONS or len({session.case_id for session in sessions}) < _FOLDS:
        return None
    axes = [axis for axis in (*PERSONALITY_AXES, *SOCIAL_AXES) if len({s.persona.get(axis) for s in sessions}) > 1]
    right = {axis: _recognised(sessions, axis, seed) for axis in axes}
    chances = {axis: 1 / len({s.persona[axis] for s in sessions}) for axis in axes}

    def share(index: int, group: Sequence[str]) -> float:
        return _mean([right[axis][index] for axis in group if axis in right])

    consistency = [
        ((share(index, PERSONALITY_AXES) + share(index, SOCIAL_AXES)) / 2, 1.0) for index in range(len(sessions))
    ]
    chance = [_mean([chances[axis] for axis in group if axis in chances]) for group in (PERSONALITY_AXES, SOCIAL_AXES)]
    return Personification(
        consistency=ratio(consistency, seed),
        chance=_mean(chance),
        axes={
            axis: AxisAccuracy(ratio(_balanced([s.persona[axis] for s in sessions], right[axis]), seed), chances[axis])
            for axis in axes
        },
    )


def features(session: Session) -> str:
    """The replies, and their outward form as words of its own: length, sentences, questions."""
    words = [len(re.findall(r"[\w']+", reply)) for reply in session.replies]
    sentences = [len(re.findall(r"[.!?]+", reply)) for reply in session.replies]
    asks = sum(reply.count("?") for reply in session.replies) / max(1, len(session.replies))
    form = [
        f"zzwords{round(_mean(words) / 3)}",
        f"zzsentences{round(2 * _mean(sentences))}",
        f"zzasks{round(4 * asks)}",
    ]
    return " ".join([*session.replies, *form * 3])


def _recognised(sessions: Sequence[Session], axis: str, seed: int) -> list[bool]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline

    texts = [features(session) for session in sessions]
    values = [session.persona[axis] for session in sessions]
    cases = [session.case_id for session in sessions]
    right = [False] * len(sessions)
    for learnt, held_out in GroupKFold(_FOLDS, shuffle=True, random_state=seed).split(texts, values, cases):
        classifier = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True, token_pattern=r"[\w']+|[?!]"),
            LogisticRegression(C=10.0, max_iter=500, class_weight="balanced"),
        )
        classifier.fit([texts[index] for index in learnt], [values[index] for index in learnt])
        for index, guess in zip(held_out, classifier.predict([texts[index] for index in held_out]), strict=True):
            right[index] = bool(guess == values[index])
    return right


def _balanced(values: Sequence[str], right: Sequence[bool]) -> list[tuple[float, float]]:
    """Each class weighs the same, so that always guessing the commonest wins nothing."""
    counts = {value: values.count(value) for value in values}
    return [(hit / counts[value], 1 / counts[value]) for value, hit in zip(values, right, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
