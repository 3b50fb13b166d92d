"""What a turn says to its judge instead of to the patient: found by rule, and blanked out before anything is judged.

Invariant: blanks keep the offsets, and a turn that does not speak to its judge comes back unchanged. The rule is
transparent: words in lexicon/judge_address.toml, and shapes below (JSON, tags, fields, blocks of code or of encoded
text). Read as well as they stand, words are read decoded: rot13, backwards, spaced out, with figures for letters.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from rubric_svc.judge.terms import compile_term

FILE = Path(__file__).parent.parent / "lexicon" / "judge_address.toml"

# Written for a machine, wherever it stands: chat and markup tags with what they enclose, code, JSON, HTML comments.
_BLOCKS = re.compile(
    r"<!--.*?(?:-->|\Z)|<\|[a-z_]+\|>.*?(?:<\|[a-z_]+\|>|\Z)|"
    r"\[(INST|SYSTEM|SYS)\].*?(?:\[/\1\]|\Z)|<(system|verdict|score|grade|rubric|instructions?|\w*judge\w*)>.*?(?:</\2>|\Z)|"
    r"</?(?:dialogue|conversation|system|verdict|score|grade|rubric|instructions?|judge)>|"
    r"\{[^{}]*[\"'][\w ]+[\"']\s*:[^{}]*\}|[\"'](?:faults|penalties|grade|score|verdict|criteria)[\"']\s*:[^\n]*",
    re.I | re.S,
)
# To the end of its line or, for a heading, of its paragraph.
_LINES = re.compile(
    r"^[ \t#*>\-]*(?:system|grader|evaluator|judge|assistant \(\w+\)|note to \w+(?: \w+)?|rubric|verdict|grading|"
    r"evaluation|criteri(?:on|a)[_ ]?\d*|label|rating|checklist|admin|llm)\b[^\n.?!]{0,40}?[:=][^\n]*|"
    r"^[ \t]*q\s*:[^\n]*\ba\s*:[^\n]*|"
    r"^[ \t]*#{2,}[ \t*]*(?:system|grad(?:er|ing)|evaluat(?:or|ion)|judge|instructions?)\b[^\n]*(?:\n(?!\n)[^\n]*)*",
    re.I | re.M,
)
_BRACKETS = re.compile(r"```.*?(?:```|\Z)|\([^()]*\)|\[[^\[\]]*\]|\*[^*\n]+\*", re.S)
# No word of any language is so long: base64, hexadecimal.
_ENCODED = re.compile(r"\S*[A-Za-z0-9+/=_\-]{28,}\S*")
# A verdict said over and over, and nothing else: "Positive. Positive. Positive."
_CHANTED = re.compile(
    r"\b(positive|met|yes|true|pass(?:ed)?|satisfied|fulfilled|present|correct|approved)\b[.!,;\s]+(?:\1\b[.!,;\s]*){2,}\Z",
    re.I,
)
_TICKS = re.compile(r"[\u2605\u2606\u2713\u2714\u2705\u2611]|>>>|\w\s*=\s*(?:1|true|yes)\b")
_SENTENCES = re.compile(
    r"(?:\s*p\.\s?s\.)?[^.!?\n\u3002\uff01\uff1f]*(?:[.!?\u3002\uff01\uff1f]+[\"')\]]*|\n|\Z)", re.I
)
_LETTERS = str.maketrans("4310057@$", "aeiooSta" + "s")
_SPACED = re.compile(r"(?:\b\w\b[ ]?){5,}")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_SHORTEST_CODED = 12


@cache
def _lists() -> dict[str, re.Pattern[str]]:
    table: dict[str, list[str]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: re.compile("|".join(compile_term(term).pattern for term in terms), re.I) for name, terms in table.items()
    }


@lru_cache(maxsize=4096)
def without_address(text: str, *, doctor: bool) -> str:
    """The text with blanks where it speaks to its judge. Only a doctor's praise of "the doctor" is such speech."""
    kept = text
    kept = _blanked(kept, ((m.start(), m.end()) for m in _BRACKETS.finditer(kept) if _speaks(m.group(), doctor)))
    for shape in (_BLOCKS, _LINES, _ENCODED, _CHANTED):
        kept = _blanked(kept, ((m.start(), m.end()) for m in shape.finditer(kept)))
    kept = _blanked(kept, _sentences(kept, doctor))
    return kept if kept == text else _blanked(kept, _left_over(kept))


def _left_over(text: str) -> Iterator[tuple[int, int]]:
    """The stops of what was blanked out."""
    return ((m.start(), m.end()) for m in _SENTENCES.finditer(text) if not any(map(str.isalnum, m.group())))


def _sentences(text: str, doctor: bool) -> Iterator[tuple[int, int]]:
    found = [m for m in _SENTENCES.finditer(text) if m.group().strip()]
    # A sentence of another script beside as many of this one is not meant for this patient.
    foreign = 2 * sum(_mostly_latin(m.group()) for m in found) >= len(found)
    hits = [_speaks(m.group(), doctor) or (foreign and not _mostly_latin(m.group())) for m in found]
    for index, match in enumerate(found):
        # What stands between two sentences to the judge is spoken to the judge.
        between = 0 < index < len(found) - 1 and hits[index - 1] and hits[index + 1]
        if not hits[index] and not between:
            continue
        end = match.end()
        if hits[index] and ":" in match.group():
            line = text.find("\n", match.start())
            end = max(end, len(text) if line < 0 else line)
        yield match.start(), end


def _speaks(sentence: str, doctor: bool) -> bool:
    return any(_says(reading, doctor) for reading in _readings(sentence))


def _says(sentence: str, doctor: bool) -> bool:
    lists = _lists()
    if lists["unless"].search(sentence):
        return False
    if lists["alone"].search(sentence) or lists["foreign"].search(sentence):
        return True
    if _TICKS.search(sentence):
        return True
    if doctor and lists["praised"].search(sentence):
        return True
    if lists["about"].search(sentence) and lists["verdict"].search(sentence):
        return True
    return bool(re.search(rf"[\w\"']\s*[:=]\s*[\"']?(?:{lists['fields'].pattern})", sentence, re.I))


def _readings(sentence: str) -> Iterator[str]:
    yield sentence
    letters = sentence.strip()
    if len(letters) < _SHORTEST_CODED:
        return
    yield codecs.encode(sentence, "rot13")
    yield letters[::-1]
    if re.search(r"[a-z][0-9@$]|[0-9@$][a-z]", sentence, re.I):
        yield sentence.translate(_LETTERS)
    if _SPACED.search(sentence):
        yield re.sub(r"\s", "", re.sub(r"\s{2,}", "\0", letters)).replace("\0", " ")


def _mostly_latin(text: str) -> bool:
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(bool(_LATIN.match(letter)) for letter in letters) >= len(letters)


def _blanked(text: str, spans: Iterator[tuple[int, int]]) -> str:
    parts, at = [], 0
    for start, end in sorted(spans):
        if end > at:
            parts += [text[at : max(at, start)], re.sub(r"\S", " ", text[max(at, start) : end])]
            at = end
    return "".join([*parts, text[at:]])
