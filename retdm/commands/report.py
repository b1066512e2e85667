"""Write tables, with the papers' values beside them, figures and one page from finished run folders.

  retdm report <folder> … [<key>=<value>] …

Of one run's own folder a page of that run alone: its data, curves, criteria with intervals, labels and worst mistakes.
Of several, runs that differ only in their split are averaged, methods are compared over splits and image by image;
failed and unfinished runs are listed and left out. Of more than eight methods or settings the terminal shows the chosen
criteria alone, and the written report all tables.

settings
  out=<folder>          where the report is written (outputs/report; of one run its own folder)
  choose=<criterion>    rank the settings of a sweep by their validation value, and print the best one's command
  criteria=<a,b,…>      criteria by which methods are compared (mAP,O-F1,average_precision)
  baseline=<method>     compare each method with this method or group (else: up to four in pairs, more with the best
                        on validation)

examples
  retdm report outputs
  retdm report outputs/scene outputs/msrcv2 out=docs/report
  retdm report outputs/scene/retdm choose=mAP
  retdm report outputs/scene/retdm/<name>
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retdm.criteria import CRITERIA
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import write_text
from retdm.registry import nearest
from retdm.report import about, choose, paper, results
from retdm.report.figures import backbone_stages
from retdm.report.formats import csv_of, markdown, show
from retdm.report.groups import group_runs
from retdm.report.read import find_runs, is_run
from retdm.report.uncertainty import intervals, paired, significance
from retdm.runs.folder.paths import shown

MOST_ON_SCREEN = 8  # methods or settings whose tables are all printed; of more they are a thousand lines


@dataclass(frozen=True)
class Asked:
    """The command line: folders, and settings of the report."""

    folders: list[Path]
    out: Path | None = None
    choose: str | None = None
    criteria: tuple[str, ...] = significance.CRITERIA
    baseline: str | None = None


def main(words: Sequence[str]) -> None:
    """Run the command on its arguments.

    Raises:
        UserError: an argument is unknown, no run is finished, or the report cannot be written.
    """
    try:
        wanted = asked(words)
        if len(wanted.folders) == 1 and is_run(wanted.folders[0]):
            write_page_of(wanted)
        else:
            write_report(wanted)
    except OSError as error:
        raise UserError(str(error), "out=<folder> chooses another place") from error


def asked(words: Sequence[str]) -> Asked:
    """The command line: folders, and settings as ``key=value``.

    Raises:
        UserError: a key is unknown, or no criterion has that name.
    """
    folders, settings = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not Path(word).exists():
            settings[key] = value
        else:
            folders.append(Path(word))
    known = ("out", "choose", "criteria", "baseline")
    for key in settings:
        if key not in known:
            raise UserError(f"{key} is not a setting of the report", nearest(key, known))
    if not folders:
        raise UserError("no folder is named", "retdm report outputs")
    criteria = tuple(settings["criteria"].split(",")) if "criteria" in settings else significance.CRITERIA
    for name in [*criteria, *([settings["choose"]] if "choose" in settings else [])]:
        if name not in CRITERIA:
            raise UserError(f"there is no criterion {name}", nearest(name, CRITERIA))
    out = Path(settings["out"]) if "out" in settings else None
    return Asked(folders, out, settings.get("choose"), criteria, settings.get("baseline"))


def write_page_of(wanted: Asked) -> None:
    """Print the criteria of one run and write its page.

    Raises:
        UserError: the run is not finished or damaged, or a setting compares it with others.
    """
    # It brings scikit-learn, which --help and errors need not wait for.
    from retdm.report.one_run.page import criteria_table, write_run_page

    (folder,) = wanted.folders
    if wanted.choose or wanted.baseline or wanted.criteria != significance.CRITERIA:
        raise UserError(
            f"choose, criteria and baseline compare runs, and {shown(folder)} is a single one",
            f"retdm report {shown(folder.parent)} …",
        )
    out = None if wanted.out is None else wanted.out / "report.html"
    if wanted.out is not None:
        wanted.out.mkdir(parents=True, exist_ok=True)
    path, run, evaluated = write_run_page(folder, out)
    show([criteria_table(run, evaluated)], [])
    print(f"written    {printable(shown(path))}", flush=True)


def write_report(wanted: Asked) -> None:
    """Print the tables and write ``report.md``, ``report.csv``, ``report.html`` and ``figures/``.

    Where an L1 penalty selects features, ``selected.csv`` too.

    Raises:
        UserError: there is no finished run, or a file of a run cannot be read.
    """
    runs = find_runs(wanted.folders)
    groups = group_runs(runs)
    lacking = about.left_out(runs, groups)
    if not groups:
        raise UserError(f"none of the runs found is finished, of {len(runs)}", "\n  ".join(lacking[:4]))
    # They bring Matplotlib, which --help and errors need not wait for.
    from retdm.display.figure_text import undrawn
    from retdm.report import page
    from retdm.report.figures import write as figures
    from retdm.report.figures.shown_groups import by_data

    differences, unlike = paired.paired_tables(groups, wanted.criteria, wanted.baseline)
    many = len(groups) > MOST_ON_SCREEN
    first = [about.dataset_table(runs), *(results.summary_tables(groups, wanted.criteria) if many else [])]
    chosen = choose.choice_tables(groups, wanted.choose) if wanted.choose else []
    tables = [
        *first,
        *results.result_tables(groups),
        *intervals.interval_tables(groups),
        *significance.significance_tables(groups, wanted.criteria, wanted.baseline),
        *differences,
        *backbone_stages.selection_tables(by_data(groups)),
        *chosen,
    ]
    names = dict.fromkeys(name for members in by_data(groups) for name in undrawn(members[0].runs[0].labels))
    notes = [*lacking, *unlike, *(f"In figures {name}." for name in names), *about.origin(groups)]
    show([*first, *chosen] if many else tables, notes)
    out = wanted.out or Path("outputs/report")
    out.mkdir(parents=True, exist_ok=True)
    drawn = figures.write_figures(out, groups, paper.best_earlier())
    write_text(out / "report.md", markdown(tables, notes, [path.relative_to(out) for path in drawn]))
    write_text(out / "report.csv", csv_of(groups))
    if selected := backbone_stages.selected_csv(groups):
        write_text(out / "selected.csv", selected)
    page.write_page(out / "report.html", groups, tables, notes, drawn)
    if many:
        print(
            f"All criteria, the papers' rows, intervals and differences of the {len(groups)} lines are in the report."
        )
    print(f"written    {', '.join(shown(out / f'report.{kind}') for kind in ('md', 'csv', 'html'))}", flush=True)
