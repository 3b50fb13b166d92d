"""Which facts of the case a reply states, by the scorer's own means: weighted overlap of content words, sentence by
sentence, with either wording of the fact, and agreement of denial, numbers, sides and time.

A fact counts as stated also where the reply says it in other words (`text.py` knows synonyms), and as contradicted
where the words agree and what they claim does not. The service's own stated_fact_ids are never looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from simulator_svc.cases.model import Case, Fact
from simulator_svc.evaluate.scorers.text import Kind, Sentence, Token, read, same_number, words

# Share of a fact's weight that a reply must cover to have stated it, or to have spoken of it at all.
STATED = 0.6
SPOKEN_OF = 0.5
# The same, where the reply gives every number of the fact with its unit: that is the part that matters.
WITH_NUMBERS = 0.35
# The share that a reply must say itself where the question says the rest.
IN_ANSWER = 0.2
# Share of a withheld fact's weight that the facts which may be stated do not account for, for it to have leaked.
OWN_SHARE = 0.34
_LEAST_WEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Wording:
    """One way in which a fact is put: the weight of each of its stems, and its tokens."""

    weights: dict[str, float]
    tokens: tuple[Token, ...]
    length: int

    def covered(self, stems: frozenset[str]) -> float:
        return _share(self.weights, stems)


@dataclass(frozen=True, slots=True)
class Match:
    fact: Fact
    # The share of the fact's weight that the reply says, that it says together with the question that it answers, and
    # the stems that it says.
    coverage: float
    in_answer: float
    stems: frozenset[str]
    # What of it the reply puts otherwise: denial, number, side, family, drug.
    against: tuple[str, ...]

    @property
    def stated(self) -> bool:
        return self.spoken_of and not self.against

    @property
    def spoken_of(self) -> bool:
        """Rightly or wrongly."""
        return max(self.coverage, self.in_answer) >= STATED


@dataclass(frozen=True, slots=True)
class _Span:
    """Where the reply speaks of a fact most: the share of it that it says, the stems, and all that is said there."""

    fact: Fact
    coverage: float
    in_answer: float
    stems: frozenset[str]
    tokens: tuple[Token, ...]


def matches(case: Case, sentences: Sequence[Sentence], asked: frozenset[str] = frozenset()) -> list[Match]:
    """Every fact that these sentences speak of, the best covered first. Questions of the patient state nothing.

    `asked`: the stems of the doctor's question, of which the first sentence may leave out what it answers.
    """
    told = [sentence for sentence in sentences if not sentence.asks]
    spans = [span for fact in case.facts if (span := _best_span(case, fact, told, asked)) is not None]
    found = [
        Match(
            span.fact,
            span.coverage,
            span.in_answer,
            span.stems,
            tuple(_disagreements(case, span, _numbers_of_others(case, span, spans))),
        )
        for span in spans
    ]
    return sorted(found, key=lambda match: (-match.coverage, -len(match.stems)))


def _numbers_of_others(case: Case, span: _Span, spans: Iterable[_Span]) -> list[Token]:
    """The numbers of the other facts that the reply states: they may stand between this one's words."""
    others = (other for other in spans if other is not span and other.coverage >= STATED)
    return [
        token
        for other in others
        for wording in wordings(case, other.fact)
        for token in wording.tokens
        if token.kind is Kind.NUMBER
    ]


def leaked(case: Case, found: Iterable[Match], may_state: frozenset[str]) -> frozenset[str]:
    """The stated facts outside `may_state`, but for those that the others, as stated, say in passing."""
    found = list(found)
    told = frozenset().union(*(match.stems for match in found if match.fact.fact_id in may_state))
    return frozenset(
        match.fact.fact_id
        for match in found
        if match.fact.fact_id not in may_state
        and match.coverage >= STATED
        and _own_share(case, match, told) >= OWN_SHARE
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """A reply, read as the answer to a question."""

    # Before a bare yes or no at its beginning stands what that says in the question's words.
    sentences: tuple[Sentence, ...]
    # The question that a bare yes affirms, or nothing.
    affirmed: str
    # The stems of the question.
    asked: frozenset[str]


def answered(question: str, reply: str) -> Answered:
    sentences = read(reply)
    asked = [sentence for sentence in read(question) if sentence.asks]
    if not asked:
        return Answered(sentences, "", frozenset())
    last = asked[-1]
    yes = _bare_answer(sentences[0].text) if sentences else None
    if yes is None:
        return Answered(sentences, "", last.content)
    tokens = tuple(Token(t.stem, t.kind, t.denied is yes, t.unit) for t in last.tokens)
    said = Sentence(last.text, tokens, asks=False, hedged=False, echo=True)
    return Answered((said, *sentences), last.text if yes else "", frozenset())


def _bare_answer(sentence: str) -> bool | None:
    """True for a bare yes, False for a bare no, at the beginning of the sentence."""
    begin = " ".join(sentence.lower().replace("\u2019", "'").split(",")[0].strip(" .!").split())
    if begin in words().affirmative:
        return True
    return False if begin in words().negative else None


@lru_cache(maxsize=65536)
def wordings(case: Case, fact: Fact) -> tuple[Wording, ...]:
    weights = _weights(case)
    found = []
    for text in dict.fromkeys((fact.spoken, fact.text)):
        sentences = read(text)
        tokens = tuple(token for sentence in sentences for token in sentence.tokens)
        stems = {token.stem for token in tokens if token.kind is not Kind.FUNCTION}
        if stems:
            found.append(Wording({stem: weights[stem] for stem in stems}, tokens, len(sentences)))
    return tuple(found)


@lru_cache(maxsize=512)
def _weights(case: Case) -> dict[str, float]:
    """Inverse document frequency of each stem, a fact being a document."""
    held = [
        frozenset().union(*(sentence.content for text in (fact.spoken, fact.text) for sentence in read(text)))
        for fact in case.facts
    ]
    frequency = Counter(stem for stems in held for stem in stems)
    most = math.log(1 + len(held))
    return {stem: max(_LEAST_WEIGHT, math.log(1 + len(held) / count) / most) for stem, count in frequency.items()}


def _best_span(case: Case, fact: Fact, sentences: Sequence[Sentence], asked: frozenset[str]) -> _Span | None:
    best: _Span | None = None
    for wording in wordings(case, fact):
        for window in _windows(sentences, wording.length):
            stems = frozenset().union(*(sentence.content for sentence in window))
            said = stems & wording.weights.keys()
            coverage = wording.covered(stems)
            if coverage >= WITH_NUMBERS and _says_numbers(wording, window):
                coverage = max(coverage, STATED)
            first = window[0] is sentences[0] and len(window) == 1
            in_answer = wording.covered(stems | asked) if first and coverage >= IN_ANSWER else coverage
            # One word of several that a fact has may be anybody's.
            if len(said) < min(2, len(wording.weights)) and in_answer < STATED:
                continue
            if max(coverage, in_answer) >= SPOKEN_OF and (
                best is None or (in_answer, coverage) > (best.in_answer, best.coverage)
            ):
                tokens = tuple(token for sentence in window for token in sentence.tokens)
                best = _Span(fact, coverage, in_answer, said, tokens)
    return best


def _says_numbers(wording: Wording, window: Sequence[Sentence]) -> bool:
    numbers = [token for token in wording.tokens if token.kind is Kind.NUMBER and token.unit]
    said = {(token.stem, token.unit) for sentence in window for token in sentence.tokens}
    return bool(numbers) and all((token.stem, token.unit) in said for token in numbers)


def _windows(sentences: Sequence[Sentence], length: int) -> Iterator[Sequence[Sentence]]:
    """Neighbouring sentences, as many as the fact has and one more."""
    for size in range(1, length + 2):
        for begin in range(len(sentences) - size + 1):
            window = sentences[begin : begin + size]
            # A bare no denies what was asked, and nothing that is said after it.
            if size == 1 or not window[0].echo:
                yield window


def _disagreements(case: Case, span: _Span, of_others: Sequence[Token]) -> Iterator[str]:
    """A reply agrees if it agrees with either wording of the fact."""
    own = [token for wording in wordings(case, span.fact) for token in wording.tokens]
    if _denial_differs(case, own, span.tokens, span.stems):
        yield "denial"
    # Only beside the fact's own words: another fact in the same sentence has sides of its own.
    near = _near(span.tokens, span.stems)
    for kind, tokens in ((Kind.SIDE, near), (Kind.FAMILY, span.tokens), (Kind.DRUG, near)):
        has, says = ({token.stem for token in some if token.kind is kind} for some in (own, tokens))
        if has and says and not has & says:
            yield kind
    numbers, said = ([token for token in some if token.kind is Kind.NUMBER] for some in (own, near))
    if numbers and any(not any(map(partial(same_number, other), [*numbers, *of_others])) for other in said):
        yield Kind.NUMBER


def _near(said: Sequence[Token], stems: frozenset[str]) -> list[Token]:
    places = [index for index, token in enumerate(said) if token.stem in stems]
    return list(said[max(0, min(places) - 2) : max(places) + 3]) if places else []


def _denial_differs(case: Case, own: Sequence[Token], said: Sequence[Token], stems: frozenset[str]) -> bool:
    weights = _weights(case)
    poles = set(words().opposites.values())
    against = agreeing = 0.0
    for stem in stems:
        in_fact = {token.denied for token in own if token.stem == stem}
        in_reply = {token.denied for token in said if token.stem == stem}
        if in_fact & in_reply:
            agreeing += weights[stem]
        elif stem in poles:
            return True
        else:
            against += weights[stem]
    return against > agreeing


def _own_share(case: Case, match: Match, told: frozenset[str]) -> float:
    return max((_share(wording.weights, match.stems - told) for wording in wordings(case, match.fact)), default=0.0)


def _share(weights: dict[str, float], stems: Iterable[str]) -> float:
    whole = sum(weights.values())
    return sum(weights[stem] for stem in set(stems) & weights.keys()) / whole if whole else 0.0
