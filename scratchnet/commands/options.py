"""The command line's options of a configuration: one for each field that ``training.config.option``
made, with its default, help text and type. Ranges are checked by the configuration itself."""

import argparse
from typing import Any, TypeVar

from scratchnet.training.config import Option, options

Config = TypeVar("Config")


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """An option --like-this for each field of the dataclass ``config``."""
    for name, known in options(config).items():
        parser.add_argument(f"--{name.replace('_', '-')}", **_arguments(known))


def config_of(config: type[Config], chosen: argparse.Namespace) -> Config:
    """The configuration that the parsed options say, not checked yet."""
    values = {name: getattr(chosen, name) for name in options(config)}
    return config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _arguments(known: Option) -> dict[str, Any]:
    if known.kind is bool:
        return {"action": "store_true", "default": known.default, "help": known.help}
    default, several = known.default, {}
    if known.kind is tuple:
        default, several = " ".join(known.default), {"nargs": "+", "metavar": "NAME"}
    shown = "" if default is None else f" (default: {default})"
    help_text = (known.help + shown).replace("%", "%%")
    kind = str if known.kind is tuple else known.kind
    return {"type": kind, "default": known.default, "help": help_text, **several}
