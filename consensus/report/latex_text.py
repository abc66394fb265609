"""Text for LaTeX: nothing in a label is a command, and a character that the fonts lack is replaced or named."""

from __future__ import annotations

import re
import unicodedata

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}", '"': r"\textquotedbl{}", "/": r"/\allowbreak{}",
    # After the end of a row these would be read as its arguments.
    "[": "{[}", "*": "{*}",
    "\u00a0": "~", "\u00ad": "", "\u2010": "-", "\u2011": "-", "\u2013": "--", "\u2014": "---", "\u2212": "$-$",
    "\u2018": "`{}", "\u2019": "'{}", "\u201c": "``{}", "\u201d": "''{}", "\u2026": r"\dots{}", "\u2022": r"\textbullet{}",
    "\u00b0": r"$^\circ$", "\u00b1": r"$\pm$", "\u00b2": "$^2$", "\u00b3": "$^3$", "\u00b5": r"$\mu$",
    "\u00b7": r"$\cdot$", "\u00b9": "$^1$", "\u00d7": r"$\times$", "\u00f7": r"$\div$", "\u2190": r"$\leftarrow$",
    "\u2192": r"$\rightarrow$", "\u2194": r"$\leftrightarrow$", "\u221e": r"$\infty$", "\u2248": r"$\approx$",
    "\u2260": r"$\neq$", "\u2264": r"$\leq$", "\u2265": r"$\geq$",
}  # fmt: skip
_SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
_CAPITAL = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"


def _greek(name: str) -> str:
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    return unicodedata.lookup(f"GREEK {size} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}")


_WRITTEN = _SPECIAL | {_greek(name): rf"$\{name}$" for name in f"{_SMALL} {_CAPITAL}".split()}
_WRITTEN |= {"\u03bf": "o", "\u03c2": r"$\varsigma$"}
# Latin letters with accents that LaTeX has under T1 (tried with pdfTeX 1.40.24): Latin-1 and Latin Extended-A but these.
_ABSENT = frozenset("\u0126\u0127\u0138\u013f\u0140\u0149\u0166\u0167\u017f")
# What this module puts into a text before it is written.
_MADE = {"\u200b": r"\allowbreak{}", "\u2060": "{}"}

LONGEST_RUN = 24
"""Characters without a place to break a line at, before one is made."""


def latex(text: str) -> str:
    r"""Return a text as LaTeX: what it says is printed and never run.

    Characters that T1 fonts have not become their letters without accents, else their name or number in brackets: an
    emoji is ``[dna double helix]``, a sign of Chinese ``[U+7EC6]``. Long names may be broken after ``_`` and ``/``, and
    where 24 characters have no such place.
    """
    # Straight quotes inside a word are apostrophes.
    prose = re.sub(r"(?<=\w)'(?=\w)", "\u2019", text.replace("\u2060", ""))
    # Pairs of these become another sign: an en dash, guillemets, a low quotation mark.
    apart = re.sub(r"([-<>,])(?=\1)", "\\1\u2060", _breakable(prose))
    return "".join(_one(character) for character in apart)


def _breakable(text: str) -> str:
    return re.sub(rf"([^\s_/\u200b]{{{LONGEST_RUN}}})(?=[^\s_/])", "\\1\u200b", text.replace("\u200b", ""))


def _one(character: str) -> str:
    if character in _MADE:
        return _MADE[character]
    if (written := _WRITTEN.get(character)) is not None:
        return written
    if " " <= character <= "~" or ("\u00a1" <= character <= "\u017f" and character not in _ABSENT):
        return character
    if character.isspace():
        return " "
    simpler = unicodedata.normalize("NFKD", character)
    plain = "".join(one for one in simpler if not unicodedata.combining(one))
    if plain != character and all(_has(one) for one in plain):
        return "".join(_one(one) for one in plain)
    return _named(character)


def _has(character: str) -> bool:
    return character in _WRITTEN or " " <= character <= "~" or "\u00a1" <= character <= "\u017f"


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    if unicodedata.category(character) in ("Cf", "Mn", "Me") or "VARIATION SELECTOR" in name:
        return ""  # joins or modifies what stands before it
    if not name or "IDEOGRAPH" in name or "SYLLABLE" in name:
        return f"{{[}}U+{ord(character):04X}]"
    return f"{{[}}{name.lower().replace('-', ' ')}]"
