"""Find labels of a data set that are probably missing or wrong, look at them in a page, and write what you decided.

  retdm review data=<name> [data.root=<folder>] [backbone=<name>] [<key>=<value>] …
  retdm review data=<name> [data.root=<folder>] [<key>=<value>] … apply=<decisions.csv>

Every image is scored by a fit that did not see it: a logistic regression a label (or method=<name>) on features of a
frozen backbone. It writes review.html, a page in which y takes what is proposed and n keeps what is given, and
review.csv. The page gives a small csv, and apply=… writes labels_reviewed.csv with it, in your table's own form and
beside it; other sets become a table for data=csv.

examples
  retdm review data=csv data.root=/photos
  retdm review data=csv data.root=/photos apply=decisions.csv
  retdm review data=msrcv2 backbone=mobilenet_v2 ranking=self_confidence top=50
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.display.text import printable
from retdm.settings.classes import class_of, source_of
from retdm.settings.compose import place
from retdm.settings.review import check_review, review_settings

if TYPE_CHECKING:
    from retdm.data.modules import ImageData
    from retdm.review.findings import Finding, Kind

PRINTED = 10  # findings on the screen


def main(config: DictConfig) -> None:
    """Write ``review.html`` and ``review.csv``; or, of decisions, ``labels_reviewed.csv``."""
    guarded(lambda: _review(config))


def _review(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    choices = HydraConfig.get().runtime.choices
    check_review(asked, choices)
    out = Path(asked["out"] or Path(asked["outputs"], "review", str(choices["data"])))
    if asked["apply"] is None:
        _find(asked, choices, out)
    else:
        _apply(asked, out)


def _find(asked: dict[str, Any], choices: Any, out: Path) -> None:
    # They bring PyTorch, which takes seconds and is not needed to apply decisions.
    from retdm.commands.output.files import writable, write_all
    from retdm.commands.output.review_page import review_page
    from retdm.display.screen import log_on_screen, muted
    from retdm.review.findings import find, table_of
    from retdm.review.out_of_fold import score_out_of_fold
    from retdm.runs.build import build_data
    from retdm.runs.process import prepare_process

    prepare_process()
    settings = review_settings(asked, choices)
    writable(out)
    with (
        log_on_screen(),
        muted("retdm.data.splits", below=40),
    ):  # of labels too rare for a test split, which is not used
        data: Any = build_data(settings)
        scored = score_out_of_fold(settings, data, asked["folds"])
    print(f"{len(scored.rows):,} images, {len(data.labels)} labels; {scored.words}", flush=True)
    findings = find(scored, data.pairs, asked["ranking"], unknown=not data.source.unknown_by_row)
    _print(findings, data)
    page = review_page(findings, data.source, name=settings.choices["data"], words=scored.words, top=asked["top"])
    write_all({out / "review.html": page, out / "review.csv": table_of(findings, data.source)})
    print(f"next      open {printable(out / 'review.html')} in a browser; then the same command with apply=<its csv>")


def _print(findings: "list[Finding]", data: "ImageData") -> None:
    from retdm.commands.output.tables import print_table

    counts = Counter(each.kind for each in findings)
    said: dict[Kind, str] = {
        "missing": "probably missing",
        "wrong": "probably wrong",
        "copies": "given to one copy of an image and not to the other",
        "unknown": "unknown and probably there",
    }
    found = [f"{counts[kind]:,} {words}" for kind, words in said.items() if counts[kind]]
    print("; ".join(found) or "nothing suspicious")
    rows = [
        [data.source.ids[each.row], data.labels[each.label], each.kind, f"{each.score:.3f}", f"{each.suspicion:.3f}"]
        for each in findings[:PRINTED]
    ]
    if rows:
        print_table(["image", "label", "kind", "score", "suspicion"], rows)


def _apply(asked: dict[str, Any], out: Path) -> None:
    from retdm.review.reviewed import write_reviewed

    kind: Any = class_of("data", asked["data"])
    place(asked["data"], kind)
    source = source_of(kind, asked["data"])
    written = write_reviewed(source, Path(asked["apply"]).expanduser(), out, overwrite=asked["overwrite"])
    print(written.words)
    if written.file is not None:
        print(f"wrote {printable(written.file)}")
        print(f"next      {printable(written.command)}", flush=True)
