import subprocess
import sys

import retdm

HEAVY = ("torch", "pytorch_lightning", "hydra", "matplotlib", "sklearn", "pandas", "PIL")
SCRIPT = """
import sys
import retdm
{}
print(*sorted({} & sys.modules.keys()))
"""


def loaded_after(line: str) -> list[str]:
    script = SCRIPT.format(line, set(HEAVY))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_package_brings_nothing_large() -> None:
    assert loaded_after("") == []


def test_criteria_bring_no_pytorch() -> None:
    found = loaded_after("assert retdm.evaluate([[0.9, 0.2]], [[1, 0]])['mAP'] == 1")
    assert not {"torch", "pytorch_lightning", "hydra", "matplotlib"} & set(found)


def test_a_wrong_setting_is_told_before_pytorch_is_imported() -> None:
    calls = ("retdm.train('method=nope')", "retdm.embed([], backbone='nope')", "retdm.embed([], run='nope', view='no')")
    refused = "\n".join(
        ["import contextlib", *(f"with contextlib.suppress(retdm.UserError): {each}" for each in calls)]
    )
    assert not {"torch", "pytorch_lightning"} & set(loaded_after(refused))


def test_everything_that_the_package_names_is_there() -> None:
    assert set(dir(retdm)) == set(retdm.__all__)
    for name in retdm.__all__:
        assert getattr(retdm, name) is not None
