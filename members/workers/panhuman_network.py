"""Pan-human Azimuth's network and what panhumanpy ships beside it: genes, classes, calibrators, terms.

The package's tables are installed code and read by its own functions. The network is a file of the user's: Keras models
can name any importable object, so its description is read first, and only layers of Keras's own that hold no code of
their own are built.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

VERSIONS = ("v1", "v0")  # of the network; the package holds the tables of both
CELL = "CL:0000000"  # stands in the package's table for labels that are no type: doublets
# A term is true of a label that is the same or narrower; a broad match names a term below the label.
TRUE_OF_LABEL = ("skos:exactMatch", "skos:narrowMatch")
# What a network may be made of. `safe_mode` refuses Lambda layers, but not everything that can be named.
PLAIN_MODULES = (
    "keras", "keras.activations", "keras.constraints", "keras.dtype_policies", "keras.initializers", "keras.layers",
    "keras.models", "keras.regularizers", "keras.src.models.functional", "keras.src.models.sequential",
    "keras.src.ops.nn", "keras.src.ops.numpy",
)  # fmt: skip
# In those modules, and yet made of code or files from elsewhere.
NOT_PLAIN = (
    "FlaxLayer", "IntegerLookup", "JaxLayer", "Lambda", "StringLookup", "TFSMLayer", "TextVectorization",
    "TorchModuleWrapper", "Vectorize", "function", "get_file", "load_model",
)  # fmt: skip
MARKS = ("__keras_tensor__", "__tuple__")  # how a description writes its own references
CHUNK = 4_096  # cells that go through the network at a time


@dataclass(frozen=True)
class Network:
    """A network with its version's tables.

    Attributes
    ----------
    model
        The Keras model.
    panel
        Genes that it takes, in its order.
    classes
        Label of each class of the deepest level with those above it, e.g. ``("Immune cell", "Lymphoid cell", "B cell")``.
    encoders
        The package's encoders, one a level.
    method, calibrator
        How the deepest level's probabilities are calibrated, and with what; None = they are not.
    terms
        Cell Ontology id of each class, None where its label is no type.
    """

    model: Any
    panel: list[str]
    classes: list[tuple[str, ...]]
    encoders: list[Any]
    method: str | None
    calibrator: Any
    terms: list[str | None]

    @classmethod
    def of(cls, file: bytes, *, name: str, threads: int) -> Network:
        """Build the network in a file, with the tables of the version that it has the shape of.

        Raises
        ------
        ValueError
            If the file is no Keras model, names what is no plain layer, or has the shape of no version.
        """
        model = _built(file, name, threads)
        shapes = [tuple(tensor.shape)[1:] for tensor in (*model.inputs, *model.outputs)]
        known = {}
        for version in VERSIONS:
            tools = _tools().InferenceTools("supervised", version)
            panel, encoders = tools.load_inference_feature_panel(), tools.load_inference_encoders()
            known[version] = [(len(panel),), *((len(encoder.classes_),) for encoder in encoders)]
            if shapes == known[version]:
                meta, calibrators = tools.load_model_meta(), tools.load_calibrators()
                classes = [tuple(filter(None, label.split("|"))) for label in encoders[-1].classes_.tolist()]
                return cls(
                    model, panel, classes, encoders, meta["calibration"], calibrators and calibrators[-1],
                    terms_of(classes, _term_by_label(version)),
                )  # fmt: skip
        wanted = "; ".join(f"{version}: {_sizes(shapes)}" for version, shapes in known.items())
        message = f"{name} takes and gives {_sizes(shapes)} numbers a cell, expected those of a version ({wanted})"
        raise ValueError(message)

    def probabilities(self, expression: Any) -> NDArray[np.float64]:
        """Return the deepest level's calibrated probabilities, float64 (n_cells, n_classes).

        ``expression`` is log1p counts per 10,000 of the panel's genes, CSR float32.
        """
        tools = _tools()
        run = tools.Inference(expression, self.model, self.encoders, CHUNK, len(self.encoders), verbose=False)
        deepest = run.run_on_X()[2][-1]
        if self.method is not None:
            calibration = tools.CalibrationSingleClassifier(softmax=deepest, eval_batch_size=CHUNK, verbose=False)
            deepest = calibration.calibrate(self.method, self.calibrator)
        return np.asarray(deepest, np.float64)


def terms_of(classes: list[tuple[str, ...]], term_by_label: dict[str, str]) -> list[str | None]:
    """Return the term of each class: of its own label, else of the nearest label above it; None where none has one."""
    found: list[str | None] = []
    for labels in classes:
        named = [term_by_label[label] for label in labels if label in term_by_label]
        found.append(named[-1] if named else None)
    return found


def usable_terms(rows: list[dict[str, str]]) -> dict[str, str]:
    """Return term by label from the package's table: of exact and narrow matches, without `CELL`."""
    return {
        row["Annotation_Label"]: row["CL_ID"]
        for row in rows
        if row["CL_Match"] in TRUE_OF_LABEL and row["CL_ID"] != CELL
    }


def refuse_code(file: bytes, *, name: str) -> None:
    """Raise ValueError where a Keras file names anything but plain layers."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            described = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        message = f"{name} is not a Keras model (.keras): {error}"
        raise ValueError(message) from error
    # What it was compiled with is not built.
    for module, kind in _named({key: value for key, value in described.items() if key != "compile_config"}):
        plain = kind in MARKS if module is None else module in PLAIN_MODULES and kind not in NOT_PLAIN
        if not plain:
            message = (
                f"{name} is made with {module or 'its own'} {kind!r}, which may run code when it is loaded. Expected"
                " panhumanpy's network, which has plain Keras layers only."
            )
            raise ValueError(message)


def _named(described: Any) -> Iterator[tuple[str | None, str]]:
    """Yield module and class of every object in a Keras description, however deep."""
    if isinstance(described, dict):
        if "class_name" in described:
            yield described.get("module"), str(described["class_name"])
        for value in described.values():
            yield from _named(value)
    elif isinstance(described, list):
        for value in described:
            yield from _named(value)


def _built(file: bytes, name: str, threads: int) -> Any:
    refuse_code(file, name=name)
    _prepare(threads)
    import keras

    with tempfile.NamedTemporaryFile(suffix=".keras") as copy:
        copy.write(file)
        copy.flush()
        return keras.saving.load_model(copy.name, compile=False, safe_mode=True)


def _tools() -> Any:
    import panhumanpy.ANNotate_tools as tools

    return tools


def _term_by_label(version: str) -> dict[str, str]:
    table = _tools()._load_versioned_ontology_map(version)
    return usable_terms(table.to_dict("records"))


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    return f"{shapes[0][0]} -> {', '.join(str(shape[0]) for shape in shapes[1:])}"


def _prepare(threads: int) -> None:
    """Let TensorFlow run on the processor alone, without its progress bars and greetings."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # With it sums run in another order for batches of another size, and votes depend on the block.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras
    import tensorflow as tf

    keras.config.disable_interactive_logging()
    with suppress(RuntimeError):  # it is running already, with the threads of the first order
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
