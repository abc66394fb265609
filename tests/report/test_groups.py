"""What cells are grouped by: columns found by the cells' names in any file, sorted as people sort, and nothing else read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celljury.beside import columns_beside
from celljury.errors import BatchError, CellsError, ConfigError, InputError, MissingColumnError, UnreadableFileError
from celljury.report.counted import Groups
from celljury.report.groups import FEW_GROUPS, NONE, group_stems, make_groups, read_groups

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celljury.run import Run

N = 60
DONOR = [f"D{1 + i % 12}" for i in range(N)]
SITE = [None if i % 10 == 0 else ("lung", "blood")[i % 2] for i in range(N)]


@pytest.fixture(scope="module")
def run(write_run: Any) -> Run:
    """Sixty cells without samples."""
    return write_run(pd.DataFrame({"term": [None] * N, "status": "unresolved"}))


def obs(order: np.ndarray | None = None) -> pd.DataFrame:
    """What is known of the cells, by name."""
    frame = pd.DataFrame({"donor": DONOR, "site": SITE, "age": [float(i % 4) for i in range(N)]})
    frame.index = pd.Index([f"cell{i}" for i in range(N)])
    return frame if order is None else frame.iloc[order]


def h5ad(frame: pd.DataFrame, path: Path) -> Path:
    ad.AnnData(np.zeros((len(frame), 1), np.float32), obs=frame).write_h5ad(path)
    return path


def zarr(frame: pd.DataFrame, path: Path) -> Path:
    ad.AnnData(np.zeros((len(frame), 1), np.float32), obs=frame).write_zarr(path)
    return path


def h5mu(frame: pd.DataFrame, path: Path) -> Path:
    mudata = pytest.importorskip("mudata")
    rna = ad.AnnData(np.zeros((len(frame), 1), np.float32), obs=frame)
    mudata.MuData({"rna": rna}).write(path)
    return path


def tsv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, sep="\t", index_label="cell_id")
    return path


def csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.rename_axis("barcode").to_csv(path)
    return path


def parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.reset_index(names="cell_id").to_parquet(path, index=False)
    return path


FORMATS = [h5ad, zarr, h5mu, tsv, csv, parquet]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("write", FORMATS, ids=[write.__name__ for write in FORMATS])
@pytest.mark.parametrize("shuffled", [False, True], ids=["in_order", "shuffled"])
def test_columns_are_found_by_the_names_of_cells(
    run: Run, tmp_path: Path, write: Callable[[pd.DataFrame, Path], Path], *, shuffled: bool
) -> None:
    order = np.random.default_rng(0).permutation(N) if shuffled else None
    path = write(obs(order), tmp_path / f"cells.{write.__name__}")
    donors, sites = read_groups(run, donor="donor", condition="site", query=path)
    assert [donors.values[c] for c in donors.code] == DONOR
    assert donors.values == tuple(f"D{i}" for i in range(1, 13)), "D2 stands before D10"
    assert [sites.values[c] for c in sites.code] == [site or NONE for site in SITE]
    assert sites.values == ("blood", "lung", NONE)
    assert (donors.role, sites.role) == ("donor", "condition")
    assert (donors.code.dtype, sites.code.dtype) == (np.int32, np.int32)


def test_whole_numbers_are_read_as_such(run: Run, tmp_path: Path) -> None:
    (ages,) = read_groups(run, by=["age"], query=h5ad(obs(), tmp_path / "a.h5ad"))
    assert (ages.role, ages.values) == ("other", ("0", "1", "2", "3"))


def test_only_the_named_columns_are_read(run: Run, tmp_path: Path) -> None:
    path = h5ad(obs(), tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["obs/site/codes"]
    (donors,) = read_groups(run, donor="donor", query=path)
    assert len(donors.values) == 12
    with pytest.raises(UnreadableFileError, match=r"a\.h5ad cannot be read"):
        read_groups(run, by=["site"], query=path)


def test_the_query_that_the_run_left_is_read_if_no_other_is_named(write_run: Any) -> None:
    run = write_run(pd.DataFrame({"term": [None] * N, "status": "unresolved"}))
    with pytest.raises(UnreadableFileError, match=r"holds no query\.celljury\.h5ad.*the column 'donor' with --query"):
        read_groups(run, donor="donor")
    h5ad(obs(), run.folder / "query.celljury.h5ad")
    (donors,) = read_groups(run, donor="donor")
    assert donors.name == "donor"


# The run's own samples ------------------------------------------------------------------------------------------------


def batched(write_run: Any, **more: Any) -> Run:
    query = {"batch": "library", "batches": ["b10", "b9"], "n_cells": 4} | more
    return write_run(pd.DataFrame({"term": [None] * 4, "status": "unresolved"}), batch=[0, 1, 1, 0], query=query)


def test_a_run_of_several_batches_brings_its_samples(write_run: Any) -> None:
    (samples,) = read_groups(batched(write_run))
    assert (samples.role, samples.name, samples.values) == ("sample", "library", ("b9", "b10"))
    assert samples.code.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"batches": ["all"], "batch": None}, id="one_batch_is_no_grouping"),
        pytest.param({"batches": ["a", "b", "c"], "n_cells": 9}, id="parts_are_not_whole"),
        pytest.param({"batches": ["a"] * 0}, id="none"),
    ],
)
def test_no_samples(write_run: Any, query: dict[str, Any]) -> None:
    assert read_groups(batched(write_run, **query)) == ()


def test_samples_that_are_named_replace_those_of_the_run(write_run: Any, tmp_path: Path) -> None:
    run = batched(write_run)
    path = tsv(obs().iloc[:4].assign(library=["x", "y", "x", "y"]), tmp_path / "o.tsv")
    (samples,) = read_groups(run, sample="donor", query=path)
    assert (samples.name, samples.values) == ("donor", ("D1", "D2", "D3", "D4"))
    (donors,) = read_groups(run, donor="library", query=path)
    assert (donors.role, donors.values) == ("donor", ("x", "y")), "the batches are these donors, and shown once"
    assert [one.role for one in read_groups(run, donor="donor", query=path)] == ["sample", "donor"]


# Roles, values, names -------------------------------------------------------------------------------------------------


def test_a_column_is_one_grouping_and_samples_come_first(run: Run, tmp_path: Path) -> None:
    path = tsv(obs(), tmp_path / "o.tsv")
    found = read_groups(run, sample="donor", donor="donor", condition="site", by=["age", "site", "age"], query=path)
    assert [(one.role, one.name) for one in found] == [("donor", "donor"), ("condition", "site"), ("other", "age")]
    found = read_groups(run, sample="age", donor="donor", by=["site"], query=path)
    assert [one.role for one in found] == ["sample", "donor", "other"]


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        pytest.param(["b", "a", "B"], ("a", "B", "b"), [2, 0, 1], id="small_and_capital_letters_stand_together"),
        pytest.param(["s10", "s2", "s02"], ("s02", "s2", "s10"), [2, 1, 0], id="numbers_by_value"),
        pytest.param(["x", "", None], ("x", NONE), [0, 1, 1], id="empty_is_no_value"),
        pytest.param(["  x  y ", "x y", " "], ("x y", NONE), [0, 0, 1], id="spaces_make_no_group"),
        pytest.param(["a\tb\n", "a\x1bb", "a b"], ("a b",), [0, 0, 0], id="no_control_characters"),
        pytest.param([2.0, 1.0, np.nan], ("1", "2", NONE), [1, 0, 2], id="whole_numbers_beside_a_missing_one"),
        pytest.param([True, False, True], ("False", "True"), [1, 0, 1], id="truth_values"),
        pytest.param([10, 9, 9], ("9", "10"), [1, 0, 0], id="integers"),
        pytest.param([NONE, "a", None], ("a", NONE), [1, 0, 1], id="a_value_called_none"),
        pytest.param(
            pd.Categorical(["late", "early", None], ["early", "late", "never"], ordered=True), ("early", "late", NONE),
            [1, 0, 2], id="an_ordered_category_keeps_its_order_and_loses_what_no_cell_has",
        ),
        pytest.param(pd.Categorical(["b", "a", "b"], ["b", "a"]), ("a", "b"), [1, 0, 1], id="other_categories_are_sorted"),
        pytest.param(pd.array([1, None, 1], "Int64"), ("1", NONE), [0, 1, 0], id="nullable_integers"),
    ],
)  # fmt: skip
def test_values(column: Any, values: tuple[str, ...], code: list[int]) -> None:
    groups = make_groups(pd.Series(column), "other", name="c")
    assert (groups.values, groups.code.tolist()) == (values, code)


@given(
    st.lists(
        st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=4), st.integers(-3, 12)),
        min_size=1,
    )
)
def test_every_cell_is_of_one_group_and_every_group_has_a_cell(column: list[Any]) -> None:
    groups = make_groups(pd.Series(column, dtype=object), "other", name="c")
    assert len(set(groups.values)) == len(groups.values)
    assert sorted(set(groups.code.tolist())) == list(range(len(groups.values)))
    found = [groups.values[c] for c in groups.code]
    assert found == [" ".join(str(value).split()) or NONE if value is not None else NONE for value in column]


def test_names_of_files_differ() -> None:
    code = np.zeros(1, np.int32)
    groups = [Groups("other", name, ("x",), code) for name in ("Donor ID", "donor_id", "病人", "a/b", "DONOR-ID")]
    assert group_stems(groups) == ("Donor_ID", "donor_id_2", "group", "a_b", "DONOR-ID")


# Errors ---------------------------------------------------------------------------------------------------------------


def test_measures_are_no_groups(run: Run, tmp_path: Path) -> None:
    path = h5ad(obs().assign(size=np.linspace(0, 1, N)), tmp_path / "a.h5ad")
    with pytest.raises(BatchError, match=r"'size' holds measures \(e\.g\. 0\.0\)"):
        read_groups(run, by=["size"], query=path)


def test_names_of_cells_are_no_groups(run: Run, tmp_path: Path) -> None:
    path = tsv(obs().assign(umis=range(N)), tmp_path / "o.tsv")
    with pytest.raises(BatchError, match="'umis' has 60 different values in 60 cells"):
        read_groups(run, by=["umis"], query=path)
    few = tsv(obs().assign(umis=[str(i % FEW_GROUPS) for i in range(N)]), tmp_path / "few.tsv")
    assert len(read_groups(run, by=["umis"], query=few)[0].values) == FEW_GROUPS


def test_a_column_without_a_value_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="'empty' has no value for any cell"):
        read_groups(run, by=["empty"], query=tsv(obs().assign(empty=""), tmp_path / "o.tsv"))


def test_donors_are_no_conditions(run: Run) -> None:
    with pytest.raises(ConfigError, match="'donor' is named as donors and as conditions"):
        read_groups(run, donor="donor", condition="donor")


@pytest.mark.parametrize("write", [h5ad, tsv], ids=["h5ad", "tsv"])
def test_a_column_that_is_not_there_is_named_with_its_option(
    run: Run, tmp_path: Path, write: Callable[[pd.DataFrame, Path], Path]
) -> None:
    path = write(obs().assign(celljury_term="x"), tmp_path / f"cells.{write.__name__}")
    with pytest.raises(MissingColumnError, match=r"no column 'patient'.*donor, site, age\. Pass another with --donor"):
        read_groups(run, donor="patient", query=path)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        pytest.param(
            range(N - 1), r"has 59, the run 60, and 1 of the run's are not in it \(cell59 \.\.\.\)", id="one_less"
        ),
        pytest.param([*range(N), 0], "1 cells repeat the name of another one", id="one_twice"),
    ],
)
def test_other_cells_are_refused(run: Run, tmp_path: Path, order: Any, said: str) -> None:
    with pytest.raises(CellsError, match=said):
        read_groups(run, donor="donor", query=tsv(obs(np.array(list(order))), tmp_path / "o.tsv"))


def test_two_columns_of_one_name_are_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "o.tsv"
    lines = ["cell_id\tdonor\tdonor", *(f"cell{i}\ta\tb" for i in range(N))]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="has 2 columns 'donor'"):
        columns_beside(run, path, {"donor": "--donor"})


def test_cells_that_are_named_by_numbers_are_found(write_run: Any, tmp_path: Path) -> None:
    run = write_run(pd.DataFrame({"cell_id": ["0", "1", "2"], "term": [None] * 3, "status": "unresolved"}))
    frame = pd.DataFrame({"donor": ["a", "b", "c"]}, index=pd.Index([2, 0, 1], name="cell_id"))
    frame.to_parquet(tmp_path / "n.parquet")
    (donors,) = read_groups(run, donor="donor", query=tmp_path / "n.parquet")
    assert [donors.values[c] for c in donors.code] == ["b", "c", "a"]
