"""The Affective Unit: one short sentence of feeling, in the persona's voice, from the language model.

The model writes only what a small one is good at. What the patient knows is said by the plain statement, so a prompt
has no facts in it that a draft could give away, and stays far below 200 tokens.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from simulator_svc.language import LanguageModel, ModelMessage
from simulator_svc.personas.effects import Effects

_PROMPT = Path(__file__).parent.parent / "prompts" / "feeling.txt"
# Of the doctor's turn: its end is what the patient reacts to.
_HEARD = 200


class AffectiveUnit:
    def __init__(self, language: LanguageModel | None, max_tokens: int, temperature: float) -> None:
        self._language = language
        self._max_tokens = max_tokens
        self._temperature = temperature

    async def draft(self, effects: Effects, heard: str, random: Random) -> str:
        """Raises ServiceError when the model does not answer in time."""
        if self._language is None:
            return ""
        begins = random.choice(effects.begins)
        messages = [
            ModelMessage("system", _prompt().format(manner=effects.manner)),
            ModelMessage("user", heard[-_HEARD:].strip() or "Hello."),
            ModelMessage("assistant", begins),
        ]
        written = await self._language.complete(
            messages,
            max_tokens=self._max_tokens,
            seed=random.getrandbits(32),
            temperature=self._temperature,
            stop=["\n"],
        )
        return begins + written


@cache
def _prompt() -> str:
    return _PROMPT.read_text(encoding="utf-8").strip()
