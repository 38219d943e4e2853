"""Configuration: one TOML file, and `MNEMOS_*` variables that go before it.

The file is `mnemos.toml` in the working folder, or what `MNEMOS_CONFIG` names. Nothing is read
before a `Settings` is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mnemos.core.errors import InvalidInput


class Settings(BaseSettings):
    """What can be set once for every memory.

    Raises:
        InvalidInput: a value of the wrong kind, or an unknown name in the file.
    """

    model_config = SettingsConfigDict(env_prefix="MNEMOS_", extra="forbid", frozen=True)

    path: Path = Path("memory.mnemos")
    """The memory that the command line works on."""
    embedder: str = "auto"
    """Name of the embedder, see `mnemos.text.encode.embedder.resolve`."""
    cache_dir: Path | None = None
    """Where models are kept; the platform's cache folder if unset."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint."""
    api_key: SecretStr | None = None
    """Its key; never logged, never stored."""
    model: str | None = None
    """The endpoint's chat model for `ask` and recipes; none works by rules."""
    recipe: str = "mnemos"
    """How memories derive and recall, see `mnemos.text.recipes`."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as why:
            first = why.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(
                f"setting {name!r}: {first['msg']} (from mnemos.toml or MNEMOS_{name.upper()})"
            ) from None
        except (ValueError, OSError) as why:
            raise InvalidInput(f"the configuration file cannot be read: {why}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then the file."""
        file = Path(os.environ.get("MNEMOS_CONFIG", "mnemos.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)
