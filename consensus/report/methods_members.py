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
    if (text := _further(member["name"], settings, known=known, near=near, surgery=surgery)) is not None:
        return text
    return f"{given(member['name'])}{f' ({version})' if version else ''}"


def _further(name: str, settings: Mapping[str, Any], *, known: str, near: Any, surgery: str) -> str | None:
    """Return one of the members that are not in the default jury; None for a third party's."""
    vote = f"a vote of {near or 'the nearest'} neighbours"
    scgpt = settings.get("architecture") == "scgpt"
    model = f"scGPT [{known}@cui2024]" if scgpt else f"Geneformer [{known}@theodoris2023]"
    texts = {
        "svm": f"a linear support vector machine [{known}@cortes1995; @pedregosa2011]",
        "random_forest": f"a random forest [{known}@breiman2001; @pedregosa2011]",
        "xgboost": f"gradient boosted trees [{known}@chen2016]",
        "harmony_knn": f"{vote} after integration of reference and query with Harmony [{known}@korsunsky2019]",
        "bbknn": f"{vote} taken from every batch of the reference alike [{known}@polanski2020]",
        "scanorama_knn": f"{vote} after integration of reference and query with Scanorama [{known}@hie2019]",
        "totalvi_knn": f"totalVI on RNA and surface proteins [{known}@gayoso2021; @gayoso2022]{surgery} and {vote}",
        "foundation": f"{model} fine-tuned on the reference by low-rank adaptation [@hu2022]",
        "scpoli": f"scPoli [{known}@dedonno2023] and its prototypes of cell types",
        "schpl": f"scHPL on a tree cut from the Cell Ontology [{known}@michielsen2021; @michielsen2023]",
        "seurat_transfer": f"anchor-based label transfer with Seurat [{known}@stuart2019; @hao2021]",
        "symphony_r": f"Symphony's R package [{known}@kang2021] with {vote} in the corrected embedding",
        "panhuman_azimuth": f"the pan-human Azimuth network, trained elsewhere{known and f' ({known[:-2]})'}",
    }
    return texts.get(name)
