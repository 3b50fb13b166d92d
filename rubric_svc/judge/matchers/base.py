"""What a matcher is, and how a criterion's terms are read.

A term is a phrase (judge/terms.py), `@name` for a list of the lexicon, or `key=value` for a number that the matcher
takes. `share` is every matcher's: the least share of the judged turns that must show it; without it one turn is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rubric_svc.judge import lexicon
from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.lexicon import TermList
from rubric_svc.judge.terms import compile_term
from rubric_svc.judge.text import REACH, Sentence, Span, negated, questions, sentences

SHARE = "share"
_OPTION = re.compile(r"^([a-z_]+)=(\d+(?:\.\d+)?)$")


class WrongTerms(ValueError):
    """A criterion names no known matcher, or terms that its matcher cannot read."""


@dataclass(frozen=True, slots=True)
class Terms:
    lists: tuple[TermList, ...]
    options: tuple[tuple[str, float], ...]
    literal: tuple[str, ...] = ()
    """As they stand, of a matcher that reads them so."""

    def option(self, key: str, otherwise: float) -> float:
        return dict(self.options).get(key, otherwise)

    def hits(self, text: str) -> Iterator[re.Match[str]]:
        """Of each list whose `unless` words are not in the text."""
        for terms in self.lists:
            if not any(compile_term(term).search(text) for term in terms.unless):
                for term in terms.terms:
                    yield from compile_term(term).finditer(text)


Find = Callable[[Evidence, DoctorTurn, Terms], Span | None]


@dataclass(frozen=True, slots=True)
class Matcher:
    name: str
    find: Find
    options: frozenset[str]
    needs_terms: bool
    default_list: str
    literal: bool
    # Raises WrongTerms for literal terms that make no sense.
    read: Callable[[Terms], object] | None


MATCHERS: dict[str, Matcher] = {}


def matcher(
    *,
    options: Sequence[str] = (),
    needs_terms: bool = False,
    default: str = "",
    literal: bool = False,
    read: Callable[[Terms], object] | None = None,
) -> Callable[[Find], Find]:
    """Registers the function under its name. `default` is the lexicon's list that it uses when given no terms; a
    `literal` one takes its terms as they stand, none of them a phrase, a list or an option, and may `read` them."""

    def register(find: Find) -> Find:
        name = find.__name__
        MATCHERS[name] = Matcher(name, find, frozenset(options) | {SHARE}, needs_terms, default, literal, read)
        return find

    return register


@lru_cache(maxsize=4096)
def read_terms(name: str, terms: tuple[str, ...]) -> Terms:
    """Raises WrongTerms."""
    found = MATCHERS.get(name)
    if found is None:
        raise WrongTerms(f"there is no matcher {name!r}; there are {', '.join(sorted(MATCHERS))}")
    if found.literal:
        if not terms:
            raise WrongTerms(f"{name} needs terms")
        literal = Terms((), (), terms)
        if found.read is not None:
            found.read(literal)
        return literal
    known = lexicon.built_in()
    lists: list[TermList] = []
    options: list[tuple[str, float]] = []
    own: list[str] = []
    for term in terms:
        option = _OPTION.match(term)
        if option and option[1] in found.options:
            options.append((option[1], float(option[2])))
        elif option:
            raise WrongTerms(f"{name} takes no option {option[1]!r}")
        elif term.startswith("@"):
            if term[1:] not in known:
                raise WrongTerms(f"the lexicon has no list {term[1:]!r}")
            lists.append(known.get(term[1:]))
        else:
            own.append(term)
    try:
        for term in own:
            compile_term(term)
    except ValueError as error:
        raise WrongTerms(str(error)) from error
    if own:
        lists.append(TermList("own", tuple(own)))
    if not lists and found.default_list:
        lists.append(known.get(found.default_list))
    if not lists and found.needs_terms:
        raise WrongTerms(f"{name} needs terms")
    return Terms(tuple(lists), tuple(options))


def is_phrase(term: str) -> bool:
    """Whether words from outside (a case's cues and names) are a plain phrase, no list and no option."""
    if term.startswith("@") or _OPTION.match(term):
        return False
    try:
        compile_term(term)
    except ValueError:
        return False
    return True


def phrases(name: str) -> Terms:
    """A list of the lexicon, for a matcher that needs more than its own terms."""
    return Terms((lexicon.built_in().get(name),), ())


def earliest(spans: Iterator[Span]) -> Span | None:
    return min(spans, key=lambda span: span.start, default=None)


def hits_in(text: str, span: Span, terms: Terms) -> Iterator[Span]:
    for hit in terms.hits(span.of(text)):
        yield Span(span.start + hit.start(), span.start + hit.end())


def affirmed(turn: DoctorTurn, terms: Terms, reach: int = REACH) -> Iterator[tuple[Sentence, Span]]:
    """Hits that the doctor states: not denied up to `reach` words before, and not inside a question."""
    asked = questions(turn.text)
    for sentence in sentences(turn.text):
        for hit in terms.hits(sentence.text):
            span = Span(sentence.span.start + hit.start(), sentence.span.start + hit.end())
            if negated(sentence.text, hit.start(), hit.end(), reach):
                continue
            if any(q.span.start <= span.start < q.span.end for q in asked):
                continue
            yield sentence, span
