"""Labels of other tools from every kind of table: what names a cell, what abstains, what is refused."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from celljury.ballot import read_ballot, read_table
from celljury.errors import CellsError, InputError, MissingColumnError, UnknownLabelError, UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celljury.ontology.graph import CellOntology

B, T, CD4 = "CL:0000236", "CL:0000084", "CL:0000624"
FRAME = pd.DataFrame({"cell_id": ["c1", "c2", "c3"], "one": [B, "", CD4], "two": ["B cell", "T cell", ""]})
VOTES = [[B, B], [None, T], [CD4, None]]


def votes(source: Any, ontology: CellOntology, columns: tuple[str, ...] = ("one", "two")) -> list[list[str | None]]:
    found = read_ballot(source, ontology, columns=columns).votes
    assert found.members == columns
    assert np.isnan(found.strange).all()
    return [[ontology.ids[i] if i >= 0 else None for i in row] for row in found.terms.tolist()]


def names(source: Any, ontology: CellOntology, columns: tuple[str, ...] = ("one",)) -> list[str]:
    return read_ballot(source, ontology, columns=columns).votes.cell_ids.tolist()


def text(folder: Path, content: str | bytes, name: str = "labels.tsv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tsv(folder: Path, frame: pd.DataFrame = FRAME, **options: Any) -> Path:
    return text(folder, frame.to_csv(sep="\t", index=False, **options))


def csv(folder: Path, frame: pd.DataFrame = FRAME) -> Path:
    return text(folder, frame.to_csv(index=False), "labels.csv")


def csv_gz(folder: Path, frame: pd.DataFrame = FRAME) -> Path:
    return text(folder, gzip.compress(frame.to_csv(index=False).encode()), "labels.csv.gz")


def parquet(folder: Path, frame: pd.DataFrame = FRAME) -> Path:
    frame.to_parquet(folder / "labels.parquet")
    return folder / "labels.parquet"


def adata_of(frame: pd.DataFrame = FRAME) -> ad.AnnData:
    obs = frame.set_index("cell_id")
    return ad.AnnData(csr_matrix((len(obs), 2), dtype=np.float32), obs=obs)


def h5ad(folder: Path, frame: pd.DataFrame = FRAME) -> Path:
    adata_of(frame).write_h5ad(folder / "labels.h5ad")
    return folder / "labels.h5ad"


def mudata_of(folder: Path) -> Any:
    mudata = pytest.importorskip("mudata")
    other = ad.AnnData(np.ones((1, 1), np.float32), obs=pd.DataFrame(index=["c9"]))
    other.var_names = ["CD3"]
    with mudata.set_options(pull_on_update=False):
        return mudata.MuData({"rna": adata_of(), "adt": other})


SOURCES = [
    pytest.param(tsv, id="tsv"),
    pytest.param(lambda f: str(tsv(f)), id="tsv_named_by_text"),
    pytest.param(csv, id="csv"),
    pytest.param(csv_gz, id="csv_gz"),
    pytest.param(parquet, id="parquet"),
    pytest.param(lambda f: parquet(f, FRAME.set_index("cell_id")), id="parquet_with_an_index"),
    pytest.param(h5ad, id="h5ad"),
    pytest.param(lambda f: adata_of(), id="anndata"),
    pytest.param(mudata_of, id="mudata"),
    pytest.param(lambda f: FRAME, id="frame"),
    pytest.param(lambda f: FRAME.set_index("cell_id"), id="frame_with_an_index"),
    pytest.param(lambda f: FRAME.replace("", None).astype("category"), id="frame_of_categories_with_missing_values"),
]


@pytest.mark.parametrize("source_of", SOURCES)
def test_every_source_gives_the_same_ballot(source_of: Callable[[Path], Any], cl: CellOntology, tmp_path: Path) -> None:
    source = source_of(tmp_path)
    assert votes(source, cl) == VOTES
    assert names(source, cl) == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    "write", [pytest.param(tsv, id="tsv"), pytest.param(csv_gz, id="gz"), pytest.param(h5ad, id="h5ad")]
)
def test_a_column_that_is_empty_everywhere_abstains(
    write: Callable[..., Path], cl: CellOntology, tmp_path: Path
) -> None:
    path = write(tmp_path, FRAME.assign(none=""))
    assert votes(path, cl, ("none", "one")) == [[None, B], [None, None], [None, CD4]]
    assert read_ballot(path, cl, columns=("none",)).columns["none"].n_unlabelled == 3


@pytest.mark.parametrize("no_label", ["", "NA", "nan", "unknown", "None"])
def test_what_says_that_there_is_no_label_abstains(no_label: str, cl: CellOntology, tmp_path: Path) -> None:
    assert votes(text(tmp_path, f"cell_id\tone\ttwo\nc1\t{no_label}\tB cell\n"), cl) == [[None, B]]


# Names of cells -----------------------------------------------------------------------------------------------------


def test_the_column_cell_id_names_cells_wherever_it_stands(cl: CellOntology, tmp_path: Path) -> None:
    path = tsv(tmp_path, FRAME.assign(sample="s")[["sample", "one", "cell_id"]])
    assert names(path, cl) == ["c1", "c2", "c3"]


def test_else_the_first_column_does(cl: CellOntology, tmp_path: Path) -> None:
    assert names(tsv(tmp_path, FRAME.rename(columns={"cell_id": "barcode"})), cl) == ["c1", "c2", "c3"]
    assert names(text(tmp_path, "\tone\nc1\tB cell\n"), cl) == ["c1"]  # as pandas writes an index without a name


def test_else_rows_are_numbered(cl: CellOntology, tmp_path: Path) -> None:
    assert names(tsv(tmp_path, FRAME[["one", "two"]]), cl) == ["0", "1", "2"]


def test_the_index_of_obs_names_cells_whatever_its_columns_are_called(cl: CellOntology) -> None:
    adata = adata_of()
    adata.obs["cell_id"] = "the same"
    assert names(adata, cl) == ["c1", "c2", "c3"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("labels.tsv", id="tsv"),
        pytest.param("labels.tsv.gz", id="gz"),
        pytest.param("labels.txt", id="txt"),
    ],
)
@pytest.mark.parametrize(
    "mark", [pytest.param(b"", id="plain"), pytest.param(b"\xef\xbb\xbf", id="with_a_byte_order_mark")]
)
@pytest.mark.parametrize("column", ["cell_id", "barcode"])
def test_names_that_look_like_numbers_stay_as_they_are(
    name: str, mark: bytes, column: str, cl: CellOntology, tmp_path: Path
) -> None:
    content = mark + f"{column}\tone\n007\tB cell\n7\tT cell\n1e3\tT cell\n".encode()
    path = text(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    assert names(path, cl) == ["007", "7", "1e3"]


def test_windows_line_ends_and_quotes(cl: CellOntology, tmp_path: Path) -> None:
    label = "CD4-positive, alpha-beta T cell"
    rows = f'"cell_id","my, tool"\r\n"c,1","{label}"\r\nc2,\r\n'
    path = text(tmp_path, rows, "labels.csv")
    assert votes(path, cl, ("my, tool",)) == [[CD4], [None]]
    assert names(path, cl, ("my, tool",)) == ["c,1", "c2"]
    tabbed = text(tmp_path, f'cell_id\tone\n"c\t1"\t"{label}"\nc2\t{label}\n')
    assert names(tabbed, cl) == ["c\t1", "c2"]
    assert votes(tabbed, cl, ("one",)) == [[CD4], [CD4]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param(
            "c1\tB cell\nc1\tB cell\nc1\tT cell\n", r"2 rows repeat the name of another cell \(e\.g\. c1\)", id="twice"
        ),
        pytest.param("c1\tB cell\n\tT cell\n", r"1 rows do not name their cell", id="no_name"),
        pytest.param("", r"has no rows", id="no_rows"),
    ],
)
def test_cells_need_names_of_their_own(rows: str, said: str, cl: CellOntology, tmp_path: Path) -> None:
    with pytest.raises(CellsError, match=said):
        read_ballot(text(tmp_path, f"cell_id\tone\n{rows}"), cl, columns=("one",))


def test_a_missing_name_in_a_frame_is_not_called_nan(cl: CellOntology) -> None:
    with pytest.raises(CellsError, match="1 rows do not name their cell"):
        read_ballot(pd.DataFrame({"cell_id": ["c1", None], "one": [B, B]}), cl, columns=("one",))


# Columns ------------------------------------------------------------------------------------------------------------


def test_a_missing_column_names_those_that_are_there(cl: CellOntology, tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match=r"labels\.tsv has no column 'three'\. It has: cell_id, one, two\."):
        read_ballot(tsv(tmp_path), cl, columns=("one", "three"))
    with pytest.raises(MissingColumnError, match=r"no column 'a'\. It has: 0, 1\."):
        read_ballot(pd.DataFrame([[1, 2]]), cl, columns=("a",))


def test_a_column_has_one_vote(cl: CellOntology, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names a column twice: one, one"):
        read_ballot(tsv(tmp_path), cl, columns=("one", "one"))
    with pytest.raises(InputError, match="no columns to vote on"):
        read_ballot(tsv(tmp_path), cl, columns=())
    with pytest.raises(InputError, match="has several columns 'one'"):
        read_ballot(text(tmp_path, "cell_id\tone\tone\nc1\tB cell\tT cell\n"), cl, columns=("one",))


def test_a_column_that_stands_twice_but_is_not_voted_on_is_no_obstacle(cl: CellOntology, tmp_path: Path) -> None:
    path = text(tmp_path, "cell_id\tone\tx\tx\nc1\tB cell\t1\t2\n")
    assert votes(path, cl, ("one",)) == [[B]]


def test_unmapped_labels_of_all_columns_are_named_at_once(cl: CellOntology, tmp_path: Path) -> None:
    path = text(tmp_path, "cell_id\tone\ttwo\nc1\tfoo cells\tbar cells\nc2\tB cell\tT cell\n")
    with pytest.raises(UnknownLabelError, match=r"'one'(.|\n)*'foo cells'(.|\n)*'two'(.|\n)*'bar cells'"):
        read_ballot(path, cl, columns=("one", "two"))
    abstained = read_ballot(path, cl, columns=("one", "two"), on_unmapped="abstain")
    assert (abstained.votes.terms >= 0).tolist() == [[False, False], [True, True]]


def test_flags_come_from_any_of_a_cell_s_votes(cl: CellOntology) -> None:
    old = next(old for old, new in cl.replaced.items() if new in cl.ids)
    frame = pd.DataFrame({"one": [B, old, B], "two": [B, B, old]}, index=["c1", "c2", "c3"])
    ballot = read_ballot(frame, cl, columns=("one", "two"))
    assert ballot.any_by("obsolete").tolist() == [False, True, True]
    assert ballot.any_by("broad").tolist() == [False, False, False]


# Files that are none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda f: f / "nowhere.tsv", "does not exist", id="missing"),
        pytest.param(lambda f: f, "is a directory", id="directory"),
        pytest.param(lambda f: text(f, ""), "cannot be read as a table", id="empty"),
        pytest.param(
            lambda f: text(f, "cell_id\tone\nc1\tB cell\textra\n"), "names every column.*col.names = NA", id="r"
        ),
        pytest.param(lambda f: text(f, b"PK\x03\x04\xff\xfe\n", "labels.xlsx"), "cannot be read as a table", id="xlsx"),
        pytest.param(lambda f: text(f, b"no gzip", "labels.tsv.gz"), "cannot be read as a table", id="no_gzip"),
        pytest.param(lambda f: text(f, "PAR1", "labels.parquet"), "cannot be read as a table", id="no_parquet"),
    ],
)
def test_what_is_no_table(make: Callable[[Path], Path], said: str, cl: CellOntology, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        read_ballot(path, cl, columns=("one",))
    assert str(path) in str(caught.value)


def test_a_table_is_read_as_text(tmp_path: Path) -> None:
    table = read_table(text(tmp_path, "n,m\n01,2.50\n,x\n", "t.csv"))
    assert table["n"].tolist() == ["01", ""]
    assert table["m"].astype(str).tolist() == ["2.50", "x"]
