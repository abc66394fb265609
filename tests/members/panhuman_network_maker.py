"""A network of panhumanpy's shape with weights set by hand, and panhumanpy's own pipeline around it.

Runs as a worker in panhumanpy's interpreter, where the member's own worker runs too, so the libraries are imported once.
"""

import contextlib
import shutil
from pathlib import Path

import numpy as np

GAIN = 6.0  # logits a unit of log expression


def versions():
    return {}


def fit(cells, options):
    """Write the network: one hidden unit per label, the mean of its markers, drives the label's class at every level."""
    import panhuman_network

    panhuman_network._prepare(options["threads"])
    import keras
    from panhumanpy.ANNotate_tools import InferenceTools
    from panhumanpy.loss_fn import LvlWtFocalLoss

    tools = InferenceTools("supervised", "v1")
    column = {gene: i for i, gene in enumerate(tools.load_inference_feature_panel())}
    encoders = tools.load_inference_encoders()
    paths = {label.strip("|").split("|")[-1]: label.strip("|").split("|") for label in encoders[-1].classes_.tolist()}
    markers = options["markers"]
    taken = keras.Input((len(column),))
    hidden = keras.layers.Dense(len(markers), activation="relu")(taken)
    hidden = (
        keras.layers.Lambda(lambda x: x * 1.0)(hidden) if options["with_code"] else keras.layers.Dropout(0.2)(hidden)
    )
    heads = [keras.layers.Dense(len(e.classes_), activation="softmax")(hidden) for e in encoders]
    model = keras.Model(taken, heads[:-1] if options["of_another_version"] else heads)
    first = np.zeros((len(column), len(markers)), np.float32)
    for unit, genes in enumerate(markers.values()):
        first[[column[gene] for gene in genes], unit] = 1 / len(genes)
    layers = [layer for layer in model.layers if layer.weights]
    layers[0].set_weights([first, np.zeros(len(markers), np.float32)])
    for level, (layer, encoder) in enumerate(zip(layers[1:], encoders, strict=False)):
        place = {label: i for i, label in enumerate(encoder.classes_.tolist())}
        weights = np.zeros((len(markers), len(place)), np.float32)
        for unit, label in enumerate(markers):
            path = (paths[label] + [""] * len(encoders))[: level + 1]
            weights[unit, place["|".join(path)]] = GAIN
        layer.set_weights([weights, np.zeros(len(place), np.float32)])
    model.compile(loss=[LvlWtFocalLoss(1.0)] * len(model.outputs))  # as the real one, which knows its loss by name only
    model.save(options["to"])
    return {}


def predict(state, cells, options):
    """Label cells by panhumanpy's own pipeline, from counts to terms.

    ``signal_residual`` is the term's place, ``strange`` 0 where the labels of all levels lie on one path.
    """
    import pandas as pd
    import panhumanpy.ANNotate_tools as tools
    from panhumanpy.ANNotate import AzimuthNN_base

    tools.CACHE_DIR = Path(options["to"]).parent / "cache"
    place = tools.CACHE_DIR / "v1" / "inference_model"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(options["to"], place / "inference_model.keras")
    names = [str(i) for i in range(cells["counts"].shape[0])]
    with contextlib.redirect_stdout(None):
        azimuth = AzimuthNN_base()
        azimuth.query_stripped(cells["counts"], list(cells["genes"]), pd.DataFrame(index=names))
        azimuth.process_query()
        azimuth.run_inference_model()
        azimuth.calibrate_predictions()
        outputs = azimuth.process_outputs()
    labels, consistent = outputs["final_level_labels"], outputs["full_consistent_hierarchy"]
    _, found = tools.map_to_cell_ontology([str(label) for label in labels], include_cl_id=True)
    column = {term: i for i, term in enumerate(options["known"])}
    return {
        "mass": np.zeros((len(names), len(options["reference"])), np.float32),
        "strange": 1.0 - np.array(consistent, np.float32),
        "signal_residual": np.array([column.get(term, -1) for term in found], np.float32),
    }
