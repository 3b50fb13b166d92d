"""The Affective Unit: one short sentence of feeling, in the persona's voice, from the language model.

The model writes only what a small one is good at: another sentence in the manner of a few. What the patient knows is
said by the plain statement, so no prompt holds a fact that a draft could give away, nor words of the doctor that it
could obey; and it stays far below 200 tokens.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from random import Random

from simulator_svc.language import LanguageModel, ModelMessage
from simulator_svc.personas.effects import Effects
from simulator_svc.units.claims import words
from simulator_svc.units.cues import phrase_pattern

_PROMPT = Path(__file__).parent.parent / "prompts" / "feeling.txt"
_OUT_OF_ROLE = Path(__file__).parent / "data" / "out_of_role.toml"
_STOPS = (".", "!", "?", "\n")


class AffectiveUnit:
    def __init__(self, language: LanguageModel | None, max_tokens: int, temperature: float) -> None:
        self._language = language
        self._max_tokens = max_tokens
        self._temperature = temperature

    async def draft(self, effects: Effects, random: Random) -> str:
        """One sentence, or nothing where the model does not end or does not speak as a patient.

        Raises ServiceError when the model is late.
        """
        if self._language is None:
            return ""
        begins = random.choice(effects.begins)
        examples = "".join(f"- {line}\n" for line in random.sample(effects.examples, len(effects.examples)))
        messages = [
            ModelMessage("user", _prompt().format(manner=effects.manner)),
            ModelMessage("assistant", f"{examples}- {begins}"),
        ]
        written = await self._language.complete(
            messages,
            max_tokens=self._max_tokens,
            seed=random.getrandbits(32),
            temperature=self._temperature,
            stop=_STOPS,
        )
        draft = f"{begins}{written.rstrip()}."
        if _out_of_role().search(" ".join(words(draft))):
            return ""
        # The stop is not part of what comes back; a draft near the limit was cut off in mid-sentence.
        if len(written.split()) > 0.6 * self._max_tokens:
            return ""
        return draft


@cache
def _out_of_role() -> re.Pattern[str]:
    return phrase_pattern(tomllib.loads(_OUT_OF_ROLE.read_text(encoding="utf-8"))["phrases"])


@cache
def _prompt() -> str:
    return _PROMPT.read_text(encoding="utf-8").strip()
