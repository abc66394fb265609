"""What each member is, in a phrase for a methods text, as it took part in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celljury.report.methods_words import given

if TYPE_CHECKING:
    from collections.abc import Mapping


def member_text(member: Mapping[str, Any], *, genes_share: float) -> str:
    """Return a member with its version and source, with marks ``[@key]``.

    Parameters
    ----------
    member
        As in ``run.json``: name, version and settings.
    genes_share
        Share of the reference's counts on genes that the query has: below ``surgery_min_share`` no surgery is made.
    """
    settings = member.get("settings") or {}
    version = given(member.get("version") or "")
    known = f"{version}; " if version else ""
    surgery = (
        " with architecture surgery on the query's batches [@lotfollahi2022]"
        if settings.get("surgery_epochs") and genes_share >= settings.get("surgery_min_share", 1.0)
        else ""
    )
    near = settings.get("neighbors")
    if member["name"] == "logistic":
        return f"multinomial logistic regression on log-transformed counts per 10,000 [{known}@pedregosa2011]"
    if member["name"] == "celltypist":
        how = "with a model trained elsewhere" if settings.get("model") else "trained on the reference"
        return f"CellTypist [{known}@dominguezconde2022] {how}"
    if member["name"] == "symphony":
        return (
            f"Symphony [{known}@kang2021] with a vote of {near or 'the nearest'} neighbours in the corrected embedding"
        )
    if member["name"] == "singler":
        return f"SingleR [{known}@aran2019]"
    if member["name"] == "scvi_knn":
        vote = f"a distance-weighted vote of {near or 'the nearest'} neighbours [@sikkema2023] in its latent space"
        return f"scVI [{known}@lopez2018; @gayoso2022]{surgery} and {vote}"
    if member["name"] == "scanvi":
        vote = (
            f" and a vote of {near or 'the nearest'} neighbours in its latent space"
            if settings.get("vote") == "neighbors"
            else ""
        )
        return f"scANVI [{known}@xu2021]{surgery}{vote}"
    return f"{given(member['name'])}{f' ({version})' if version else ''}"
