"""The settings of a command, composed once in a worker."""

import functools

from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings


@functools.cache
def composed(*words: str) -> RunSettings:
    """What ``compose_settings`` gives. Not to be changed."""
    return compose_settings(list(words))
