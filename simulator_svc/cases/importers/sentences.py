"""A record's text as single sentences; what says nothing ("Information not provided") is told apart."""

from __future__ import annotations

import re

# A full stop after these ends no sentence, nor does one after a lone capital or before a small letter.
_ABBREVIATIONS = (
    "Dr",
    "Mr",
    "Mrs",
    "Ms",
    "vs",
    "approx",
    "e.g",
    "i.e",
    "etc",
    "St",
    "cf",
    "al",
    "a.m",
    "p.m",
    "p.o",
    "b.i.d",
    "t.i.d",
    "q.d",
)
_END = re.compile(
    "".join(rf"(?<!\b{re.escape(word)}\.)" for word in _ABBREVIATIONS)
    + r"(?<=[.!?])(?<!\b[A-Z]\.)\s+(?=[A-Z0-9\"'(\u2265<>])"
)
_NOTHING = re.compile(
    r"(?i)^(?:(?:n/?a|unknown|pending|optional|see above|as above)\.?$"
    r"|(?:information (?:is )?not \w+|none (?:provided|specified|given|mentioned)"
    r"|(?:details? )?not (?:provided|specified|applicable|available|reported|assessed|mentioned|performed|done"
    r"|documented|disclosed|given|tested|obtained|discussed)"
    r"|no (?:additional |further |other |specific |relevant )*(?:\w+ )?(?:information|details?|data)"
    r"|no (?:additional|further|other) (?:\w+ ){0,3}(?:provided|mentioned|specified)"
    r"|no (?:\w+ ){0,5}(?:provided|specified)(?=\.?$)|no mention of|[\w\s]* (?:is|are) shown(?: below| above)?"
    r"|to be (?:determined|done)|expected to show)\b[\w\s,();-]*\.?$)"
)
# That somebody came, and not why.
_CAME = re.compile(
    r"(?i)^(?:(?:the |this )?(?:patient|man|woman|boy|girl|child|infant)|she|he)"
    r" (?:is|was|comes?|came|presents?|goes|visits?)(?: (?:brought|referred|taken|seen|brought in))?"
    r" (?:to|at|by|in|for)\b[^,\d]*\b(?:physician|doctor|clinic|emergency (?:department|room)|office|hospital"
    r"|pediatrician|examination|check-?up|follow-?up)(?: (?:today|visit|examination|by (?:his|her) \w+))*\.?$"
)
NUMBERING = re.compile(r"^\s*(?:\d{1,3}[.)]\s+|[-*\u2022]\s+)")


def sentences(text: str) -> list[str]:
    text = NUMBERING.sub("", text)
    return [part.strip() for part in _END.split(text) if part.strip(" .;,")]


def says_nothing(text: str) -> bool:
    return bool(_NOTHING.match(text.strip()) or _CAME.match(text.strip())) or not re.search(r"[A-Za-z0-9]", text)
