"""A sweep whose jobs run in other processes: the same table, the same failures."""

from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, in_process, start

from retdm.runs.folder.paths import read_json

FITTED = tuple(word for word in TINY if not word.startswith(("method.", "schedule=")))


@pytest.mark.slow
def test_jobs_of_other_processes_end_in_one_table(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = start("train.py", "-m", "hydra/launcher=joblib", "method=lr", "data.split=0,1,-1", *FITTED, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: 1 of 3 runs failed; the same command tries them again"]
    table = done.stdout[done.stdout.index("3 runs: ") :].splitlines()
    assert "data.split=-1 failed: data.split=-1 is not a whole number of at least 0" in table
    found = [read_json(path)["test"]["mAP"] for path in tmp_path.glob("outputs/synthetic/lr/*/metrics.json")]
    (mean,) = (line.split() for line in table if line.strip().startswith("mean of 2"))
    assert mean[3] == f"{np.mean(found):.4f}"


@pytest.mark.parametrize(
    "launcher, module, extra",
    [
        ("joblib", "hydra_joblib_launcher.gone.JoblibLauncher", "joblib"),
        ("submitit_slurm", "hydra_submitit_launcher.gone.SlurmLauncher", "slurm"),
    ],
)
def test_a_launcher_whose_package_is_not_there_names_the_extra(
    tmp_path: Path, launcher: str, module: str, extra: str
) -> None:
    words = [f"hydra/launcher={launcher}", f"hydra.launcher._target_=hydra_plugins.{module}", f"outputs={tmp_path}"]
    done = in_process("train.py", "-m", "seed=0,1", *words, *TINY)
    assert (done.code, done.out) == (2, "")
    package = module.partition(".")[0].replace("_", "-")
    assert done.err.splitlines() == [
        f"error: hydra/launcher={launcher} needs the package {package}", f'  pip install -e ".[{extra}]"',
    ]  # fmt: skip


def slurm(folder: Path, monkeypatch: pytest.MonkeyPatch, sbatch: str) -> None:
    for name, script in (("srun", ""), ("sbatch", sbatch)):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_slurm_is_asked_for_what_the_yaml_says_and_its_refusal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    slurm(tmp_path, monkeypatch, f'cp "$1" {tmp_path}/asked; echo "sbatch: error: invalid partition" >&2; exit 1')
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=nowhere", f"outputs={tmp_path}/outputs"]
    done = in_process("train.py", "-m", "seed=0,1", *words, *TINY)
    assert done.code == 2
    *_, first, hint = done.err.splitlines()  # submitit repeats what sbatch says
    assert first.startswith("error: a job of the sweep was lost: ") and "invalid partition" in first
    assert hint == "  the same command runs what is missing, and shows them all"
    asked = (tmp_path / "asked").read_text().splitlines()
    wanted = {"partition=nowhere", "cpus-per-task=8", "gpus-per-node=1", "mem=32GB", "time=240", "job-name=retdm"}
    assert wanted <= {line.removeprefix("#SBATCH --") for line in asked}
    assert any(line.startswith("#SBATCH --array=0-1%") for line in asked)


def test_without_slurm_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = in_process("train.py", "-m", "hydra/launcher=submitit_slurm", "seed=0,1", f"outputs={tmp_path}", *TINY)
    assert done.code == 2
    assert done.err.splitlines()[0] == "error: hydra/launcher=submitit_slurm: there is no sbatch or srun here"
