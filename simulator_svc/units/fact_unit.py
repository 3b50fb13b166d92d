"""The Fact Unit: which facts the doctor's turn calls for, how this patient states them, and what may leave.

Guarantee: `released` returns only text that passed the claim check. The plain statement is made of the allowed facts'
own spoken sentences, so there is always something that passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from random import Random

from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.personas.effects import Effects, Neutral, Occasion, scripted_texts
from simulator_svc.units.claims import ClaimCheck, names_any, normal_sentences
from simulator_svc.units.questions import Asked, asked
from simulator_svc.units.wording import Speech, canonical, clipped, is_short, joined, reworded, uncapitalised
from simulator_svc.words import split_sentences

# Of a draft; a longer one is a flood.
_MOST_LETTERS = 1000
# Sentences of feeling in one reply.
_MOST_FELT = 2
# A turn that asks for everything at once is not answered with everything: of findings so many, of the patient's own
# story so many more than it tells by itself.
_MOST_FACTS = 8
_MORE_WHEN_ASKED = 2
_FINDINGS = (Category.EXAMINATION, Category.TEST)


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply before it leaves: what is felt, what is stated, and what the patient asks back."""

    check: ClaimCheck
    allowed: frozenset[str]
    facts: tuple[Fact, ...]
    # Said instead of facts where none is called for.
    neutral: str = ""
    lead: str = ""
    remark: str = ""
    ask_back: str = ""
    # Hung on to the statement: "doctor".
    tail: str = ""
    # The model's own words, as far as they passed.
    felt: str = ""
    # The sentences of the statement that the model worded, as it worded them.
    worded: tuple[str, ...] = ()
    # The sentences of the statement, left short where this patient leaves them short.
    sentences: tuple[str, ...] = ()
    # Those that are still to be said, as this patient would say them.
    spoken: tuple[str, ...] = ()
    # Short sentences run into one another.
    runs_on: bool = False

    @property
    def statement(self) -> str:
        """The plain statement: the facts' own sentences."""
        return " ".join(_sentence(fact.words) for fact in self.facts) or self.neutral

    @property
    def whole_sentences(self) -> tuple[str, ...]:
        return tuple(sentence for fact in self.facts for sentence in split_sentences(_sentence(fact.words)))


class FactUnit:
    def opening(self, case: Case, effects: Effects, speech: Speech, random: Random) -> Answer:
        """The complaint, and as much of the rest that is volunteered as this patient is apt to say."""
        volunteered = _tellable(case, case.of(Disclosure.VOLUNTEERED))
        count = max(1, round(len(volunteered) * effects.volunteers))
        return self._answer(case, volunteered, volunteered[:count], effects, random, Neutral.GREET, speech)

    def closing(self, case: Case, effects: Effects, speech: Speech, ending: Ending, random: Random) -> Answer:
        volunteered = _tellable(case, case.of(Disclosure.VOLUNTEERED))
        answer = self._answer(case, volunteered, [], effects, random, Neutral.ACKNOWLEDGE, speech)
        return replace(answer, neutral=effects.closing(ending, random), lead="")

    def question(self, case: Case, dialogue: Sequence[Turn]) -> Asked:
        """What the doctor's last turn asks for, as far as words tell."""
        return asked(case, dialogue[-1].text, stated_before(case, dialogue), _stated_last(case, dialogue))

    def answer(
        self, case: Case, effects: Effects, speech: Speech, question: Asked, dialogue: Sequence[Turn], random: Random
    ) -> Answer:
        """The facts that are called for. What is asked for is answered; the persona thins out what it may choose."""
        told = stated_before(case, dialogue)
        volunteered = _tellable(case, case.of(Disclosure.VOLUNTEERED))
        called = _at_once(_tellable(case, question.facts), told, effects.facts_per_turn)
        invited = _tellable(case, question.invited)[: max(0, effects.facts_per_turn - len(called))]
        if not called and not invited and question.greeting and not told:
            invited = volunteered[:1]
        chosen = [*called, *invited]
        fallback = _neutral(question, told)
        answer = self._answer(case, [*volunteered, *chosen], chosen, effects, random, fallback, speech)
        said = " ".join(turn.text for turn in dialogue if turn.speaker is Speaker.PATIENT)
        ask_back = effects.ask_back(_occasions(question), random, said)
        return replace(
            answer,
            lead=_fitting(effects.lead(random, said), question.question) if chosen else "",
            # One thing beside the answer is enough for a turn.
            remark="" if ask_back else effects.remark(random, said),
            ask_back=ask_back,
            tail=effects.tail(random) if chosen else "",
        )

    def faithful_part(self, draft: str, answer: Answer) -> Answer | None:
        """The answer with the draft's sentences up to the first that may not leave; None, if that is none of them."""
        felt: list[str] = []
        worded: list[str] = []
        owed = {
            canonical(bare): sentence
            for whole, sentence in zip(answer.whole_sentences, answer.sentences, strict=True)
            for bare in normal_sentences(whole)
        }
        for sentence in _whole_sentences(draft[:_MOST_LETTERS]):
            if not answer.check.sentence_passes(sentence):
                break
            said = answer.check.stated(sentence)
            if said:
                if not said <= owed.keys():
                    break  # nothing that was not asked for, and nothing twice
                owed = {form: rest for form, rest in owed.items() if form not in said}
                worded.append(sentence)
            elif len(felt) < _MOST_FELT and not worded and sentence[0].isupper():
                felt.append(sentence)
            else:
                break
        if not felt and not worded:
            return None
        spoken = tuple(
            wording
            for sentence, wording in zip(answer.sentences, answer.spoken, strict=True)
            if sentence in owed.values()
        )
        return replace(answer, felt=" ".join(felt), worded=tuple(worded), spoken=spoken)

    def released(self, answer: Answer) -> tuple[str, frozenset[str]]:
        """The reply as it leaves, and the ids of the facts it states."""
        said = " ".join((*answer.worded, *joined(answer.spoken, answer.runs_on))) or answer.neutral
        twice = "doctor" in answer.lead and "doctor" in said
        goes_on = answer.lead.endswith(",")
        # The model's wording begins as it likes; a sentence may stand before it.
        if answer.lead and not answer.felt and not twice and not (goes_on and answer.worded):
            said = f"{answer.lead} {uncapitalised(said) if goes_on else said}"
        if answer.tail and said.endswith(".") and "doctor" not in said:
            said = f"{said[:-1]}, {answer.tail}."
        remark = "" if answer.felt else answer.remark
        text = " ".join(part for part in (answer.felt, said, remark, answer.ask_back) if part)
        if answer.check.passes(text):
            return text, frozenset(fact.fact_id for fact in answer.facts)
        if answer.facts and answer.check.passes(answer.statement):
            return answer.statement, frozenset(fact.fact_id for fact in answer.facts)
        return _last_words(answer.check), frozenset()

    def _answer(
        self,
        case: Case,
        allowed: Iterable[Fact],
        chosen: Sequence[Fact],
        effects: Effects,
        random: Random,
        fallback: Neutral,
        speech: Speech,
    ) -> Answer:
        identifiers = frozenset(fact.fact_id for fact in allowed)
        answer = Answer(
            check=_check(case, identifiers),
            allowed=identifiers,
            facts=tuple(chosen),
            neutral=effects.neutral(fallback, random),
            lead=_fitting(effects.lead(random), answers=False) if chosen else "",
            runs_on=random.random() < effects.runs_on,
        )
        # What is left short stands alone: "two hours ago, and my arm hurts" would leave open what began.
        clips = random.random() < effects.clips
        sentences = tuple(
            clipped(sentence) if clips and not (answer.runs_on and is_short(sentence)) else sentence
            for sentence in answer.whole_sentences
        )
        spoken = tuple(reworded(sentence, speech, random) for sentence in sentences)
        return replace(answer, sentences=sentences, spoken=spoken)


@lru_cache(maxsize=1024)
def stated_in(case: Case, text: str) -> frozenset[str]:
    """The facts of which the text says every sentence, in whichever wording."""
    told = [fact for fact in case.facts if fact.disclosure is not Disclosure.NEVER]
    check = _check(case, frozenset(fact.fact_id for fact in told))
    said = frozenset().union(*map(check.stated, split_sentences(text)))
    return frozenset(
        fact.fact_id
        for fact in told
        if (own := {canonical(bare) for bare in normal_sentences(fact.words)}) and own <= said
    )


def stated_before(case: Case, dialogue: Sequence[Turn]) -> frozenset[str]:
    return frozenset().union(*(stated_in(case, turn.text) for turn in dialogue if turn.speaker is Speaker.PATIENT))


def _stated_last(case: Case, dialogue: Sequence[Turn]) -> frozenset[str]:
    """The facts of the patient's turn before the doctor's last one."""
    before = [turn for turn in dialogue[:-1] if turn.speaker is Speaker.PATIENT]
    return stated_in(case, before[-1].text) if before else frozenset()


def _tellable(case: Case, facts: Iterable[Fact]) -> list[Fact]:
    """An inline case's fact may name the diagnosis; then no patient states it."""
    return [fact for fact in facts if not names_any(_sentence(fact.words), case.diagnosis_names)]


@lru_cache(maxsize=512)
def _check(case: Case, allowed: frozenset[str]) -> ClaimCheck:
    return ClaimCheck.of(
        [fact for fact in case.facts if fact.fact_id in allowed],
        [fact for fact in case.facts if fact.fact_id not in allowed],
        case.diagnosis_names,
        _scripted(),
    )


@cache
def _scripted() -> frozenset[str]:
    return frozenset(sentence for text in scripted_texts() for sentence in normal_sentences(text))


def _at_once(called: Sequence[Fact], told: frozenset[str], facts_per_turn: int) -> list[Fact]:
    """What a patient says of it in one turn: the untold goes first, so that asking again gives the rest."""
    story = [fact for fact in called if fact.category not in _FINDINGS]
    story.sort(key=lambda fact: fact.fact_id in told)
    most = {fact.fact_id for fact in story[: facts_per_turn + _MORE_WHEN_ASKED]}
    return [fact for fact in called if fact.category in _FINDINGS or fact.fact_id in most][:_MOST_FACTS]


def _neutral(question: Asked, told: frozenset[str]) -> Neutral:
    if question.conclusion:
        return Neutral.CONCLUDE
    if question.open and told:
        return Neutral.TOLD_ALL
    if question.question:
        return Neutral.UNSURE
    return Neutral.GREET if question.greeting and not told else Neutral.ACKNOWLEDGE


def _occasions(question: Asked) -> frozenset[Occasion]:
    """A plain question gives no occasion beyond the mood's: "do you take any medicine" prescribes nothing."""
    return frozenset({Occasion.ANY}) if question.question else question.occasions


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _fitting(lead: str, answers: bool) -> str:
    """ "Bless you." wants a question; "well," begins any statement."""
    return lead if answers or lead.endswith(",") else ""


def _whole_sentences(draft: str) -> list[str]:
    """Without a last sentence that the token limit cut off."""
    return [sentence for sentence in split_sentences(draft) if sentence.endswith((".", "!", "?"))]


def _last_words(check: ClaimCheck) -> str:
    """A diagnosis name made of everyday words could forbid even "I'm not sure": then the patient says nothing."""
    return next((text for text in ("I'm not sure.", "I don't know.") if check.passes(text)), "...")
