"""The Affective Unit: one short sentence of feeling, in the persona's voice, from the language model.

The model writes only what a small one is good at: another sentence in the manner of a few. What the patient knows is
said by the plain statement, so no prompt holds a fact that a draft could give away, nor words of the doctor that it
could obey; and it stays far below 200 tokens.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from simulator_svc.language import LanguageModel, ModelMessage
from simulator_svc.personas.effects import Effects

_PROMPT = Path(__file__).parent.parent / "prompts" / "feeling.txt"
_STOPS = (".", "!", "?", "\n")


class AffectiveUnit:
    def __init__(self, language: LanguageModel | None, max_tokens: int, temperature: float) -> None:
        self._language = language
        self._max_tokens = max_tokens
        self._temperature = temperature

    async def draft(self, effects: Effects, random: Random) -> str:
        """One sentence, or nothing where the model did not come to an end. Raises ServiceError when it is late."""
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
        # The stop is not part of what comes back; a draft near the limit was cut off in mid-sentence.
        if len(written.split()) > 0.6 * self._max_tokens:
            return ""
        return f"{begins}{written.rstrip()}."


@cache
def _prompt() -> str:
    return _PROMPT.read_text(encoding="utf-8").strip()
