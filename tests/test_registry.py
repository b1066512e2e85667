"""Classes that a configuration and a checkpoint may name, and the names nearest to a wrong one."""

import pytest

from retdm.backbones.vgg import VGG16
from retdm.errors import UserError
from retdm.registry import close_names, nearest, resolve


@pytest.mark.parametrize("trusted_only", [False, True])
def test_a_class_of_the_package_is_found(trusted_only: bool) -> None:
    assert resolve("retdm.backbones.vgg.VGG16", trusted_only=trusted_only) is VGG16


@pytest.mark.parametrize(
    "target",
    [
        "collections.OrderedDict",
        "retdm.backbones.vgg.Conv2d",  # not there at all
        "retdm.backbones.weights.Path",  # imported there, but not the package's own
        "retdmother.Thing",
    ],
)
def test_a_checkpoint_may_name_no_class_but_the_packages_own(target: str) -> None:
    with pytest.raises(UserError):
        resolve(target, trusted_only=True)


def test_a_users_configuration_may_name_any_class() -> None:
    assert resolve("fractions.Fraction").__name__ == "Fraction"


@pytest.mark.parametrize(
    "target, words, hint",
    [
        ("retdm.backbones.vgg.VGG61", "no class 'VGG61' in retdm.backbones.vgg", "did you mean VGG16"),
        ("retdm.backbones.vga.VGG16", "No module named 'retdm.backbones.vga'", "module and the class"),
        ("retdm.backbones.weight_files.find_file", "no class 'find_file'", "module and the class"),
        ("VGG16", "cannot be imported", "module and the class"),
        ("", "cannot be imported", "module and the class"),
    ],
)
def test_what_cannot_be_found_is_an_error_that_says_where(target: str, words: str, hint: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        resolve(target)
    assert hint in caught.value.hint


def test_the_nearest_name_is_found_whatever_its_case_and_all_are_listed() -> None:
    assert nearest("map", ["mAP", "O-F1", "_hidden"]) == "did you mean mAP? there are: O-F1, mAP"
    assert nearest("xyz", ["mAP"]) == "there are: mAP"
    assert nearest("a", list("bcdefghijklmnop")).endswith("l, m, …")
    assert close_names("VGG19", ["resnet50", "vgg16", "vgg_small"]) == ["vgg16"]
