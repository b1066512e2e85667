"""MATLAB files, read where a damaged one can do no harm."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

READ = """
import pickle, sys
from scipy.io import loadmat
content = loadmat(sys.argv[1], variable_names=sys.argv[2:] or None)
pickle.dump(content, sys.stdout.buffer, protocol=5)
"""


def read_mat(file: Path, *names: str) -> dict[str, Any]:
    """The variables of a file of up to version 7, all or those of these names, as ``scipy.io.loadmat`` reads them.

    Another process reads them: some damaged files end the process that does, by a segmentation fault of SciPy's.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it cannot be understood; the message is the reader's.
    """
    file.open("rb").close()
    command = [sys.executable, "-c", READ, str(file), *names]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode < 0:
        raise ValueError(f"the reader ended by {signal.Signals(-done.returncode).name}: the file is damaged")
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    content: dict[str, Any] = pickle.loads(done.stdout)  # arrays, written by the lines above
    return content
