"""What a run's report says of its settings: every one, with its default, and whether it is another.

The settings of a config.toml come in, texts go out. Of paths only the last part is told: a report is sent to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .config import VALUE_COSTS, Config
from .defaults import learning_rate_for
from .model import Model
from .model_checks import last_part

__all__ = ["described_settings"]

PATHS = ("data", "data_dir", "init_from", "save", "log", "checkpoint")  # settings that may hold one
OTHER_DEFAULTS = {"data": "digits", "test_fraction": 0.2, "offline": False, "save": "model.safetensors"}


def described_settings(settings: Mapping[str, Any], model: Model | None) -> list[dict[str, Any]]:
    """Every setting: {name, value, standard, changed, about}. What the file does not say has its default."""
    others = {name: value for name, value in settings.items() if name not in Config.__dataclass_fields__}
    rows = [
        {"name": name, "value": _shown(name, value), "standard": _shown(name, OTHER_DEFAULTS.get(name)), "about": ""}
        | {"changed": value != OTHER_DEFAULTS.get(name)}
        for name, value in others.items()
    ]
    usual = _usual(settings, model)
    for field in fields(Config):
        value = settings.get(field.name, field.default)
        standard = [field.default, usual.get(field.name, field.default)]
        rows.append(
            {
                "name": field.name,
                "value": _shown(field.name, standard[-1] if value is None and field.name in usual else value),
                "standard": _shown(field.name, standard[-1]),
                "about": field.metadata["help"],
                "changed": value not in standard,
            }
        )
    return rows


def _usual(settings: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    """What takes the place of None where settings leave something open, as far as the model tells."""
    if model is None:
        return {}
    values = settings.get("cost") in VALUE_COSTS or model.is_regression
    ends = ("squared_error", "identity") if values else ("cross_entropy", "softmax")
    usual: dict[str, Any] = dict(zip(("cost", "output_activation"), ends, strict=True))
    known = {name: settings[name] for name in ("optimizer", "batch_size", "momentum") if name in settings}
    if settings.get("optimizer") not in ("momentum", "nesterov"):
        known.pop("momentum", None)
    rate = learning_rate_for(Config(**known), model.network)
    return usual if rate is None else {**usual, "learning_rate": rate}


def _shown(name: str, value: Any) -> str:
    """A value as a settings file has it; of paths, the last part."""
    if name == "batch_size" and value is None:
        return "full"
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return last_part(str(value)) if name in PATHS else str(value)
