"""The claim check: may this text leave, given the facts that the patient may state?

The check is closed, not open: it does not look for what is wrong, it knows what is right. A sentence passes when it is
a sentence of an allowed fact, word for word but for wordings that claim the same (wording.py), when it consists of such
statements joined by "and" and of moods beside them, or when every word of it stands in the lexicon of words that claim
nothing medical (units/data/neutral_words.toml). Everything else is refused: a changed number, side, time or negation,
another medication, an undisclosed symptom, a bare "yes" or "I do". It refuses more than it must, and lets nothing slip.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from simulator_svc.cases.model import Fact
from simulator_svc.units.wording import canonical, forms, words_after, words_before
from simulator_svc.words import any_of, split_sentences, words

_LEXICON = Path(__file__).parent / "data" / "neutral_words.toml"
_NEUTRAL = "\u25cb"  # stands for a neutral phrase
# "worried about it" ends in no answer, though "I have it" does: what it hangs on decides.
_POINTING = re.compile(
    r" (?:about|with|of|for|to|through|by|from|handle|explain|understand|say|discuss|hear|share)"
    r" (?:all )?(?:of )?(?:it|this|that|these|those|everything|all)$"
)
# A mood that may stand in one sentence with a statement.
_MOOD = re.compile(
    r"(?:i'm|i am|i feel)(?: (?:so|really|just|very|a little|a bit))? (\w+)(?: and (\w+))?"
    r"(?: about (?:it|this|that|all this|all of this))?"
)
# A sentence with more of them is a flood.
_MOST_CLAUSES = 16
_BEGINNERS = ("well", "look")
# May end a sentence; another particle there may be a word of it ("as well").
_ADDRESS = ("doctor", "please")
_NOTHING = "\u2205"
_CLAUSE = re.compile(r"[,;:()\u2013\u2014]|\s-\s|\.{2,}|\u2026")


def normal_sentences(text: str) -> list[str]:
    """Each sentence as its bare words, without the particles around it."""
    return [bare for sentence in split_sentences(text) if (bare := _bare(sentence))]


@lru_cache(maxsize=2048)
def names_any(text: str, names: tuple[str, ...]) -> str:
    """The first of the names that the text contains as words (plural or not), or nothing."""
    spoken = " " + " ".join(word.removesuffix("'s").rstrip("s") for word in words(text)) + " "
    for name in names:
        wanted = " ".join(word.removesuffix("'s").rstrip("s") for word in words(name))
        if wanted and f" {wanted} " in spoken:
            return name
    return ""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words that claim nothing medical."""

    # Articles, pronouns, auxiliaries: they say nothing, and a clause of them alone may be an answer ("I do").
    glue: frozenset[str]
    # Manners, cost, evidence, understanding.
    manner: frozenset[str]
    # Moods: neutral unless an undisclosed fact of this very case speaks of them.
    feeling: frozenset[str]
    # Where a word that is not neutral by itself is neutral in company.
    phrases: re.Pattern[str]
    # Say nothing, as glue.
    glue_phrases: re.Pattern[str]
    particles: frozenset[str]
    answers: re.Pattern[str]
    unfinished: re.Pattern[str]


def _phrases(phrases: Iterable[str]) -> re.Pattern[str]:
    return any_of(map(re.escape, sorted(phrases, key=len, reverse=True)))


def _at_end(endings: Iterable[str]) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(map(re.escape, endings)) + r")$")


@cache
def lexicon() -> Lexicon:
    data = tomllib.loads(_LEXICON.read_text(encoding="utf-8"))
    return Lexicon(
        glue=frozenset(data["glue"]),
        manner=frozenset(data["manner"]),
        feeling=frozenset(data["feeling"]),
        phrases=_phrases(data["phrases"]),
        glue_phrases=_phrases(data["glue_phrases"]),
        particles=frozenset(data["particles"]),
        answers=_at_end(data["answers"]),
        unfinished=_at_end(data["unfinished"]),
    )


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """What one reply may say: sentences of the allowed facts, scripted neutral ones, and words that claim nothing."""

    # Each wording of an allowed fact's sentence, and that sentence in canonical form.
    sayable: dict[str, str]
    scripted: frozenset[str]
    touchy: frozenset[str]
    diagnosis_names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        allowed: Iterable[Fact],
        withheld: Iterable[Fact],
        diagnosis_names: Sequence[str],
        scripted: frozenset[str] = frozenset(),
    ) -> ClaimCheck:
        told = " ".join(f"{fact.text} {fact.words} {' '.join(fact.cues)}" for fact in withheld)
        wordings = [forms(sentence) for fact in allowed for sentence in normal_sentences(fact.words)]
        shorter = {form: whole for whole, *rest in wordings for form in rest}
        return cls(
            sayable=shorter | {whole: whole for whole, *_ in wordings},
            scripted=scripted,
            touchy=frozenset(_stem(word) for word in words(" ".join([told, *diagnosis_names]))),
            diagnosis_names=tuple(diagnosis_names),
        )

    def passes(self, text: str) -> bool:
        return not names_any(text, self.diagnosis_names) and all(map(self.sentence_passes, split_sentences(text)))

    def sentence_passes(self, sentence: str) -> bool:
        if names_any(sentence, self.diagnosis_names):
            return False
        bare = _bare(sentence)
        return not bare or bare in self.scripted or self.is_neutral(sentence) or bool(self.stated(sentence))

    def stated(self, sentence: str) -> frozenset[str]:
        """The sentences of allowed facts that this one says, in canonical form; none, if it says anything else too.

        A question states nothing.
        """
        if sentence.rstrip(" \"')").endswith("?"):
            return frozenset()
        clauses = [clause for clause in _CLAUSE.split(sentence.replace("\u2019", "'").lower()) if words(clause)]
        if len(clauses) > _MOST_CLAUSES:
            return frozenset()
        return self._stated_by(clauses, first=True) or frozenset()

    def _stated_by(self, clauses: Sequence[str], first: bool) -> frozenset[str] | None:
        """What clauses state of which each belongs to a statement or to a mood; None, if one does not.

        `first`: no statement stands before them, so that one may begin without "and" and leave out its first words.
        """
        if not clauses:
            return frozenset()
        for end in range(len(clauses), 0, -1):
            said = " ".join(clauses[:end])
            if not first:
                after_and = said.strip().removeprefix("and ")
                said = after_and if after_and != said.strip() else _NOTHING
            form = canonical(_bare(said))
            whole = self.sayable.get(form)
            if whole is None or (form != whole and not first):
                continue
            rest = self._stated_by(clauses[end:], first=False)
            # Words that an answer left out are understood where it states one thing, and not where it states two.
            if rest is not None and (form == whole or not rest):
                return rest | {whole}
        return self._stated_by(clauses[1:], first) if self._is_beside(clauses[0]) else None

    def _is_beside(self, clause: str) -> bool:
        """What may stand beside a statement: particles, and a plain mood without a hedge or a denial."""
        said = " ".join(words(clause))
        if said in _beside() or not _bare(said):
            return True
        mood = _MOOD.fullmatch(said.removeprefix("and "))
        felt = [word for word in mood.groups() if word] if mood else []
        return bool(felt) and all(word in lexicon().feeling and _stem(word) not in self.touchy for word in felt)

    def is_neutral(self, sentence: str) -> bool:
        """Says nothing that could be true or false of the illness."""
        clauses = [clause for clause in _CLAUSE.split(sentence.replace("\u2019", "'").lower()) if words(clause)]
        return bool(clauses) and all(map(self._clause_is_neutral, clauses))

    def _clause_is_neutral(self, clause: str) -> bool:
        known = lexicon()
        spoken = _bare(clause)
        if not spoken:
            return True
        rest = known.phrases.sub(_NEUTRAL, spoken)
        says_something = _NEUTRAL in rest
        for word in known.glue_phrases.sub(" ", rest.replace(_NEUTRAL, " ")).split():
            mood = word in known.feeling and _stem(word) not in self.touchy
            # "Well, ..." begins a sentence; "I am well" claims something.
            if mood or word in known.manner or (word in known.particles and word not in _BEGINNERS):
                says_something = True
            elif word not in known.glue:
                return False
        ends = rest.rstrip()
        return says_something and not (known.unfinished.search(ends) or known.answers.search(_POINTING.sub("", ends)))


@cache
def _beside() -> frozenset[str]:
    return frozenset(each.lower() for each in (*words_before(), *words_after()))


@lru_cache(maxsize=4096)
def _bare(sentence: str) -> str:
    known = lexicon()
    spoken = list(words(sentence))
    while spoken and spoken[0] in known.particles:
        spoken.pop(0)
    while spoken and spoken[-1] in _ADDRESS:
        spoken.pop()
    return " ".join(spoken)


def _stem(word: str) -> str:
    """Crude on purpose: anxious and anxiety share it, and a collision only refuses one word more."""
    return word[:4]
