from pathlib import Path

import pytest
import torch

from retdm.settings import devices
from retdm.settings.devices import device_named, precision


def test_precision_is_chosen_by_what_the_processor_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(devices, "_has_bfloat16", lambda accelerator, able=able: able)
        assert precision("auto", "cpu") == expected
        assert precision("32-true", "cpu") == "32-true"
        assert precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("capability, able", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], able: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert devices._has_bfloat16("gpu") == devices._has_bfloat16("auto") == able


@pytest.mark.parametrize("flags, able", [("fpu avx512f", False), ("fpu avx512_bf16", True), ("fpu amx_bf16", True)])
def test_a_cpu_has_bfloat16_where_its_flags_say_so(monkeypatch: pytest.MonkeyPatch, flags: str, able: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", lambda self: f"model name : any\nflags : {flags}\n")
    assert devices._has_bfloat16("cpu") == devices._has_bfloat16("auto") == able


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_named("auto") == device_named("cuda") == "cuda"
    assert device_named("cpu") == "cpu"
