"""What a reader should know of a member before its votes are believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """What `celljury members describe` says of a member, in whole sentences.

    Attributes
    ----------
    what
        What it is, one sentence.
    needs
        What it needs beside its library: a file of the user's, R, protein counts; empty = nothing.
    score
        What its probability means, and what it does not.
    right
        When it is the right one to ask.
    fails
        When it goes wrong.
    licence
        Of the library behind it, as SPDX names it.
    cite
        Papers, e.g. ``scVI: Lopez 2018, doi:10.1038/s41592-018-0229-2``.
    """

    what: str
    score: str
    right: str
    fails: str
    licence: str
    cite: tuple[str, ...]
    needs: str = ""
