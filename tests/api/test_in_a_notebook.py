"""A run in a kernel of Jupyter: its bar, its report, and the stop button."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from notebooks import commands_in_path

TRAIN = """
import retdm
run = retdm.train(
    "method=bce data.size=60 data.image_size=16 data.batch_size=16 backbone.channels=[8,16] trainer.accelerator=cpu",
    schedule={"end_to_end.max_epochs": 12},
)
run
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(kernel_name="python3")
    with commands_in_path(tmp_path):
        manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_the_stop_button_saves_and_the_same_cell_continues(kernel: tuple[KernelManager, BlockingKernelClient]) -> None:
    manager, client = kernel
    printed: dict[str, str] = {"stdout": "", "stderr": "", "result": "", "error": ""}

    def run(stop_at: str = "") -> None:
        """Run the cell to its end; once it has printed ``stop_at``, press the button."""
        printed.update(dict.fromkeys(printed, ""))
        number, deadline = client.execute(TRAIN), time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                message = client.get_iopub_msg(timeout=5)
            except queue.Empty:
                continue
            content = message["content"]
            if message["parent_header"].get("msg_id") != number:
                continue
            if message["msg_type"] == "stream":
                printed[content["name"]] += content["text"]
            elif message["msg_type"] == "execute_result":
                printed["result"] = content["data"]["text/plain"]
            elif message["msg_type"] == "error":
                printed["error"] = f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                return
            if stop_at and stop_at in printed["stdout"]:
                manager.interrupt_kernel()
                stop_at = ""
        raise AssertionError(f"the cell has no end: {printed}")

    run(stop_at="epoch   3")
    assert printed["error"] == "KeyboardInterrupt: the same call of retdm.train continues"
    assert "epoch 1 end_to_end" in printed["stderr"]  # the bar
    run()
    assert printed["error"] == ""
    assert "continuing at epoch" in printed["stdout"]
    assert "epoch  12" in printed["stdout"] and "O-F1" in printed["stdout"]
    assert printed["result"].startswith("<retdm run synthetic · bce")
    run()
    assert "finished already" in printed["stdout"]
