"""How much room text takes in a drawing: its width, its lines, and what is left out where it does not fit.

A drawing is made where its fonts are not known. Widths are those of DejaVu Sans, the widest of the fonts that a browser
takes for ``system-ui`` without being asked: what fits by them fits elsewhere too.
"""

from __future__ import annotations

FONT = "system-ui, 'Liberation Sans', sans-serif"

# Widths in parts of the font size, after DejaVu Sans's own table; bold is a ninth wider.
_NARROW = dict.fromkeys("iIjl.,:;'|!", 0.34) | dict.fromkeys(" ()[]ft-r/", 0.42)
_WIDE = dict.fromkeys("mMwW@%", 1.0) | {
    chr(letter): 0.78 for letter in range(ord("A"), ord("Z") + 1) if chr(letter) not in "IMW"
}
_PLAIN, _FOREIGN, _FULL, _FULL_FROM = 0.64, 0.8, 1.05, 0x2E80
BOLD = 1.12

ELLIPSIS = "…"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a line of text in units of the drawing, at a font size in the same units; an upper estimate."""
    total = 0.0
    for letter in text:
        if letter in _NARROW:
            total += _NARROW[letter]
        elif letter in _WIDE:
            total += _WIDE[letter]
        elif letter.isascii():
            total += _PLAIN
        else:
            total += _FULL if ord(letter) >= _FULL_FROM else _FOREIGN
    return total * size * (BOLD if bold else 1)


def shortened(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Return the text, cut at its end and closed by an ellipsis where it is wider than ``room``."""
    if text_width(text, size, bold=bold) <= room:
        return text
    kept = len(text)
    while kept and text_width(text[:kept].rstrip() + ELLIPSIS, size, bold=bold) > room:
        kept -= 1
    return text[:kept].rstrip() + ELLIPSIS


def wrapped(text: str, room: float, size: float, *, lines: int, bold: bool = False) -> list[str]:
    """Return at most so many lines of the text, broken at blanks and hyphens, the last one cut where more is left."""
    words = _words(text)
    found: list[str] = []
    while words and len(found) < lines - 1:
        line = words.pop(0)
        while words and text_width((line + words[0]).rstrip(), size, bold=bold) <= room:
            line += words.pop(0)
        found.append(shortened(line.rstrip(), room, size, bold=bold))
    return [*found, shortened("".join(words).rstrip(), room, size, bold=bold)] if words else found or [""]


def _words(text: str) -> list[str]:
    """Return the pieces between which a line may break, each with what closes it."""
    words = [""]
    for letter in " ".join(text.split()):
        words[-1] += letter
        if letter in " -/":
            words.append("")
    return [word for word in words if word]
