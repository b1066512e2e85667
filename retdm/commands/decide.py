"""Decide the labels of a finished run anew by other rules, without training, and compare what they give on test.

  retdm decide run=<folder> [rule=<rule>[,<rule>…]] [calibrate=<kind>] [per_label=true]

It writes decide.json into the run folder. Thresholds are chosen on what the run keeps in validation.npz; the rules are
described in docs/explanation/criteria.md, and so are the kinds of calibration: with one of them, the other rules decide
by calibrated scores.

examples
  retdm decide run=outputs/scene/retdm/<name>
  retdm decide run=outputs/scene/retdm/<name> rule=per_label_f1,precision:.9 per_label=true
  retdm decide run=outputs/scene/retdm/<name> rule=missed:.1,extra:.05
  retdm decide run=outputs/scene/retdm/<name> calibrate=temperature,platt,isotonic
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.commands.output.tables import Rows, number, print_table
from retdm.decisions.calibration import check_kind, in_words
from retdm.decisions.rules import ConformalRule
from retdm.decisions.thresholds import NEVER
from retdm.display.screen import console
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import write_json
from retdm.report.read import read_run
from retdm.report.redecide import TRIED, Reached, Recalibrated, Redecided, recalibrated, redecided
from retdm.runs.folder.paths import RunFolder, shown
from retdm.runs.folder.rows import SOURCES, ChosenOn
from retdm.settings.checks import check_command, rule_names

PROBABILITIES = ("calibration_error", "brier_score", "log_loss", "mAP")
SHOWN = ("O-P", "O-R", "O-F1", "C-F1", "example_F1", "hamming_loss")


def main(config: DictConfig) -> None:
    """Print a row a rule, the run's own first, and write ``decide.json``."""
    guarded(lambda: _decide(config))


def _decide(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    check_command("decide", asked)
    run = read_run(Path(asked["run"]))
    if run is None or run.state != "finished":
        raise UserError(
            f"there is no finished run in {asked['run']}: {'' if run is None else run.damage or run.state}",
            "let it reach its end: repeat its training command",
        )
    kinds = [kind for name in rule_names(asked["calibrate"]) if (kind := check_kind(name)) is not None]
    kind = kinds[0] if len(kinds) == 1 else None
    found, chosen_on = redecided(run, rule_names(asked["rule"]) or TRIED, kind)
    probabilities = recalibrated(run, kinds)[0] if kinds else []
    out = console()
    if chosen_on is not None:
        out.print(f"chosen on {len(chosen_on.rows['index']):,} images of {SOURCES[chosen_on.source]}", soft_wrap=True)
    out.print()
    if probabilities:
        print_table(*probabilities_table(probabilities))
        out.print()
        for each in probabilities[1:]:
            if each.how is not None and each.how["few"]:
                out.print(printable(in_words(each.how, run.labels)), soft_wrap=True)
                out.print()
    print_table(*criteria_table(found, kind))
    kept = [row for row in found if row.chosen is not None]
    if floors := [row for row in kept if not isinstance(row.rule, ConformalRule)]:
        out.print()
        print_table(*floors_table(floors))
    if guarantees := [row for row in kept if isinstance(row.rule, ConformalRule)]:
        out.print()
        print_table(*guarantees_table(guarantees))
    if asked["per_label"]:
        out.print()
        print_table(*thresholds_table(found, run.labels, chosen_on))
    out.print()
    folder = RunFolder(asked["run"])
    content = {
        "chosen_on": None if chosen_on is None else chosen_on.source,
        "images": None if chosen_on is None else len(chosen_on.rows["index"]),
        "own": found[0].content(),
        "calibrate": kind,
        "rules": [row.content() for row in found[1:]],
        "calibrations": [{"calibration": each.how, "test": each.criteria} for each in probabilities],
    }
    write_json(folder.decide, content)
    print(f"wrote {shown(folder.decide)}", flush=True)


def probabilities_table(found: Sequence[Recalibrated]) -> Rows:
    """Criteria of the test split's scores as they are, and calibrated."""
    names = ["none" if each.how is None else each.how["kind"] for each in found]
    rows = [
        [name, *(number(each.criteria[key]) for key in PROBABILITIES)] for name, each in zip(names, found, strict=True)
    ]
    return ["calibrate, on test", *PROBABILITIES], rows


def guarantees_table(found: Sequence[Redecided]) -> Rows:
    """What rules with a guarantee promise on average, and the mean loss where they chose and on test."""
    rows = []
    for row in found:
        cells = [number(reached.overall, 3) for reached in (row.chosen, row.test) if reached is not None]
        rows.append([row.rule.name, f"≤ {row.rule.name.partition(':')[2]}", *cells])
    return ["rule", "promised on average", "where chosen", "test"], rows


def criteria_table(found: Sequence[Redecided], kind: str | None = None) -> Rows:
    """Criteria of the test split under each rule, calibrated by a kind, with the differences from the run's own."""
    own = found[0]
    rows = [[f"{own.rule.name} (the run's own)", *(number(own.criteria[name]) for name in SHOWN)]]
    rows += [
        [row.rule.name, *(_changed(row.criteria[name], own.criteria[name]) for name in SHOWN)] for row in found[1:]
    ]
    return ["rule, on test" if kind is None else f"rule, on test, {kind}", *SHOWN], rows


def _changed(value: float | None, before: float | None) -> str:
    if value is None or before is None:
        return number(value)
    return f"{number(value)} ({value - before:+.4f})".replace("-", "−")


def floors_table(found: Sequence[Redecided]) -> Rows:
    """What rules with a floor wished, and what was reached where they chose and on test."""
    columns = ["rule", "wished", "where chosen", "labels that meet it", "test", "labels that meet it"]
    rows = [[row.rule.name, *_floor_cells(row)] for row in found]
    return columns, rows


def _floor_cells(row: Redecided) -> list[str]:
    wished = f"≥ {row.rule.name.partition(':')[2]}"
    return [wished, *(cell for reached in (row.chosen, row.test) if reached for cell in _reached_cells(reached))]


def _reached_cells(reached: Reached) -> list[str]:
    return [number(reached.overall, 3), f"{reached.meet} of {reached.labels}"]


def thresholds_table(found: Sequence[Redecided], labels: Sequence[str], chosen_on: ChosenOn | None) -> Rows:
    """The threshold of each label under each rule that has any, beside the label's positives where it was chosen."""
    shown_rules = [row for row in found if row.threshold is not None]
    positives = ["–"] * len(labels)
    if chosen_on is not None:
        _, target, known = chosen_on.cells
        positives = [str(int(each)) for each in (target * known).sum(axis=0)]
    columns = [[_threshold(row, j) for row in shown_rules] for j in range(len(labels))]
    rows = [[label, positives[j], *columns[j]] for j, label in enumerate(labels)]
    return ["label", "positives", *(row.rule.name for row in shown_rules)], rows


def _threshold(row: Redecided, label: int) -> str:
    value = row.threshold[label] if isinstance(row.threshold, list) else row.threshold
    return "never" if value == NEVER else number(value, 3)
