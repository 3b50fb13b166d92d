"""A persona is a function of its seed and the patient's age: every turn of a consultation meets the same patient."""

from __future__ import annotations

from random import Random

from simulator_svc.personas.backgrounds import backgrounds
from simulator_svc.personas.model import Level, Persona, Personality

# Where the age is not known, an adult's.
_USUAL_AGES = (20, 80)
# Health literacy follows education so often.
_LITERATE_AS_EDUCATED = 0.7
# Words of a turn on average: a third of the patients of MTS-Dialog stay below the one, a third lie above the other.
_FEW_WORDS, _MANY_WORDS = 9.5, 13.5


def sample_persona(seed: int, age_years: int | None = None, words_per_turn: float | None = None) -> Persona:
    """The persona of the one who speaks: the patient, or the parent of a small child.

    `words_per_turn`: as the patient of a recorded conversation spoke.
    """
    known = backgrounds()
    random = Random(f"persona:{seed}")
    age = random.randint(*_USUAL_AGES) if age_years is None else speaker_age(age_years, random)
    background = random.choice(known.at_age(age))
    education = random.choice(background.education)
    literacy = education if random.random() < _LITERATE_AS_EDUCATED else random.choice(list(Level))
    return Persona(
        personality=random.choice(_personalities(words_per_turn)),
        emotional_state=random.choices(list(known.mood_shares), weights=list(known.mood_shares.values()))[0],
        health_literacy=literacy,
        occupation=background.occupation,
        education=education,
        region=random.choice(list(known.regions)),
        means=random.choice(background.means),
    )


def _personalities(words_per_turn: float | None) -> list[Personality]:
    """Those who speak so much; all, where that is not known or tells nothing."""
    if words_per_turn is None or _FEW_WORDS <= words_per_turn <= _MANY_WORDS:
        return list(Personality)
    letter = "i" if words_per_turn < _FEW_WORDS else "e"
    return [personality for personality in Personality if personality.startswith(letter)]


def speaker_age(age_years: int, random: Random) -> int:
    known = backgrounds()
    if age_years >= known.speaks_from_age:
        return age_years
    return age_years + random.randint(*known.parent_years)
