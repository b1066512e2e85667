"""The text of ``--help``: what can be chosen, from the first lines of the YAML files."""

from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"


def first_comment(file: Path) -> str:
    """The first comment line of a YAML file that is no directive of Hydra's."""
    for line in file.read_text().splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""


def help_text() -> str:
    lines = ["Train a method on data.", "", "  python train.py [experiment=<name>] [<group>=<name>] [<key>=<value>] …"]
    for group, title in (
        ("method", "methods"),
        ("data", "data sets"),
        ("backbone", "backbones"),
        ("schedule", "schedules"),
        ("trainer", "trainers"),
        ("experiment", "experiments"),
        ("hydra/launcher", "launchers of the runs of a sweep"),
    ):
        lines += ["", f"{title} ({group}=…)"]
        lines += [f"  {file.stem:<22} {first_comment(file)}" for file in sorted((CONF / group).glob("*.yaml"))]
    lines += [
        "",
        "examples",
        "  python train.py                                        data drawn by the program, in minutes",
        "  python train.py experiment=scene_retdm backbone=mobilenet_v2 data.root=/data",
        "  python train.py -m experiment=scene_retdm method.weights.metric=0.1,0.3,1",
        "",
        "python train.py --cfg job prints every setting with its value.",
    ]
    return "\n".join(lines)
