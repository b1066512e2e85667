"""Another process that works in a run folder."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

from retdm.runs.folder.paths import RunFolder


@contextlib.contextmanager
def worked_in(folder: RunFolder) -> Iterator[Callable[[], None]]:
    """Another process holds the folder until the block ends, or what is given is called."""

    def work(ready: Any, over: Any) -> None:
        with folder.locked():
            ready.set()
            over.wait(120)
        os._exit(0)

    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=work, args=(ready, over))
    process.start()
    assert ready.wait(60)

    def let_go() -> None:
        over.set()
        process.join(60)

    yield let_go
    let_go()
