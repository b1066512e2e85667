"""What a run sets in its process is as it was before, in whatever process and thread it was called."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = '''
import locale, logging, os, random, signal, sys, tempfile, threading, warnings
from pathlib import Path

import hydra
import matplotlib.pyplot
import numpy as np
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import retdm
import retdm.runs.train  # modules that are loaded stay so, and some of them set up loggers and warnings
import retdm.runs.trained.model


def state():
    """Everything of a process that a library might change."""
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "wakeup": wakeup(),
        "hooks": (sys.excepthook, threading.excepthook, sys.argv, sys.stdout, sys.stderr),
        "loggers": {
            name: (logger.level, logger.propagate, logger.disabled, list(logger.handlers), list(logger.filters))
            for name in (None, "retdm", "pytorch_lightning", "lightning_fabric", "hydra", "matplotlib", "torch")
            for logger in [logging.getLogger(name)]
        },
        "warnings": list(warnings.filters),
        "random": (random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()),
        "torch": (
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.distributed.is_initialized(),
        ),
        "hydra": GlobalHydra.instance().is_initialized(),
        "resolvers": [OmegaConf.has_resolver(name) for name in ("mine", "first_choice", "cached_side")],
        "matplotlib": (matplotlib.get_backend(), dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()),
        "threads": [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()],
        "children": children(),
        "locale": locale.setlocale(locale.LC_ALL),
    }


def wakeup():
    if threading.current_thread() is not threading.main_thread():
        return None
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    return found


def children():
    tasks = Path("/proc/self/task")
    return [found for task in tasks.glob("*/children") if (found := task.read_text())]


def check(call):
    before = state()
    call()
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    for key in changed:
        print("CHANGED", key, before[key], after[key])
    if changed:
        failed.append(changed)


def train():
    run = retdm.train("method=bce seed=3", **TINY)
    run.model.predict(run.predictions["labels"].size * [np.zeros((8, 8, 3), np.uint8)])


def train_in_a_mode():
    with torch.no_grad():
        retdm.train("method=lr", **{key: value for key, value in TINY.items() if key != "schedule"})
        assert not torch.is_grad_enabled()


def fail():
    not_finite = "method=bce schedule.end_to_end.lr=1e30 schedule.end_to_end.max_epochs=9"
    for words in ("method=nope", "method.nope=1", "data=csv data.root=/nowhere", not_finite):
        try:
            retdm.train(words, outputs="failing", **TINY)
        except retdm.UserError:
            pass
        else:
            failed.append(words)


TINY = {"data.size": 40, "data.image_size": 16, "data.batch_size": 16, "backbone.channels": [8, 16]}
TINY |= {"schedule": "short", "trainer": {"accelerator": "cpu"}}
failed = []
signal.signal(signal.SIGINT, lambda number, frame: None)
warnings.simplefilter("ignore", UserWarning)
logging.getLogger("retdm").setLevel(logging.ERROR)
torch.use_deterministic_algorithms(True)
torch.set_num_threads(2)
matplotlib.rcParams["font.size"] = 17
OmegaConf.register_new_resolver("mine", lambda: 1)
Path("mine").mkdir()
Path("mine", "config.yaml").write_text("key: 5")
random.seed(1), np.random.seed(2), torch.manual_seed(3)
drawn = torch.rand(3), torch.rand(3)
torch.manual_seed(3)
torch.rand(3)

with hydra.initialize_config_dir(os.path.abspath("mine"), version_base="1.2"):
    check(train)
    assert hydra.compose("config").key == 5  # Hydra goes on where the caller uses it
    check(fail)
thread = threading.Thread(target=check, args=(train_in_a_mode,))
thread.start()
thread.join()
assert torch.equal(torch.rand(3), drawn[1])
sys.exit(1 if failed else 0)
'''


@pytest.mark.skipif(sys.platform == "win32", reason="runs need fcntl")
def test_a_run_leaves_its_process_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    changed = [line for line in done.stdout.splitlines() if line.startswith("CHANGED")]
    assert done.returncode == 0, "\n".join([*changed, done.stderr[-3000:]])
