"""Names that users of other mappers look for: which member does it here, or why none does."""

from __future__ import annotations

# What is not here, each with the reason in whole sentences.
REFUSED = {
    "onclass": (
        "OnClass (Wang 2021, doi:10.1038/s41467-021-25725-x) places cells by sentence embeddings of the ontology's"
        " definitions, a download of 155 MB that cannot be shipped, and popV, which ran it, gives its vote no weight in its"
        " own published model cards. A type that no reference cell has is better said to be unseen, at the node it lies"
        " below, which celljury does."
    ),
    "scgpt zero-shot": (
        "Embeddings of a pretrained transformer that was not fine-tuned are behind scVI, Harmony and plain principal"
        " components (Kedzierska 2025, doi:10.1186/s13059-025-03574-x). Fine-tune one: member 'foundation'."
    ),
}

# Other names of what is here.
SAME_AS = {
    "scvi": "scvi_knn", "scarches": "scvi_knn", "knn_on_scvi": "scvi_knn",
    "scanvi_popv": "scanvi",
    "azimuth": "seurat_transfer", "seurat": "seurat_transfer",
    "treearches": "schpl",
    "geneformer": "foundation", "scgpt": "foundation",
    "totalvi": "totalvi_knn",
    "rf": "random_forest", "support_vector": "svm",
    "knn_scvi": "scvi_knn",
    "knn_on_harmony": "harmony_knn", "knn_harmony": "harmony_knn", "harmony": "harmony_knn",
    "knn_on_bbknn": "bbknn", "knn_bbknn": "bbknn",
    "knn_on_scanorama": "scanorama_knn", "knn_scanorama": "scanorama_knn", "scanorama": "scanorama_knn",
    "panhumanpy": "panhuman_azimuth",
}  # fmt: skip
