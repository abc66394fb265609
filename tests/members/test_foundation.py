"""Geneformer and scGPT: the shared checks, what a cell becomes, what is refused, and accuracy on real cells."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_p1 import end_to_end, p1
from scipy.sparse import csr_matrix

from celljury.errors import ConfigError, GenesError, MemberError, UnreadableFileError, UntrustedModelError
from celljury.members.checks import Trial, member_checks
from celljury.members.foundation import Foundation
from celljury.members.restricted_pickle import read_dictionary

pytest.importorskip("peft", reason="needs transformers and peft", exc_type=ImportError)
pytest.importorskip("transformers", reason="needs transformers and peft", exc_type=ImportError)
import torch
from safetensors.torch import save_file

from celljury.members import geneformer, scgpt
from celljury.members.finetuned import pooled_states, pretrained
from celljury.members.finetuning import MOST_LACKING, torch_from, without_some_genes
from celljury.members.scgpt import value_bins

if TYPE_CHECKING:
    from collections.abc import Sequence

GENES = tuple(f"gene{gene}" for gene in range(60))  # of Trial
# Made so that one of these is the top-ranked gene of every made cell, whatever its type: none is a marker.
ALWAYS_FIRST = {"gene42": 1e-6, "gene51": 1e-4, "gene35": 1e-3}
TRAINING = {"epochs": 30, "learning_rate": 5e-3, "batch_size": 8, "lora_rank": 8, "lora_alpha": 16}


def made_geneformer(folder: Path, genes: Sequence[str], *, version: str, medians: dict[str, float]) -> dict[str, Any]:
    """Write a tiny random masked-language BERT with dictionaries of ``genes``; return the settings that name them.

    Weights are ten times as wide as BERT's start (0.02), at which 32 states hardly differ between cells; dropout is off
    since it would drown what does.
    """
    from transformers import BertConfig, BertForMaskedLM

    folder.mkdir(parents=True)
    special = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if version == "V2" else [])]
    token = {name: i for i, name in enumerate([*special, *genes])}
    config = BertConfig(
        vocab_size=len(token), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config)
    config.to_json_file(folder / "config.json")
    state = {name: weight.clone() for name, weight in model.state_dict().items() if name.startswith("bert.")}
    save_file(state, folder / "model.safetensors")
    (folder / "token.json").write_text(json.dumps(token))
    (folder / "median.pkl").write_bytes(pickle.dumps({gene: np.float64(medians.get(gene, 1.0)) for gene in genes}))
    return {
        "checkpoint": str(folder), "tokens": str(folder / "token.json"), "medians": str(folder / "median.pkl"),
    }  # fmt: skip


def made_scgpt(folder: Path, genes: Sequence[str], *, flash: bool = True) -> dict[str, Any]:
    """Write a tiny random checkpoint with scGPT's names, those of flash-attn's layers or torch's own."""
    folder.mkdir(parents=True)
    vocabulary = {name: i for i, name in enumerate([*genes, "<pad>", "<cls>", "<eoc>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    facts = {
        "embsize": 32, "nheads": 4, "d_hid": 32, "nlayers": 2, "n_layers_cls": 3, "dropout": 0.2, "n_bins": 51,
        "pad_token": "<pad>", "pad_value": -2, "max_seq_len": 1200, "input_style": "binned",
        "input_emb_style": "continuous",
    }  # fmt: skip
    (folder / "args.json").write_text(json.dumps(facts))
    torch.manual_seed(0)
    beside = scgpt.empty_network({**facts, "n_tokens": len(vocabulary)}).state_dict()
    state = {name: weight for name, weight in beside.items() if not name.startswith("layers.")}
    for name, weight in published_layers().state_dict().items():
        state[f"transformer_encoder.{name.replace('in_proj_', 'Wqkv.') if flash else name}"] = weight
    state["decoder.fc.0.weight"] = torch.zeros(32, 32)  # of pretraining alone
    torch.save(state, folder / "best_model.pt")
    return {"checkpoint": str(folder)}


def published_layers() -> Any:
    """Return layers as scGPT builds them without flash-attn."""
    torch.manual_seed(1)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 32, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Settings of a made checkpoint of each kind, for the made cells' genes."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        "V1": made_geneformer(root / "V1", GENES, version="V1", medians=ALWAYS_FIRST),
        "V2": made_geneformer(root / "V2", GENES, version="V2", medians=ALWAYS_FIRST),
        "scgpt": made_scgpt(root / "scgpt", GENES),
    }


TRIALS: dict[str, Trial] = {}


@pytest.fixture(scope="module", params=["V1", "V2", "scgpt"])
def trial(request: pytest.FixtureRequest, folders) -> Trial:
    kind = request.param
    return TRIALS.setdefault(kind, Trial(partial(Foundation, **folders[kind], **TRAINING), tolerance=1e-4))


# The contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", member_checks(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_shared_check(check, trial) -> None:
    check(trial)


def test_names_and_extras_are_those_of_the_package() -> None:
    assert (Foundation.kind, Foundation.heavy, Foundation.classifier) == ("torch", True, True)
    assert (Foundation.modules, Foundation.extra) == (("torch", "transformers", "peft"), "foundation")
    assert Foundation.library_version().startswith("transformers ")
    assert Foundation.about is not None


def test_saved_member_is_json_and_arrays_and_needs_no_checkpoint(trial, tmp_path) -> None:
    trial.member.save(tmp_path / "member")
    assert {path.suffix for path in (tmp_path / "member").iterdir()} == {".json", ".npz"}
    for path in (tmp_path / "member").glob("*.npz"):
        with np.load(path, allow_pickle=False) as archive:
            assert all(not archive[name].dtype.hasobject for name in archive.files)
    stated = json.loads((tmp_path / "member" / "member.json").read_text())
    assert stated["settings"]["architecture"] == trial.member.tuned.architecture  # and not "auto"
    stated["settings"]["checkpoint"] = str(tmp_path / "elsewhere")
    (tmp_path / "member" / "member.json").write_text(json.dumps(stated))
    again = Foundation.load(tmp_path / "member").predict(trial.query)
    assert_allclose(again.mass, trial.votes.mass, atol=1e-6)


def test_callers_random_state_and_threads_are_left_alone(trial) -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    drawn = []
    for _ in range(2):
        with torch_from(7, threads=before[1] + 1):
            assert torch.get_num_threads() == before[1] + 1
            drawn.append(torch.rand(3))
    trial.member.predict(trial.query)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_cells_with_no_gene_of_the_model_abstain(trial, tmp_path) -> None:
    trial.member.save(tmp_path)
    member = Foundation.load(tmp_path)
    token = member.tuned.tokens.token.copy()
    token[:3] = -1
    member.tuned = replace(member.tuned, tokens=replace(member.tuned.tokens, token=token))
    counts = trial.query.counts.toarray()
    counts[:4, 3:], counts[:4, 0] = 0, 5
    votes = member.predict(replace(trial.query, counts=csr_matrix(counts)))
    assert not votes.mass[:4].any()
    assert_allclose(votes.mass[4:].sum(axis=1), 1, atol=1e-5)


def test_training_steps_lack_genes_and_not_only_counts() -> None:
    ones = csr_matrix(np.ones((5, 400), np.float32))
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        left = without_some_genes(ones, rng=rng).toarray()
        assert (left == left[0]).all()  # of all cells alike
        shares.append(1 - left[0].mean())
    assert 0.9 * MOST_LACKING < max(shares) < 1.2 * MOST_LACKING
    assert_allclose(np.mean(shares), MOST_LACKING / 2, atol=0.04)


# What a cell becomes ----------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "d", "e", "unknown")
CELL = csr_matrix(np.array([[4, 9, 0, 2, 6, 50], [0, 0, 3, 0, 0, 7], [0, 0, 0, 0, 0, 5]], np.float32))
MEDIAN = {"a": 2.0, "b": 9.0, "c": 0.5, "d": 1.0, "e": 2.0}


@pytest.fixture
def toy(tmp_path) -> dict[str, Any]:
    """Dictionaries of five genes: V1's tokens are 1-5 for a-e, V2's 3-7 after <pad> 0, <cls> 1, <eos> 2."""
    (tmp_path / "v1.json").write_text(json.dumps({"<pad>": 0, **{gene: i + 1 for i, gene in enumerate("abcde")}}))
    special = {"<pad>": 0, "<cls>": 1, "<eos>": 2}
    (tmp_path / "v2.json").write_text(json.dumps({**special, **{gene: i + 3 for i, gene in enumerate("abcde")}}))
    (tmp_path / "median.json").write_text(json.dumps(MEDIAN))
    return {"tmp": tmp_path, "medians": str(tmp_path / "median.json"), "checkpoint": str(tmp_path)}


def toy_tokens(
    toy: dict[str, Any], dictionary: str, *, places: int = 10, genes: tuple[str, ...] = NAMES, **more: Any
) -> Any:
    made = Foundation(
        checkpoint=toy["checkpoint"], architecture="geneformer", tokens=str(toy["tmp"] / f"{dictionary}.json"),
        **{"medians": toy["medians"], **more},
    )  # fmt: skip
    shape = {"max_position_embeddings": places, "vocab_size": 20}
    return geneformer.Tokens.read(genes, made.settings, shape=shape)


def test_ranks_of_v1_are_those_worked_by_hand(toy) -> None:
    """Over medians the first cell is a 2, b 1, d 2, e 3: e, then a before d (a tie, in the genes' order), then b."""
    found = toy_tokens(toy, "v1").sequences(CELL)
    assert_array_equal(found.tokens, [[5, 1, 4, 2], [3, 0, 0, 0], [0, 0, 0, 0]])
    assert_array_equal(found.length, [4, 1, 0])
    assert_array_equal(found.genes, [4, 1, 0])
    assert_array_equal(found.seen, [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])


def test_ranks_of_v2_are_those_worked_by_hand(toy) -> None:
    found = toy_tokens(toy, "v2").sequences(CELL)
    assert_array_equal(found.tokens, [[1, 7, 3, 6, 4, 2], [1, 5, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0]])
    assert_array_equal(found.genes, [4, 1, 0])
    assert_array_equal(toy_tokens(toy, "v2", places=4).sequences(CELL).tokens[0], [1, 7, 3, 2])
    as_first = toy_tokens(toy, "v2", version="V1").sequences(CELL)
    assert_array_equal(as_first.tokens[0], [7, 3, 6, 4])


def test_longest_cells_are_those_of_the_version_and_the_checkpoint(toy) -> None:
    assert toy_tokens(toy, "v1", places=9_999).most == 2_048
    assert toy_tokens(toy, "v2", places=9_999).most == 4_096
    assert_array_equal(toy_tokens(toy, "v1", places=3).sequences(CELL).tokens[0], [5, 1, 4])


def test_depth_and_lacking_genes_change_no_rank(toy) -> None:
    tokens = toy_tokens(toy, "v1")
    assert_array_equal(tokens.sequences(csr_matrix(CELL * 3)).tokens, tokens.sequences(CELL).tokens)
    without_a = CELL.multiply([0, 1, 1, 1, 1, 1]).tocsr()  # its zero is stored
    assert_array_equal(tokens.sequences(csr_matrix(without_a)).tokens[0], [5, 4, 2])


def test_symbols_are_read_through_the_map_and_versions_of_ids_are_cut(toy) -> None:
    (toy["tmp"] / "ids.pkl").write_bytes(pickle.dumps({"ALPHA": "a", "BETA": "b"}))
    read = partial(toy_tokens, toy, "v1", gene_ids=str(toy["tmp"] / "ids.pkl"))
    assert_array_equal(read(genes=("ALPHA", "c.12", "BETA", "other", "a")).token, [1, 3, 2, -1, -1])
    with pytest.raises(GenesError, match=r"none of the reference's 1 genes.*gene_ids"):
        read(genes=("GAMMA",))


def test_dictionaries_of_another_version_are_refused(toy) -> None:
    with pytest.raises(ConfigError, match="version = V2 needs <cls> and <eos>"):
        toy_tokens(toy, "v1", version="V2")
    with pytest.raises(ConfigError, match="Are the two swapped"):
        toy_tokens(toy, "median", medians=str(toy["tmp"] / "v1.json"))
    (toy["tmp"] / "large.json").write_text(json.dumps({"a": 20}))
    with pytest.raises(ConfigError, match=r"goes up to token 20 and the checkpoint knows 20"):
        toy_tokens(toy, "large")


def test_bins_are_those_of_quantiles() -> None:
    """Five bins of the values 1, 2, 3, 4, 10: edges 1, 2.33, 3.67, 10 (four steps of 0, 1/3, 2/3, 1)."""
    value = np.array([10.0, 4.0, 3.0, 2.0, 1.0, 7.0, 5.0, 5.0, 5.0])
    found = value_bins(np.array([0, 0, 0, 0, 0, 2, 3, 3, 3]), value, n_cells=4, n_bins=5)
    assert_array_equal(found, [4, 3, 2, 1, 1, 4, 4, 4, 4])


def test_bins_agree_with_numpys_quantiles() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(150), rng.integers(1, 90, 150))
    value = rng.lognormal(size=rows.size)
    order = np.lexsort((-value, rows))
    found = value_bins(rows, value[order], n_cells=150, n_bins=51)
    for row in range(150):
        own = value[order][rows == row]
        edges = np.quantile(own, np.linspace(0, 1, 50))
        expected = np.digitize(own, edges * (1 - 1e-12))
        assert_array_equal(found[rows == row], expected)


def test_scgpts_cells_start_with_cls_and_keep_the_highest(tmp_path) -> None:
    settings = Foundation(**made_scgpt(tmp_path / "toy", NAMES[:5])).settings
    tokens = scgpt.Tokens.read(NAMES, settings, shape={"n_bins": 5, "max_seq_len": 4})
    found = tokens.sequences(CELL)
    # Of 9, 6, 4, 2 the edges are 2, 4, 6, 9; the bins are made before the fourth gene is cut.
    assert_array_equal(found.tokens, [[6, 1, 4, 0], [6, 2, 5, 5], [6, 5, 5, 5]])
    assert_array_equal(found.values, [[-2, 4, 3, 2], [-2, 4, -2, -2], [-2, -2, -2, -2]])
    with pytest.raises(GenesError, match=r"vocab.json has none of the reference's 2 genes"):
        scgpt.Tokens.read(("x", "y"), settings, shape={"n_bins": 5, "max_seq_len": 4})


@pytest.mark.parametrize("flash", [True, False], ids=["names_of_flash_attn", "names_of_torch"])
def test_layers_are_torchs_own(tmp_path, flash) -> None:
    made_scgpt(tmp_path / "toy", GENES, flash=flash)
    network, _ = pretrained("scgpt", tmp_path / "toy")
    tokens, values = torch.arange(12).reshape(2, 6), torch.rand(2, 6) * 50
    seen = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    with torch.no_grad():
        together = network.encoder(tokens) + network.value_encoder(values)
        expected = published_layers()(together, src_key_padding_mask=~seen)
        assert_allclose(network(tokens, values, seen)[seen], expected[seen], atol=1e-5)


def test_padding_and_company_change_no_state(trial) -> None:
    """Cells of unequal length, in one pass, one by one and in passes of another cut."""
    tuned, network = trial.member.tuned, trial.member.network
    shallow = trial.query.counts[:12].toarray()
    for row in range(12):
        shallow[row, : 5 * row] = 0
    block = replace(trial.query, counts=csr_matrix(shallow), batch=trial.query.batch[:12])
    cells = tuned.tokens.sequences(trial.member._read(block))
    assert np.unique(cells.length).size > 8
    together = pooled_states(tuned.architecture, network, cells, by=tuned.tokens.pooled_by)
    for row in range(12):
        alone = pooled_states(tuned.architecture, network, cells.take(np.array([row])), by=tuned.tokens.pooled_by)
        assert_allclose(alone[0], together[row], atol=2e-5)


# The trap: a vote that is a look-up of the top-ranked gene ---------------------------------------------------------


def looked_up(tokens: Any, known: csr_matrix, label: np.ndarray, new: csr_matrix, truth: np.ndarray) -> float:
    """Return the accuracy of "top gene -> commonest type" learned on known cells; other genes are wrong."""
    place = 0 if tokens.first is None else 1
    top, asked = tokens.sequences(known).tokens[:, place], tokens.sequences(new).tokens[:, place]
    table = {one: np.bincount(label[top == one]).argmax() for one in np.unique(top)}
    return float(np.mean([table.get(one, -1) == true for one, true in zip(asked, truth, strict=True)]))


def accuracy(member: Foundation, trial: Trial) -> float:
    return float(np.mean(member.predict(trial.query).mass.argmax(axis=1) == trial.truth))


def test_votes_are_no_look_up_of_the_top_gene(trial) -> None:
    """Every cell's top gene is the same few, whatever its type; genes behind it tell."""
    if (tuned := trial.member.tuned).architecture == "geneformer":  # scGPT has no ranks
        cells = trial.reference.cells.counts
        assert looked_up(tuned.tokens, cells, trial.reference.label, trial.query.counts, trial.truth) < 0.45
    assert accuracy(trial.member, trial) > 0.9


def test_later_tokens_matter(trial, tmp_path) -> None:
    """Exchange the names of all genes but those at the top: cells are not told apart any more."""
    trial.member.save(tmp_path)
    member = Foundation.load(tmp_path)
    later = np.array([gene not in ALWAYS_FIRST for gene in GENES])
    token = member.tuned.tokens.token.copy()
    token[later] = np.random.default_rng(0).permutation(token[later])
    member.tuned = replace(member.tuned, tokens=replace(member.tuned.tokens, token=token))
    assert accuracy(member, trial) < 0.7


# What is refused --------------------------------------------------------------------------------------------------


def test_zero_shot_is_refused_with_the_reason(folders) -> None:
    with pytest.raises(ConfigError, match=r"(?s)epochs.*after fine-tuning only.*Kedzierska 2025.*got 0"):
        Foundation(**folders["V1"], epochs=0)


def test_settings_that_are_missing_are_named(folders, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)foundation\] checkpoint.*tokens and medians.*ctheodoris/Geneformer"):
        Foundation()
    with pytest.raises(ConfigError, match=r"tokens, medians: Geneformer needs both"):
        Foundation(checkpoint=folders["V1"]["checkpoint"], tokens="token.json")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match=r"neither Geneformer's.*It has: notes.txt"):
        Foundation(checkpoint=str(tmp_path))


def test_architecture_is_read_off_the_files(folders) -> None:
    found = {kind: Foundation(**settings).settings.architecture for kind, settings in folders.items()}
    assert found == {"V1": "geneformer", "V2": "geneformer", "scgpt": "scgpt"}


class Harmful:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "harm"))


def test_pickle_with_code_is_refused_and_not_run(folders, tmp_path) -> None:
    harm = tmp_path / "harm"
    (tmp_path / "token.pkl").write_bytes(pickle.dumps({"gene0": 1, "gene1": Harmful(harm)}))
    member = Foundation(**{**folders["V1"], "tokens": str(tmp_path / "token.pkl")})
    with pytest.raises(UntrustedModelError, match=r"no plain dictionary, it asks for .*could run code"):
        member.fit(Trial(Foundation).reference)
    assert not harm.exists()
    pickle.loads((tmp_path / "token.pkl").read_bytes())
    assert harm.exists()  # it would have run


@pytest.mark.parametrize("written", ["pytorch_model.bin", "best_model.pt"])
def test_weights_with_code_are_refused_and_not_run(folders, tmp_path, written) -> None:
    kind = "geneformer" if written == "pytorch_model.bin" else "scgpt"
    shutil.copytree(folders["V1" if kind == "geneformer" else "scgpt"]["checkpoint"], tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").unlink(missing_ok=True)
    torch.save({"weight": Harmful(tmp_path / "harm")}, tmp_path / "copy" / written)
    with pytest.raises(UnreadableFileError, match="cannot be read as a checkpoint"):
        pretrained(kind, tmp_path / "copy")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_pickles_are_read(tmp_path, protocol) -> None:
    plain = {"a": 1, "b": 2.5, "c": np.float64(3.5), "d": np.int64(4), "e": "text"}
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(plain, protocol=protocol))
    assert read_dictionary(tmp_path / "plain.pkl", what="a map") == plain


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "cannot be read"), (b"\x80\x04", "cannot be read"), (b"hello", "cannot be read"),
     (pickle.dumps([1]), "holds a list"), (pickle.dumps({"a": [1]}), "not names and numbers")],
    ids=["empty", "cut", "text", "list", "nested"],
)  # fmt: skip
def test_files_that_are_no_dictionaries_are_refused(tmp_path, content, said) -> None:
    (tmp_path / "map.pkl").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=said):
        read_dictionary(tmp_path / "map.pkl", what="a map")


def test_checkpoint_that_lacks_weights_is_refused(folders, tmp_path) -> None:
    """transformers would fill them at random and go on."""
    shutil.copytree(folders["V1"]["checkpoint"], tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UnreadableFileError, match=r"encoder.layer.2.* should be .*, got none"):
        pretrained("geneformer", tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(UnreadableFileError, match="'gpt2' model"):
        pretrained("geneformer", tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text("{")
    with pytest.raises(UnreadableFileError, match="cannot be read"):
        pretrained("geneformer", tmp_path / "copy")


def test_other_kinds_of_scgpt_are_refused(folders, tmp_path) -> None:
    shutil.copytree(folders["scgpt"]["checkpoint"], tmp_path / "copy")
    facts = json.loads((tmp_path / "copy" / "args.json").read_text())
    (tmp_path / "copy" / "args.json").write_text(json.dumps({**facts, "input_emb_style": "category"}))
    with pytest.raises(ConfigError, match=r"input_emb_style = 'category'\. Expected 'continuous'"):
        pretrained("scgpt", tmp_path / "copy")
    (tmp_path / "copy" / "args.json").write_text("[]")
    with pytest.raises(UnreadableFileError, match=r"args\.json cannot be read: 'list' object"):
        pretrained("scgpt", tmp_path / "copy")


def test_weights_as_bin_are_those_as_safetensors(folders, tmp_path) -> None:
    shutil.copytree(folders["V2"]["checkpoint"], tmp_path / "copy")
    network, shape = pretrained("geneformer", tmp_path / "copy")
    named = {f"bert.{name}": weight for name, weight in network.state_dict().items()}
    torch.save({**named, "cls.predictions.bias": torch.zeros(3)}, tmp_path / "copy" / "pytorch_model.bin")
    (tmp_path / "copy" / "model.safetensors").unlink()
    again, _ = pretrained("geneformer", tmp_path / "copy")
    assert shape["num_hidden_layers"] == 2
    for name, weight in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_vocabulary_larger_than_the_checkpoint_is_refused(folders, tmp_path) -> None:
    shutil.copytree(folders["scgpt"]["checkpoint"], tmp_path / "copy")
    vocabulary = json.loads((tmp_path / "copy" / "vocab.json").read_text())
    (tmp_path / "copy" / "vocab.json").write_text(json.dumps({**vocabulary, "gene3": 63}))
    with pytest.raises(ConfigError, match=r"has token 63 and .*/copy knows 63\. Take"):
        Foundation(checkpoint=str(tmp_path / "copy")).fit(Trial(Foundation).reference)


def test_loss_that_is_no_number_is_an_error(folders) -> None:
    member = Foundation(**folders["V1"], **{**TRAINING, "learning_rate": 1e30})
    with pytest.raises(MemberError, match="Lower learning_rate"):
        member.fit(Trial(Foundation).reference)


# Real cells -------------------------------------------------------------------------------------------------------


def made_for_p1(folder: Path, kind: str) -> dict[str, Any]:
    """Return the settings of a checkpoint that knows P1's genes and sees 64 tokens a cell."""
    genes = p1()[0].cells.genes
    if kind == "scgpt":
        settings = made_scgpt(folder / kind, genes)
        facts = json.loads((folder / kind / "args.json").read_text())
        (folder / kind / "args.json").write_text(json.dumps({**facts, "max_seq_len": 64}))
        return settings
    ids = {gene: f"ENSG{i:011d}" for i, gene in enumerate(genes)}  # P1's genes are symbols
    columns = p1()[0].cells.counts.tocsc()
    middle = [float(np.median(columns[:, i].data)) if columns[:, i].nnz else 1.0 for i in range(len(genes))]
    medians = dict(zip(ids.values(), middle, strict=True))
    settings = made_geneformer(folder / kind, list(ids.values()), version=kind, medians=medians)
    (folder / "ids.pkl").write_bytes(pickle.dumps(ids))
    return settings | {"gene_ids": str(folder / "ids.pkl")}


@pytest.mark.parametrize(("kind", "floor"), [("V1", 0.7), ("scgpt", 0.8)])
def test_technologies_of_blood_agree(tmp_path, kind, floor) -> None:
    """P1 of the evaluation on random networks of 64 places: what fine-tuning does, no measure of the real ones.

    Measured .78 and .88; Geneformer V2 came to .69. The commonest type is .29 of the cells, a look-up of the top gene .58.
    """
    settings = made_for_p1(tmp_path, kind)
    found = end_to_end(partial(Foundation, **settings, **TRAINING | {"batch_size": 16}, cells_per_term=60))
    reference, query, truth = p1()
    assert np.bincount(truth).max() / truth.size < 0.3
    if kind != "scgpt":
        top = looked_up(found.member.tuned.tokens, reference.cells.counts, reference.label, query.counts, truth)
        assert top < 0.6
    assert found.accuracy > floor
