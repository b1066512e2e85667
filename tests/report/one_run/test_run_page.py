"""The page of one run, read as a browser's parser reads it."""

import base64
import hashlib
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from report_runs import Make, write_history, write_run

from retdm.criteria import CRITERIA, evaluate
from retdm.errors import UserError
from retdm.report.one_run.page import SCRIPT, write_run_page
from retdm.report.tables import number

NASTY = "<b>$x & \"y\"</b><script>alert('z')</script>"
LABELS = ["cat", "dog", "owl", "😀 海"]


class Read(HTMLParser):
    """Tags with their attributes, and the text by the section that it stands in."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.content = path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self.feed(self.content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag == "h2":
            self.sections[str(dict(attributes)["id"])] = ""

    def handle_data(self, data: str) -> None:
        self.sections[list(self.sections)[-1]] += data

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [each for name, each in self.tags if name == tag and (kind is None or each.get("class") == kind)]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.sections.values()).split())


def page_of(folder: Path) -> Read:
    path, _, _ = write_run_page(folder)
    assert path == folder / "report.html"
    return Read(path)


def test_the_page_has_every_section_of_a_whole_run(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    write_history(folder, ["joint", "joint"], train_loss=[2.0, 1.0], validation_mAP=[0.2, 0.5])
    (folder / "pictures" / "mistakes").mkdir(parents=True)
    Image.new("RGB", (84, 64), "red").save(folder / "pictures" / "embedding-fitted.png")
    page = page_of(folder)
    sections = [
        "data",
        "training",
        "criteria",
        "labels",
        "precision-recall",
        "probabilities",
        "confusion",
        "mistakes",
        "embedding",
        "origin",
    ]
    assert list(page.sections) == ["", *sections]
    assert [str(link["href"]).removeprefix("#") for link in page.all("a")] == sections
    assert "Trained on 180 images, with 60 for validation. On 60 test images, which it never saw:" in page.text
    assert "retdm train data.split=0" in page.sections["origin"]


def test_criteria_stand_beside_their_intervals(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    path, _, of = write_run_page(folder)
    assert of is not None
    text = Read(path).sections["criteria"]
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in CRITERIA:
        value, interval = metrics["test"][name], of.intervals.criteria[name]
        assert interval is not None and interval.low <= value <= interval.high
        assert f"{number(value)}{number(interval.low)} to {number(interval.high)}" in text, name


def test_all_text_of_the_run_is_escaped_and_nothing_is_asked_for(make_run: Make) -> None:
    labels = [NASTY, "dog", "{{ 7*7 }}"]
    folder = make_run("run", 60, labels, data=NASTY, method="bce")
    write_history(folder, [NASTY, "joint"], train_loss=[2.0, 1.0])
    (folder / "log.txt").write_text(f"2026-11-29 WARNING {NASTY}\n2026-11-29 INFO all is well\n")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["provenance"]["command"] = f"python train.py {NASTY}"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "split.json").write_text(json.dumps({"train": [], "validation": [], "test": [NASTY] * 60}))
    page = page_of(folder)
    assert len(page.all("script")) == 1 and f"<script>{SCRIPT}</script>" in page.content
    (policy,) = [str(each["content"]) for each in page.all("meta") if "http-equiv" in each]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'")  # a browser runs no other script
    assert NASTY in page.sections["data"] and NASTY in page.sections["mistakes"] and NASTY in page.sections["origin"]
    assert "{{ 7*7 }}" in page.text and "all is well" not in page.text
    sources = [str(value) for _, each in page.tags for key, value in each.items() if key in ("src", "href")]
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in page.content and "@import" not in page.content


def test_the_worst_mistakes_show_their_pictures_and_both_label_sets(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    rows = dict(np.load(folder / "predictions.npz"))
    wrong = ((rows["scores"] >= 0.5) != (rows["target"] > 0)).any(axis=1)
    page = page_of(folder)
    assert len(page.all("img")) == 0
    assert f"{wrong.sum()} of 60 test images have a label that is missed or added" in page.text
    assert "There are no pictures of these images in the run folder" in page.text
    (folder / "pictures" / "mistakes").mkdir(parents=True)
    for index in rows["index"]:
        Image.new("RGB", (8, 8), "red").save(folder / "pictures" / "mistakes" / f"{index}.jpg")
    (folder / "pictures" / "mistakes" / f"{rows['index'][0]}.jpg").write_text("<svg onload=alert(1)>")  # no JPEG
    page = page_of(folder)
    shown = min(48, int(wrong.sum()))
    assert shown - 1 <= len(page.all("img")) <= shown
    assert "There are no pictures" not in page.text
    assert page.all("li", "missed") and page.all("li", "extra") and page.all("li", "hit")


def test_each_mistake_carries_its_missed_and_its_added_labels_and_the_nearest_training_images(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    rows = dict(np.load(folder / "predictions.npz"))
    page = page_of(folder)
    assert "No nearest training images are shown" in page.text
    given, true = rows["scores"] >= 0.5, rows["target"] > 0
    kinds = [(true[i] & ~given[i], given[i] & ~true[i]) for i in range(60)]
    expected = sorted(
        tuple(" ".join(map(str, np.flatnonzero(each))) for each in kind) for kind in kinds if np.any(kind)
    )
    cards = [each for each in page.all("li") if "data-missed" in each]
    assert sorted((each["data-missed"], each["data-added"]) for each in cards) == expected
    first = int(np.flatnonzero((given != true).any(axis=1))[0])
    near = {"index": 3, "name": NASTY, "distance": 0.4567, "labels": [LABELS[j] for j in range(4)]}
    broken = [{"index": "3", "name": 4}, 5]
    (folder / "pictures" / "mistakes").mkdir(parents=True)
    for content, shown in (
        (json.dumps({str(7 * first): [near]}), 1),
        (json.dumps({str(7 * first): broken}), 0),
        ("[]", 0),
    ):
        (folder / "pictures" / "mistakes" / "nearest.json").write_text(content)
        page = page_of(folder)
        assert len(page.all("ul", "near")) == shown
        assert (".46" in page.sections["mistakes"]) == bool(shown)


def test_the_matrix_counts_the_labels_that_stand_for_others(make_run: Make) -> None:
    target, scores = np.zeros((9, 4), np.float32), np.zeros((9, 4))
    target[:5, 0] = scores[2:5, 1] = 1  # cat missed five times, thrice with a dog
    target[5:, 3] = scores[5:, 3] = 1
    page = page_of(make_run("run", 9, LABELS, arrays={"target": target, "scores": scores}))
    says = [each["title"] for each in page.all("td", "cell")]
    assert says[:3] == [
        "cat missed, cat added: 0 of 5",
        "cat missed, dog added: 3 of 5",
        "cat missed, nothing added: 2 of 5",
    ]
    table = "".join(page.sections["confusion"].split())
    assert "cat5dog3,nothing20" in table and "dog03cat3(3missed)" in table


def test_labels_of_two_frequency_bands_have_a_row_each(make_run: Make) -> None:
    counts = {"train": [500, 50, 5, 5], "test": [1, 1, 1, 1]}
    page = page_of(make_run("run", 60, LABELS, metrics={"label_counts": counts}))
    text = page.sections["labels"]
    assert "many: 101 and more1" in text and "medium: 20 to 1001" in text and "few: 0 to 192" in text
    assert "Frequent and rare" not in page_of(make_run("alike", 60, LABELS, metrics={"label_counts": None})).text


def test_bags_are_called_bags(make_run: Make) -> None:
    text = page_of(make_run("run", 60, LABELS, backbone="none")).text
    assert "Trained on 180 bags" in text and "Bags have no pictures." in text and "test image" not in text


@pytest.mark.parametrize("n, labels", [(1, ["cat"]), (2, ["cat", "dog"]), (30, ["cat"])])
def test_a_tiny_run_has_a_page(make_run: Make, n: int, labels: list[str]) -> None:
    page = page_of(make_run("run", n, labels))
    assert "criteria" in page.sections


def test_a_run_without_test_images_says_so(make_run: Make) -> None:
    page = page_of(make_run("run", 0, LABELS))
    assert "No criterion is defined" in page.text
    assert "mistakes" not in page.sections and "labels" not in page.sections


def test_unknown_cells_and_labels_without_images_are_in_no_curve(make_run: Make) -> None:
    folder = make_run("run", 40, LABELS, unknown=0.5)
    with np.load(folder / "predictions.npz") as found:
        rows = dict(found)
    rows["known"][:, 2] &= rows["target"][:, 2] == 0
    np.savez(folder / "predictions.npz", **rows)
    page = page_of(folder)
    assert "1 label has no test image" in page.text
    assert len(page.all("figure", "chart")) == 1 + 3 + 1  # all together, each label, probabilities


def test_a_run_that_left_no_predictions_keeps_its_criteria_without_intervals(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    (folder / "predictions.npz").unlink()
    page = page_of(folder)
    assert "95 % interval" not in page.sections[""]
    assert "mAP" in page.sections["criteria"] and "mistakes" not in page.sections


def test_an_older_run_shows_the_labels_of_its_test_split_alone(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS, metrics={"label_counts": None})
    data = page_of(folder).sections["data"]
    cat = int(np.load(folder / "predictions.npz")["target"][:, 0].sum())
    assert "".join(data.split("cat")[1].split("dog")[0].split()) == str(cat)


def test_of_very_many_labels_the_best_and_the_worst_are_shown(make_run: Make) -> None:
    page = page_of(make_run("run", 60, [f"label {j}" for j in range(150)]))
    assert len(page.all("span", "label")) == 120
    assert "Of 150 labels the 60 best and the 60 worst are shown." in page.text
    assert "The other 96 labels" in page.text


def test_a_threshold_of_the_methods_own_is_read_from_what_it_predicted(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS, unknown=0.2, settings={"decide": "train_threshold"})
    rows = np.load(folder / "predictions.npz")
    predicted = rows["scores"] >= np.array([0.2, 0.5, 0.9, 1.5])
    found = evaluate(rows["scores"], rows["target"], rows["known"], LABELS, predicted)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"per_label": found["per_label"]}))
    _, _, of = write_run_page(folder)
    assert of is not None
    assert np.array_equal(of.predicted & of.known, predicted & rows["known"])


def test_the_same_run_gives_the_same_page(make_run: Make) -> None:
    folder = make_run("run", 60, LABELS)
    first = write_run_page(folder)[0].read_bytes()
    assert write_run_page(folder)[0].read_bytes() == first


def test_what_cannot_be_shown_is_refused_with_its_reason(make_run: Make, tmp_path: Path) -> None:
    for name, message in (("unfinished", "is not finished"), ("failed", "failed: the disk is full")):
        folder = write_run(tmp_path / name, finished=False, error="the disk is full" if name == "failed" else None)
        with pytest.raises(UserError, match=message):
            write_run_page(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no run"):
        write_run_page(tmp_path / "empty")
    folder = make_run("run", 30, LABELS)
    with np.load(folder / "predictions.npz") as found:
        np.savez(folder / "predictions.npz", **dict(found) | {"scores": found["scores"] * np.nan})
    with pytest.raises(UserError, match=r"predictions\.npz cannot be evaluated: scores hold NaN"):
        write_run_page(folder)
    shutil.copytree(folder, tmp_path / "odd")
    (tmp_path / "odd" / "metrics.json").write_text(json.dumps({"per_label": {"a": 3}, "test": {}, "seconds": 1}))
    with pytest.raises(UserError, match="is damaged"):
        write_run_page(tmp_path / "odd")


def test_what_a_damaged_run_lacks_is_left_out(make_run: Make) -> None:
    folder = make_run("run", 30, LABELS)
    whole = write_run_page(folder)[0].read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    for key in ("validation", "test_validation_threshold", "stages"):
        metrics.pop(key, None)
    for more in ({}, {"stages": 3}, {"stages": [{"name": "train"}]}):
        (folder / "metrics.json").write_text(json.dumps(metrics | more))
        assert "<h2" in write_run_page(folder)[0].read_text()
    (folder / "split.json").unlink()
    page = write_run_page(folder)[0].read_text()
    assert "test images, which it never saw" in whole
    assert "test images, which it never saw" not in page
