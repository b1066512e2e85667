import pytest

from retdm.criteria import CRITERIA, LARGER_IS_BETTER
from retdm.report.paper import Claim, PaperTable, best_earlier, paper_datasets, paper_tables, tables_for
from retdm.report.tables import number

TABLES = {table.name: table for table in paper_tables()}
LI = [table for table in paper_tables() if table.short.startswith("Li")]


def mean(table: str, method: str) -> dict[str, float]:
    return next(row.mean for row in TABLES[table].rows if row.method == method)


def everything_said(table: PaperTable) -> str:
    return " ".join([*table.notes, *(caveat.why for caveat in table.not_comparable)])


@pytest.mark.parametrize("table", paper_tables(), ids=lambda table: table.name)
def test_a_table_speaks_of_known_criteria_and_of_its_own_rows(table: PaperTable) -> None:
    methods = {row.method for row in table.rows}
    assert set(table.criteria) <= set(CRITERIA)
    assert {method for stand in table.stand_on.values() for method in stand} <= methods
    for caveat in table.not_comparable:
        assert set(caveat.criteria) <= set(table.criteria)
        assert set(caveat.methods or []) <= methods
    assert table.protocol["coverage_divided_by_labels"] == ("coverage_normalised" in table.criteria)
    assert table.protocol["train"] > table.protocol["test"] > 0


@pytest.mark.parametrize("table", paper_tables(), ids=lambda table: table.name)
def test_printed_numbers_are_in_their_ranges(table: PaperTable) -> None:
    for row in table.rows:
        for name, value in row.mean.items():
            top = table.protocol["labels"] - 1 if name == "coverage" else 1
            assert 0 < value <= top, (row.method, name)


def test_all_tables_are_there() -> None:
    counts = {table.name: (len(table.rows), len(table.criteria)) for table in paper_tables()}
    assert counts == {
        "dong_msrcv2": (8, 5), "dong_scene": (8, 5), "li2020_coco": (8, 12), "li2020_coco_oneway": (2, 12),
        "li2020_mirflickr": (6, 12), "li2020_scene": (6, 12),
    }  # fmt: skip
    assert all(len(row.std) == 5 for name in ("dong_scene", "dong_msrcv2") for row in TABLES[name].rows)


def test_the_row_that_stands_in_two_tables_is_the_same() -> None:
    assert mean("li2020_coco", "RETDM") == mean("li2020_coco_oneway", "RETDM")


def gain(table: PaperTable, claim: Claim) -> float:
    """How much better than the best of ``over`` the table has a method, in the claim's terms."""
    rows = {row.method: row.mean[claim.criterion] for row in table.rows}
    if claim.criterion in LARGER_IS_BETTER:
        best = max(rows[method] for method in claim.over)
        gained = rows[claim.of] - best
    else:
        best = min(rows[method] for method in claim.over)
        gained = best - rows[claim.of]
    return gained / best if claim.relative else gained


CLAIMS = [(table, claim) for table in paper_tables() for claim in table.claims]


@pytest.mark.parametrize("table, claim", CLAIMS, ids=[f"{t.name}-{c.criterion}" for t, c in CLAIMS])
def test_a_claim_is_not_what_its_table_gives(table: PaperTable, claim: Claim) -> None:
    assert gain(table, claim) == pytest.approx(claim.found, abs=5e-4)
    assert abs(claim.stated - claim.found) > 1e-3


def test_the_contradicted_claims_of_the_transfer_paper_are_all_kept() -> None:
    stated = {(table.name, claim.criterion): (claim.stated, claim.found) for table, claim in CLAIMS}
    assert stated == {
        ("dong_scene", "ranking_loss"): (0.027, 0.017),
        ("dong_scene", "coverage_normalised"): (0.111, 0.108),
        ("dong_scene", "average_precision"): (0.218, 0.199),
        ("dong_msrcv2", "hamming_loss"): (0.33, 0.393),
        ("dong_msrcv2", "ranking_loss"): (0.574, 0.579),
    }


@pytest.mark.parametrize(
    "table, claim", [(t, c) for t, c in CLAIMS if c.relative], ids=lambda x: getattr(x, "name", "")
)
def test_at_least_is_the_smaller_gain_of_the_two_data_sets(table: PaperTable, claim: Claim) -> None:
    other = TABLES["dong_scene" if table.name == "dong_msrcv2" else "dong_msrcv2"]
    assert gain(other, claim) > gain(table, claim)


def test_one_deviation_is_far_from_all_others() -> None:
    deviations = sorted(row.std["one_error"] for row in TABLES["dong_msrcv2"].rows)
    assert deviations[-2:] == [0.031, 0.208]
    assert deviations[-1] / deviations[-2] == pytest.approx(6.7, abs=0.05)
    assert ".208" in everything_said(TABLES["dong_msrcv2"]) and "(.031)" in everything_said(TABLES["dong_msrcv2"])


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall)


def usual_hamming_loss(row: dict[str, float], protocol: dict[str, float]) -> float:
    """Wrong cells by O-P and O-R: the missed share of the labels and the false ones beside the found."""
    missed, false = 1 - row["O-R"], row["O-R"] * (1 - row["O-P"]) / row["O-P"]
    return protocol["labels_an_image"] * (missed + false) / protocol["labels"]


@pytest.mark.parametrize("name", ["li2020_scene", "li2020_coco", "li2020_coco_oneway"])
def test_the_printed_hamming_loss_is_far_above_what_precision_and_recall_allow(name: str) -> None:
    table = TABLES[name]
    for row in table.rows:
        if "hamming_loss" in row.mean and row.method not in ("LMMO-kNN", "MLSPL"):
            assert row.mean["hamming_loss"] > 1.3 * usual_hamming_loss(row.mean, table.protocol)
    for method in ("RETDM", "BCE"):
        if method in {row.method for row in table.rows} and f"for {method}" in everything_said(table):
            usual = number(usual_hamming_loss(mean(name, method), table.protocol))
            assert f"{usual} for {method}" in everything_said(table)


def test_overall_f1_is_the_harmonic_mean_except_where_the_notes_say() -> None:
    for table in LI:
        for row in table.rows:
            expected = f1(row.mean["O-P"], row.mean["O-R"])
            if table.name == "li2020_scene" and row.method in ("LMMO-kNN", "MLSPL", "BCE"):
                assert abs(row.mean["O-F1"] - expected) > 0.0035
                assert number(expected) in everything_said(table)
            else:
                # The rows of shallow methods are off by up to .01 everywhere.
                near = 0.0101 if row.method in ("LMMO-kNN", "MLSPL") else 0.0026
                assert row.mean["O-F1"] == pytest.approx(expected, abs=near), (table.name, row.method)


def test_class_f1_stands_under_the_reading_that_its_row_fits() -> None:
    for table in LI:
        for row in table.rows:
            harmonic, place = f1(row.mean["C-P"], row.mean["C-R"]), (table.name, row.method)
            assert ("C-F1" in row.mean) != ("C-F1_of_means" in row.mean), place
            if "C-F1_of_means" in row.mean:
                assert row.mean["C-F1_of_means"] == pytest.approx(harmonic, abs=0.0011), place
            else:
                neither = any(caveat.holds(row.method, "C-F1") for caveat in table.not_comparable)
                assert (row.mean["C-F1"] > harmonic) == neither, place  # the mean of the labels' F1 never is
                assert abs(row.mean["C-F1"] - harmonic) > 0.005, place
    assert "C-F1_of_means" in mean("li2020_scene", "RETDM") and "C-F1" in mean("li2020_scene", "C2AE")
    row = mean("li2020_scene", "CL")
    assert number(f1(row["C-P"], row["C-R"])) == ".239"
    assert "harmonic mean is .239, the table says .152" in everything_said(TABLES["li2020_scene"])


def test_the_copied_rows_predict_three_labels_an_image() -> None:
    table = TABLES["li2020_coco"]
    predicted = {
        row.method: row.mean["O-R"] * table.protocol["labels_an_image"] / row.mean["O-P"] for row in table.rows
    }
    for method, count in (("CNN-Softmax", "2.99"), ("CNN-WARP", "2.98"), ("CNN-RNN", "2.78"), ("BCE", "2.15")):
        assert f"{predicted[method]:.2f}" == count
        assert count in everything_said(table)


def test_coverage_on_coco_is_beyond_what_its_ranking_loss_allows() -> None:
    row, y, labels = mean("li2020_coco", "RETDM"), 2.9, 80
    # Every irrelevant label above the last relevant one is at least one wrong pair of y (L - y).
    assert y - 1 + row["ranking_loss"] * y * (labels - y) == pytest.approx(6.1, abs=0.05)
    assert row["coverage"] > 30


def test_scene_is_one_run_on_400_images_by_its_round_coverages() -> None:
    for row in TABLES["li2020_scene"].rows:
        whole = abs(row.mean["coverage"] * 400 - round(row.mean["coverage"] * 400)) < 1e-6
        assert whole == (row.method != "MLSPL")


def test_tables_are_matched_by_the_share_of_test_images() -> None:
    assert [t.name for t in tables_for("scene", {"test_fraction": 0.2})[0]] == ["li2020_scene"]
    assert [t.name for t in tables_for("scene", {"test_fraction": 0.333333})[0]] == ["dong_scene"]
    found, fits = tables_for("scene", {"test_fraction": 0.5})
    assert len(found) == 2 and not fits
    assert tables_for("coco", {"test_fraction": 0.2})[1]
    assert tables_for("synthetic", {"test_fraction": 0.2}) == ([], False)


def test_the_best_earlier_method_is_the_best_on_bags() -> None:
    assert best_earlier()["msrcv2"]["hamming_loss"] == ("MIMLSVM", 0.084)
    assert best_earlier()["scene"]["average_precision"] == ("KISAR", 0.772)
    assert "coco" not in best_earlier()


def test_data_sets_agree_with_the_tables_about_their_labels() -> None:
    for said in paper_datasets():
        tables = [
            table for table in paper_tables() if table.short == said["short"] and set(said["data"]) & set(table.data)
        ]
        assert {table.protocol["labels"] for table in tables} == {said["labels"]}
