"""Read every file of a data set; print counts and problems, and draw one picture of it.

  retdm check data=<name> [data.root=<folder>] [augment=<name>] [out=<folder>] [data.<key>=<value>] …

It writes overview.png, where training views are drawn as augment=<name> gives them, and findings.csv (files that cannot
be read, pairs that show the same picture). With data.group or data.stratified it says how near the splits come to the
sizes that were wished, and prints each label's share of them. It exits with 1 if a file cannot be read.
`retdm train --help` lists the data sets and augmentations.
"""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from retdm.batch import BagBatch
from retdm.commands.guard import guarded
from retdm.commands.output.tables import print_table
from retdm.data import overview
from retdm.data.base_module import Data
from retdm.data.modules import ImageData
from retdm.display.figure_text import undrawn
from retdm.display.screen import console, log_on_screen
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import atomic
from retdm.runs.build import build_data
from retdm.runs.folder.paths import shown
from retdm.runs.process import prepare_process
from retdm.settings.checks import check_command, check_group
from retdm.settings.classes import resolve_classes
from retdm.settings.compose import cache_folder
from retdm.settings.first_choice import size_images
from retdm.settings.run_settings import RunSettings

LISTED = 10  # findings of a kind on the screen; the csv has all


def main(config: DictConfig) -> None:
    """Print counts, write ``overview.png`` and ``findings.csv``; exit 1 where an image cannot be read."""
    guarded(lambda: _check(config))


def _check(config: DictConfig) -> None:
    prepare_process()
    asked: Any = OmegaConf.to_container(config, resolve=True)
    choices = {group: str(HydraConfig.get().runtime.choices[group]) for group in ("data", "augment")}
    name = choices["data"]
    check_command("check", asked, choices)
    cache_folder(asked["data"], asked["outputs"])
    classes = resolve_classes(asked, choices)
    for group, kind in classes.items():
        check_group(group, asked[group], kind, choices)
    size_images(asked["data"], classes["data"], "auto")
    if classes["data"].gives is BagBatch:
        asked["augment"] = {}
    if "on_unreadable" in asked["data"]:
        asked["data"]["on_unreadable"] = "skip"  # they are what this command lists
    with log_on_screen():
        data = build_data(RunSettings(asked["data"], choices, classes, augment=asked["augment"], seed=asked["seed"]))
    out = Path(asked["out"] or Path(asked["outputs"], "check", name))
    found, title = overview.findings(data), _title(data, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        overview.write_findings(out / "findings.csv", found)
        with atomic(out / "overview.png") as part:
            overview.draw(data, title, f"augment={choices['augment']}").savefig(part, format="png")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}", "choose another with out=") from error
    _print(data, title, found)
    for name in undrawn(data.labels):
        print(f"no installed font has a name; in the picture {printable(name)}")
    print(f"picture   {shown(out.absolute() / 'overview.png')}")
    print(f"findings  {shown(out.absolute() / 'findings.csv')}  ({len(found):,} rows)")
    if isinstance(data, ImageData) and data.unreadable:
        sys.exit(1)


def _title(data: Data, name: str) -> str:
    """Counts in one line; those of fully known rows are named as such where there are others."""
    numbers = {key.replace("_", " "): number for key, number in overview.counts(data).items() if number is not None}
    known, unknown = numbers.pop("fully known"), numbers["unknown cells"]
    words = [f"{n:,.3g} {key}" if isinstance(n, float) else f"{n:,} {key}" for key, n in numbers.items()]
    if not unknown:
        return f"{name}: {', '.join(words)}"
    of_all = 1 + list(numbers).index("labels")
    rest = (
        f"the {known:,} fully known {next(iter(numbers))}: {', '.join(words[of_all:-1])}"
        if known
        else "none is known in full"
    )
    return f"{name}: {', '.join([*words[:of_all], words[-1]])}; {rest}"


def _print(data: Data, title: str, found: list[overview.Finding]) -> None:
    screen = console()
    screen.print(printable(title), soft_wrap=True)
    rows = overview.label_counts(data)
    every = ["(all rows)", str(len(data.source)), *(str(len(where)) for where in data.splits.values())]
    every += [""] * (len(rows[0]) - len(every))
    print_table(list(rows[0]), [every, *([str(value) for value in row.values()] for row in rows)])
    if overview.ABSENT in rows[0] and not any(row[overview.ABSENT] for row in rows):
        screen.print(
            "no training label is known to be absent: most methods learn nothing of that (docs/howto/weak-labels.md)",
            soft_wrap=True,
        )
    if lines := overview.split_sizes(data):
        screen.print("\n".join(lines), soft_wrap=True)
        shares = overview.label_shares(data)
        print_table(["share of images", *list(shares[0])[1:]], [_percent(row) for row in shares])
    for kind in dict.fromkeys(each.kind for each in found):
        of_kind = [each for each in found if each.kind == kind]
        across = sum(" and " in each.detail for each in of_kind) if kind in ("identical", "near") else None
        noun = "images" if across is None else f"pairs, {across} across two parts"
        screen.print(f"{kind}: {len(of_kind):,} {noun}")
        for each in of_kind[:LISTED]:
            screen.print(f"  {printable(each.id)}: {printable(each.detail)}", soft_wrap=True)
        if len(of_kind) > LISTED:
            screen.print(f"  … and {len(of_kind) - LISTED:,} more")
    if not found:
        screen.print("nothing wrong was found")


def _percent(shares: dict[str, Any]) -> list[str]:
    label, *values = shares.values()
    return [label, *("–" if value != value else f"{value:.1%}" for value in values)]
