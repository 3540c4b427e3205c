"""Functions that settings name by their dotted paths."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.utils.module_loading import import_string

from crons.exceptions import InvalidSetting, nearest


def read_function(path: str, key: str, takes: str) -> Any:
    """Import the function that the setting *key* names; *takes* says with what it is called.

    Raises: InvalidSetting, with the name that was perhaps meant.
    """
    about = f"{key} is {path!r}, expected the dotted path of a function ({takes})"
    try:
        found = import_string(path)
    except ImportError as error:
        raise InvalidSetting(f"{about}: {error}.{_meant(path)}") from error
    if not callable(found):
        raise InvalidSetting(f"{about}: it is a {type(found).__name__}.")
    return found


def _meant(path: str) -> str:
    module, _, name = path.rpartition(".")
    try:
        if not module or find_spec(module) is None:
            return ""
        names = [each for each, value in vars(import_module(module)).items() if callable(value)]
    except ImportError:
        return ""  # the message has said so
    return nearest(name, names)
