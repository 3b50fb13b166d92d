"""The Affective Unit: how this patient says it, from the language model in few tokens.

The model writes what is felt, freely, and words the statement by choosing among the wordings that claim the same
(wording.py), which the engine holds it to. So a small model suffices, no prompt holds a fact that a draft could give
away nor words of the doctor that it could obey, and a prompt stays far below 200 tokens, most of them shared.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

from simulator_svc.language import LanguageModel, ModelMessage
from simulator_svc.personas.effects import Effects
from simulator_svc.units.cues import phrase_pattern
from simulator_svc.units.wording import Speech, pattern
from simulator_svc.words import split_sentences, words

_PROMPTS = Path(__file__).parent.parent / "prompts"
_OUT_OF_ROLE = Path(__file__).parent / "data" / "out_of_role.toml"
_STOPS = (".", "!", "?", "\n")
# A feeling, freely, to the end of its sentence.
_FELT = r"[a-zA-Z ,']{3,60}\."
# English words make about this many tokens of a small vocabulary.
_TOKENS_A_WORD = 1.5
_FELT_TOKENS = 14


class AffectiveUnit:
    def __init__(self, language: LanguageModel | None, max_tokens: int, temperature: float) -> None:
        self._language = language
        self._max_tokens = max_tokens
        self._temperature = temperature

    def within(self, sentences: Sequence[str], feels: bool) -> tuple[str, ...]:
        """As many of the first sentences as the model has tokens to word."""
        left = self._max_tokens - (_FELT_TOKENS if feels else 0)
        chosen: list[str] = []
        for sentence in sentences:
            left -= round(_TOKENS_A_WORD * len(words(sentence))) + 2
            if left < 0:
                break
            chosen.append(sentence)
        return tuple(chosen)

    async def draft(
        self, effects: Effects, sentences: Sequence[str], feels: bool, speech: Speech, random: Random
    ) -> str:
        """What is felt, if anything, and the sentences as this patient says them.

        Nothing, where the model does not end or does not speak as a patient. Raises ServiceError when it is late.
        """
        if self._language is None:
            return ""
        begins = random.choice(effects.begins) if feels else ""
        manner = _prompt("feeling" if feels else "answer").format(manner=effects.manner)
        examples = effects.examples if feels else _answers()
        said = "".join(f"- {line}\n" for line in (random.sample(examples, len(examples)) if feels else examples))
        wanted = " ".join([*([_FELT] if feels else []), *_worded(sentences, effects, feels, speech)])
        written = await self._language.complete(
            [ModelMessage("user", manner), ModelMessage("assistant", f"{said}- {begins}".rstrip())],
            max_tokens=self._max_tokens,
            seed=random.getrandbits(32),
            temperature=self._temperature,
            stop=() if sentences else _STOPS,
            pattern=wanted if sentences else "",
        )
        if sentences:
            return _in_role(f"{begins}{written}", feels)
        # The stop is not part of what comes back; a draft near the limit was cut off in mid-sentence.
        if len(written.split()) > 0.6 * self._max_tokens:
            return ""
        return _in_role(f"{begins}{written.rstrip()}.", feels)


def _worded(sentences: Sequence[str], effects: Effects, feels: bool, speech: Speech) -> list[str]:
    """Patterns of the sentences. Only the first word of an answer hesitates, and only in those who do."""
    found = []
    for place, sentence in enumerate(sentences):
        body = pattern(sentence, speech, capital=True)
        if place == 0 and not feels and effects.starters:
            starters = "|".join(starter.rstrip(",") for starter in effects.starters)
            body = f"(({starters}), {pattern(sentence, speech, capital=False)}|{body})"
        found.append(body)
    return found


def _in_role(draft: str, feels: bool) -> str:
    """Without its first sentence, where a doctor or an assistant would say that."""
    first, *rest = split_sentences(draft) or [""]
    if feels and _out_of_role().search(" ".join(words(first))):
        return " ".join(rest)
    return draft


@cache
def _out_of_role() -> re.Pattern[str]:
    return phrase_pattern(tomllib.loads(_OUT_OF_ROLE.read_text(encoding="utf-8"))["phrases"])


@cache
def _prompt(name: str) -> str:
    return (_PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip()


@cache
def _answers() -> list[str]:
    return _prompt("answers").splitlines()
