"""What is wrong on a command line is told with what to write instead."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from retdm import registry
from retdm.runs.errors import as_user_error
from retdm.settings.compose import compose_settings, register_resolvers


@pytest.mark.parametrize(
    ("word", "says", "helps"),
    [
        ("method=bec", "there is no method named bec", "did you mean bce? "),
        ("methd=bce", "methd is not a setting", "did you mean method? "),
        ("data.rot=/x", "data.rot is not a setting", "data.root is a setting of data=coco, coco_json, csv, "),
        ("lr=0.1", "lr is not a setting", "schedule.classification.lr or schedule.label_embedding.lr or "),
        ("epochs=3", "epochs is not a setting", "did you mean schedule.classification.max_epochs or "),
        ("batch_size=3", "batch_size is not a setting", "did you mean data.batch_size?"),
        ("method.zzz=adam", "method.zzz is not a setting", "there are: calibrate, clip, decide, embedding_dim, "),
        ("method.lr=0.1", "method.lr is not a setting", "schedule.classification.lr"),
        ("data", "data: a setting is written <key>=<value>", "--help"),
        ("=3", "choices are made by name, not by int", "--help"),
        ("method=3", "choices are made by name, not by int", "--help"),
        ("method=null", "choices are made by name, not by null", "--help"),
        ("hydra=x", "hydra=<name> is no choice of this command", "--help"),
        ("++method=bce", "method is chosen already", "method=<name>, without"),
        ("method=bce method.loss.name=warp", "method.loss.name is not a setting", "there are none"),
        ("data.root=ünïcødé", "data.root=ünïcødé cannot be read", "quote the value: 'data.root=\"ünïcødé\"'"),
        ("data.root=/a=b", "data.root=/a=b cannot be read", "'data.root=\"/a=b\"'"),
        ("data.root=/a(b)", "data.root=/a(b) cannot be read", "'data.root=\"/a(b)\"'"),
        ('data.root=/a"b', 'data.root=/a"b cannot be read', '\'data.root="/a\\"b"\''),
        ("data.root=/a,b", "data.root=/a,b cannot be read", "'data.root=\"/a,b\"'; as several runs: -m data.root=/a,b"),
    ],
)
def test_a_wrong_word_is_told_with_what_to_write_instead(word: str, says: str, helps: str) -> None:
    GlobalHydra.instance().clear()
    with pytest.raises((HydraException, ValueError)) as raised:
        compose_settings(word.split())
    told = as_user_error(raised.value)
    assert told is not None
    assert says in told.message
    assert helps in told.hint
    assert "+" not in told.hint  # what is added so is refused a moment later
    assert "hydra.cc" not in str(told)


@pytest.mark.parametrize("key", ["schedule.joint.warmup", "method.lr_factor.encoder", "method.clip.encoder"])
def test_a_key_that_the_files_leave_out_is_told_with_the_plus_sign_that_adds_it(key: str) -> None:
    GlobalHydra.instance().clear()
    with pytest.raises(HydraException) as raised:
        compose_settings([f"{key}=0.1"])
    told = as_user_error(raised.value)
    assert told is not None and f"+{key}=<value>" in told.hint
    GlobalHydra.instance().clear()
    compose_settings([f"+{key}=0.1"])


def test_another_command_has_no_choices_to_name() -> None:
    register_resolvers()
    GlobalHydra.instance().clear()
    with pytest.raises(HydraException) as raised, initialize_config_dir(str(registry.CONF), version_base="1.3"):
        compose("test", ["data.size=3"])
    told = as_user_error(raised.value)
    assert told is not None and told.hint == "there are: cache, download, root, workers"
