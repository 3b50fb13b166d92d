"""Clinical sentences as a patient says them, by the rules of importers/data/wording.toml.

Invariant: every number, side and negation stays; only who is spoken of changes, and what merely says that something was
said goes ("The patient reports that she has" -> "I have", "Denies chest pain" -> "I have had no chest pain"). A result
that lost one is thrown away, and the sentence is quoted instead ("It says in my notes: ...").
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from simulator_svc.cases.grammar import base_form, begins_with_verb, is_clause, lower_first, one_of, rules
from simulator_svc.cases.model import Category, Sex

# Below this age a parent speaks for the child; the library's children of eight speak for themselves.
SPEAKS_FROM = 8
_PROBED = (Category.EXAMINATION, Category.TEST)
_NEGATION = re.compile(r"(?i)\b(?:no|not|non|never|none|nor|neither|without|nothing|cannot|nobody)\b|n't\b")
_DENIAL = re.compile(r"(?i)\b(?:den(?:y|ies|ied|ying))\b")
_SIDE = re.compile(r"(?i)\b(?:left|right|bilateral(?:ly)?|both|unilateral(?:ly)?)\b")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_SHE, _HE = ("she", "her", "her", "herself"), ("he", "his", "him", "himself")
_PRONOUNS = {Sex.FEMALE: (_SHE,), Sex.MALE: (_HE,), None: (_SHE, _HE)}
_KIN = {
    Sex.FEMALE: re.compile(
        r"(?i)\b(?:mother|mom|mum|wife|sister|daughter|aunt|girlfriend|grandmother|stepmother|niece|woman|girl)\b"
    ),
    Sex.MALE: re.compile(
        r"(?i)\b(?:father|dad|husband|brother|son|uncle|boyfriend|grandfather|stepfather|nephew|man|boy)\b"
    ),
}
_LITTLE = "(?:to|from|for|in|on|at|with|by|and|but|when|while|that|as|of|during|after|before)"
_REPORTER = re.compile(
    r"(?i)^(?:(?:his|her|their|the|the patient's|patient's|the (?:infant|child|baby|boy|girl|newborn)'s) )?"
    r"(?:foster )?(?:mother|father|parents?|mom|dad|caregivers?|grandmother|grandfather)\b"
)


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: the patient, or a parent of a small child."""

    age_years: int
    sex: Sex | None

    @property
    def parent(self) -> bool:
        return self.age_years < SPEAKS_FROM

    @property
    def words(self) -> dict[str, str]:
        if not self.parent:
            return {
                "I": "I",
                "am": "am",
                "have": "have",
                "was": "was",
                "take": "take",
                "my": "my",
                "me": "me",
                "My": "My",
            }
        child = {Sex.FEMALE: "daughter", Sex.MALE: "son", None: "child"}[self.sex]
        return {
            "I": f"My {child}", "am": "is", "have": "has", "was": "was", "take": "takes", "my": f"my {child}'s",
            "me": f"my {child}", "My": f"My {child}'s",
        }  # fmt: skip


def spoken(text: str, category: Category, label: str, voice: Voice) -> str:
    """One sentence, with its full stop. `label` names what a finding is of ("blood pressure")."""
    text = text.strip().rstrip(".;, ")
    probed = category in _PROBED
    said = sentence(_relayed(text, label, voice) if probed else _said(text, category, voice))
    return (
        said if keeps(f"{label} {text}" if probed and label else text, said) else _quoted(text, label if probed else "")
    )


def sentence(text: str) -> str:
    """One sentence: a full stop inside would end it."""
    text = re.sub(r"[.!?](?=[\s\"']+\S)", ",", text.strip()).rstrip(" .!?;,:")
    return text[:1].upper() + text[1:] + "."


def keeps(text: str, said: str) -> bool:
    """No number, side or negation is lost or added."""
    return (
        _NUMBER.findall(text) == _NUMBER.findall(said)
        and Counter(map(str.lower, _SIDE.findall(text))) == Counter(map(str.lower, _SIDE.findall(said)))
        and negations(text) == negations(said)
    )


def negations(text: str) -> int:
    return len(_NEGATION.findall(text)) + len(_DENIAL.findall(text))


def _said(text: str, category: Category, voice: Voice) -> str:
    if begins_with_verb(text):
        text = f"the patient {lower_first(text)}"
    if is_clause(text):
        return _by_parent(text, voice) if voice.parent else first_person(text, voice.sex)
    return _fragment(text, category, voice)


def _fragment(text: str, category: Category, voice: Voice) -> str:
    rule = next(
        rule
        for rule in rules()["fragment"]
        if category in rule.get("categories", [category]) and re.search(rule["pattern"], text, re.IGNORECASE)
    )
    begins: str = rule["begins"].format(**voice.words)
    said = begins + lower_first(_own(text, voice))
    return said if voice.parent else _agreeing(said)


def _relayed(text: str, label: str, voice: Voice) -> str:
    """A finding, as a patient can pass it on."""
    if is_clause(text):
        said = _by_parent(text, voice) if voice.parent else first_person(text, voice.sex)
        return f"They told me that {lower_first(said)}"
    value, my = lower_first(_own(text, voice)), voice.words["my"]
    if not label:
        return f"They told me this: {value}"
    if re.match(r"[<>~]?\d", text) and "," not in label:
        plural = label.endswith("s") and not label.endswith(("ss", "us", "is"))
        return f"They told me {my} {label} {'are' if plural else 'is'} {value}"
    return f"They told me about {my} {label}: {value}"


def _quoted(text: str, label: str) -> str:
    return sentence(f"It says in my notes: {label + ': ' if label else ''}{lower_first(text)}")


def _own(text: str, voice: Voice) -> str:
    return text if voice.parent else re.sub(r"(?i)\b(?:his|her|(?:the )?patient's)\b", "my", text)


def first_person(text: str, sex: Sex | None) -> str:
    """A clause about the patient, said by the patient."""
    text = _subject_s().sub("my", _without_report(text))
    # A pronoun after a relative of the same sex may mean the relative, and stays.
    kin = [found.start() for other, words in _KIN.items() if sex in (other, None) and (found := words.search(text))]
    begins = _begins().match(text)
    end = max(min(kin, default=len(text)), begins.end() if begins else 0)
    said = _agreeing(_pronouns(text[:end], sex) + text[end:])
    for pattern, instead in _reports():
        said = pattern.sub(instead, said)
    return _denied(said, "I", "have")


def _pronouns(text: str, sex: Sex | None) -> str:
    """A pronoun of the other sex is about someone else, and stays."""
    text = _subject_alone().sub("I", text)
    for she, her, of_her, herself in _PRONOUNS[sex]:
        text = re.sub(rf"(?i)\b{she}(?=[\s,]|$)", "I", text)
        text = re.sub(rf"(?i)\b{herself}\b", "myself", text)
        if of_her != her:
            text = re.sub(rf"(?i)\b{of_her}\b", "me", text)
        else:  # "her" before a noun is "my"; at the end or before a little word it is "me"
            text = re.sub(rf"(?i)\b{her}\b(?=[.,;]| {_LITTLE}\b|$)", "me", text)
        text = re.sub(rf"(?i)\b{her}\b", "my", text)
    return text


def _agreeing(text: str) -> str:
    """The verb after each "I", and those that go on after "and" or a comma."""
    text = _verb_after_i().sub(lambda found: f"I {found[1]}{base_form(found[2])}", text)
    if text.startswith("I "):
        text = _verb_that_goes_on().sub(lambda found: base_form(found[0]), text)
        text = _state_that_goes_on().sub("and am ", text)
    return text


def _without_report(text: str) -> str:
    """ "The patient states that she has" -> "she has": that it was said goes without saying."""
    return _report_that().sub("", text)


@cache
def _reports() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What "reports" and "complains of" lead to, the patient has."""
    adverbs, thing = (
        _adverbs(),
        r"(?=(?:an?|no|some|any|mild|moderate|severe|\w+ing|\w+al|\w+ent|\w+ive|pain|fever|fatigue|weight|\d+)\b)",
    )
    return (
        (
            re.compile(
                rf"^I ({adverbs})(?:report|endorse|note|describe|mention) (?=(?:being|feeling|{one_of('having')})\b)"
            ),
            r"I \1have been ",
        ),
        (re.compile(rf"^I ({adverbs})(?:report|endorse) {thing}"), r"I \1have "),
        (
            re.compile(
                rf"^I ({adverbs})(?:am complaining of|complain of|present with|presented with|have presented with) "
            ),
            r"I \1have ",
        ),
    )


def _denied(text: str, subject: str, have: str) -> str:
    """ "I deny any fever" -> "I have had no fever"; "denies smoking" -> "have not been smoking"."""
    if not _DENIAL.search(text):
        return text
    for pattern, instead in _denials(subject):
        text = pattern.sub(rf"\g<before>{have} {instead}", text)
    return text


@cache
def _denials(subject: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    deny, thing = (
        r"(?i){}den(?:y|ies|ied|ying) ",
        rf"(?:{one_of('having')} )?(?:symptoms of )?(?:any |an? )?(?!that\b|to\b)",
    )
    doing = rf"(?:any )?(?!{one_of('having')}\b|{one_of('nouns_in_ing')}\b)(?=[a-z]+ing\b)(?![^.]*,)"
    befores = (rf"(?P<before>\b{subject} {_adverbs()})", r"(?P<before>(?:\band|\bbut|\bor|[,;]) (?:also )?)")
    return tuple(
        (re.compile(deny.format(before) + what), instead)
        for before in befores
        for what, instead in (("being ", "not been "), (doing, "not been "), (thing, "had no "))
    )


def _by_parent(text: str, voice: Voice) -> str:
    """The child stays "he" or "she"; who told it is the one who speaks."""
    reporter = _REPORTER.match(text)
    if reporter and text[reporter.end() : reporter.end() + 1] == " ":
        rest = text[reporter.end() + 1 :]
        told = _said_that().sub("", rest)
        text = (
            told
            if told != rest
            else _verb_after_i().sub(lambda found: f"I {found[1]}{base_form(found[2])}", f"I {rest}")
        )
    text = _subject_s().sub(voice.words["my"], _without_report(text))
    child = voice.words["me"]
    return _denied(_subject_alone().sub(child, text), f"(?:{child}|he|she)", "has")


@cache
def _subject_s() -> re.Pattern[str]:
    return re.compile(rf"(?i)\b{one_of('subjects')}'s\b")


@cache
def _subject_alone() -> re.Pattern[str]:
    return re.compile(rf"(?i)\b{one_of('subjects')}(?=[\s,]|$)")


@cache
def _begins() -> re.Pattern[str]:
    return re.compile(rf"(?i)(?:{one_of('subjects')}|she|he)\b")


@cache
def _verb_after_i() -> re.Pattern[str]:
    return re.compile(rf"\bI (,? ?{_adverbs()})([a-z]+(?:n't)?)\b")


@cache
def _verb_that_goes_on() -> re.Pattern[str]:
    return re.compile(rf"(?:(?<=and )|(?<=but )|(?<=or )|(?<=, )){one_of('verbs')}\b")


@cache
def _state_that_goes_on() -> re.Pattern[str]:
    return re.compile(rf"\band is (?={_adverbs()}{one_of('states')}\b)")


@cache
def _report_that() -> re.Pattern[str]:
    return re.compile(rf"(?i)^(?:{one_of('subjects')}|she|he) {_adverbs()}{one_of('say')} that (?=\S)")


@cache
def _said_that() -> re.Pattern[str]:
    return re.compile(rf"^{_adverbs()}{one_of('say')} that ")


@cache
def _adverbs() -> str:
    return f"(?:{one_of('adverbs')} )*"
