"""Constraints on the form of an answer that a program can check, with the names and meanings of IFEval.

    follows("length_constraints:number_words", {"relation": "at least", "num_words": 300}, answer)

Source: Zhou et al. 2023, Instruction-Following Evaluation for Large Language Models. `language:response_language` is
not among them: it takes a language detector to tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]

CHECKS: dict[str, Check] = {}


def follows(name: str, arguments: Arguments, answer: str) -> bool:
    """Raises KeyError for an unknown constraint or a missing argument."""
    return bool(answer.strip()) and CHECKS[name](answer, arguments)


def _constraint(name: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return register


def _holds(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def _occurrences(word: str, text: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.I))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]


@_constraint("punctuation:no_comma")
def _no_comma(text: str, arguments: Arguments) -> bool:
    return "," not in text


@_constraint("length_constraints:number_words")
def _number_words(text: str, arguments: Arguments) -> bool:
    return _holds(len(_words(text)), arguments["relation"], arguments["num_words"])


@_constraint("length_constraints:number_sentences")
def _number_sentences(text: str, arguments: Arguments) -> bool:
    sentences = [part for part in re.split(r"(?<=[.!?])[\"')\]]*\s+|\n+", text.strip()) if re.search(r"\w", part)]
    return _holds(len(sentences), arguments["relation"], arguments["num_sentences"])


@_constraint("length_constraints:number_paragraphs")
def _number_paragraphs(text: str, arguments: Arguments) -> bool:
    """Parted by ***; an empty one at either end does not count, one in the middle spoils it."""
    parts = _paragraphs(text)
    if any(not part for part in parts[1:-1]):
        return False
    return sum(bool(part) for part in parts) == int(arguments["num_paragraphs"])


@_constraint("length_constraints:nth_paragraph_first_word")
def _first_word_of_paragraph(text: str, arguments: Arguments) -> bool:
    parts = [part for part in re.split(r"\n\n", text) if part.strip()]
    number = int(arguments["nth_paragraph"])
    if len(parts) != arguments["num_paragraphs"] or not 1 <= number <= len(parts):
        return False
    first = parts[number - 1].split()[0].strip("\"'").rstrip(".,?!\"'")
    return first.lower() == str(arguments["first_word"]).lower()


@_constraint("keywords:existence")
def _existence(text: str, arguments: Arguments) -> bool:
    return all(re.search(re.escape(word), text, re.I) for word in arguments["keywords"])


@_constraint("keywords:forbidden_words")
def _forbidden(text: str, arguments: Arguments) -> bool:
    return not any(_occurrences(word, text) for word in arguments["forbidden_words"])


@_constraint("keywords:frequency")
def _frequency(text: str, arguments: Arguments) -> bool:
    count = len(re.findall(re.escape(arguments["keyword"]), text, re.I))
    return _holds(count, arguments["relation"], arguments["frequency"])


@_constraint("keywords:letter_frequency")
def _letter_frequency(text: str, arguments: Arguments) -> bool:
    return _holds(
        text.lower().count(arguments["letter"].lower()), arguments["let_relation"], arguments["let_frequency"]
    )


@_constraint("detectable_format:number_highlighted_sections")
def _highlights(text: str, arguments: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("*").strip()]
    return bool(len(single) + len(double) >= arguments["num_highlights"])


@_constraint("detectable_format:number_bullet_lists")
def _bullets(text: str, arguments: Arguments) -> bool:
    starred = re.findall(r"^\s*\*[^*].*$", text, re.M)
    dashed = re.findall(r"^\s*-.*$", text, re.M)
    return bool(len(starred) + len(dashed) == arguments["num_bullets"])


@_constraint("detectable_format:title")
def _title(text: str, arguments: Arguments) -> bool:
    return any(title.strip() for title in re.findall(r"<<([^\n]+)>>", text))


@_constraint("detectable_format:json_format")
def _json(text: str, arguments: Arguments) -> bool:
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip(), flags=re.I)
    try:
        json.loads(bare)
    except ValueError:
        return False
    return True


@_constraint("detectable_format:multiple_sections")
def _sections(text: str, arguments: Arguments) -> bool:
    found = re.findall(rf"\s?{re.escape(arguments['section_spliter'])}\s?\d+\s?", text)
    return bool(len(found) >= arguments["num_sections"])


@_constraint("detectable_format:constrained_response")
def _constrained(text: str, arguments: Arguments) -> bool:
    return any(given in text for given in ("My answer is yes.", "My answer is no.", "My answer is maybe."))


@_constraint("detectable_content:number_placeholders")
def _placeholders(text: str, arguments: Arguments) -> bool:
    return bool(len(re.findall(r"\[.*?\]", text)) >= arguments["num_placeholders"])


@_constraint("detectable_content:postscript")
def _postscript(text: str, arguments: Arguments) -> bool:
    marker = arguments["postscript_marker"].lower()
    letters = [re.escape(letter) for letter in re.sub(r"[.\s]", "", marker)]
    return re.search(r"^\s*" + r"\.?\s?".join(letters), text, re.I | re.M) is not None


@_constraint("startend:quotation")
def _quoted(text: str, arguments: Arguments) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


@_constraint("startend:end_checker")
def _ends(text: str, arguments: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(arguments["end_phrase"].strip().lower())


@_constraint("combination:repeat_prompt")
def _repeats(text: str, arguments: Arguments) -> bool:
    return text.strip().lower().startswith(arguments["prompt_to_repeat"].strip().lower())


@_constraint("combination:two_responses")
def _two_responses(text: str, arguments: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    if any(not part for part in parts[1:-1]):
        return False
    given = [part for part in parts if part]
    return len(given) == 2 and given[0] != given[1]


@_constraint("change_case:english_lowercase")
def _lower(text: str, arguments: Arguments) -> bool:
    return text.islower()


@_constraint("change_case:english_capital")
def _capital(text: str, arguments: Arguments) -> bool:
    return text.isupper()


@_constraint("change_case:capital_word_frequency")
def _capital_words(text: str, arguments: Arguments) -> bool:
    count = sum(word.isupper() for word in re.findall(r"[\w'-]+", text))
    return _holds(count, arguments["capital_relation"], arguments["capital_frequency"])
