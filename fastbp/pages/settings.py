"""What a run's report says of its settings: every one, with its default, and whether it is another.

The settings of a config.toml come in, texts go out. Of paths only the last part is told: a report is sent to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..activations import name_of
from ..config import Config
from ..defaults import learning_rate_for
from ..model import Model
from ..model_checks import last_part

__all__ = ["described_settings"]

PATHS = ("data", "data_dir", "init_from", "save", "log", "checkpoint")  # settings that may hold one
OTHER_DEFAULTS = {"data": "digits", "test_fraction": 0.2, "offline": False, "save": "model.safetensors"}


def described_settings(settings: Mapping[str, Any], model: Model | None) -> list[dict[str, Any]]:
    """Every setting as {name, value, standard, changed, about}; what the file does not say has its default.

    Parameters
    ----------
    settings : mapping
        as `read_settings` gives them
    model : Model or None
        tells what took the place of settings that were left open, such as the cost

    Examples
    --------
    >>> rows = {row["name"]: row for row in described_settings({"data": "/a/b.csv", "epochs": 3}, None)}
    >>> rows["data"]["value"], rows["epochs"]["changed"], rows["batch_size"]["value"]
    ('b.csv', True, '32')
    """
    rows = []
    for name, value in settings.items():
        if name not in Config.__dataclass_fields__:
            rows.append(_row(name, value, OTHER_DEFAULTS.get(name), value != OTHER_DEFAULTS.get(name), ""))
    usual, used = ({}, {}) if model is None else _left_open(settings, model)
    for field in fields(Config):
        name, value = field.name, settings.get(field.name, field.default)
        standard = usual.get(name, field.default)
        if value is None and field.default is None:
            value = standard = used.get(name)
        rows.append(_row(name, value, standard, value != standard, field.metadata["help"]))
    return rows


def _row(name: str, value: Any, standard: Any, changed: bool, about: str) -> dict[str, Any]:
    texts = {"value": _shown(name, value), "standard": _shown(name, standard)}
    return {"name": name, **texts, "changed": changed, "about": about}


def _left_open(settings: Mapping[str, Any], model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """What usually takes the place of settings that are None, and what did."""
    network, names = model.network, ("cost", "output_activation", "learning_rate")
    given = [name for name in ("optimizer", "batch_size") if name in settings]
    if settings.get("optimizer") in ("momentum", "nesterov"):
        given += ["momentum"] * ("momentum" in settings)
    rate = learning_rate_for(Config(**{name: settings[name] for name in given}), network)
    ends = ("squared_error", "identity") if model.is_regression else ("cross_entropy", "softmax")
    used = (network.cost, name_of(network.activations[-1]), rate)
    return dict(zip(names, (*ends, rate), strict=True)), dict(zip(names, used, strict=True))


def _shown(name: str, value: Any) -> str:
    """A value as a settings file has it; of paths, the last part."""
    if name == "batch_size" and value is None:
        return "full"
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return last_part(str(value)) if name in PATHS else str(value)
