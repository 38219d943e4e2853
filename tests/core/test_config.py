from __future__ import annotations

from pathlib import Path

import pytest

from mnemos.core.config import Settings
from mnemos.core.errors import InvalidInput


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "EMBEDDER", "API_KEY", "MODEL", "BASE_URL", "CACHE_DIR", "CONFIG"):
        monkeypatch.delenv(f"MNEMOS_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_file_and_variables_the_defaults_hold() -> None:
    settings = Settings()
    assert settings.path == Path("memory.mnemos")
    assert settings.embedder == "auto"
    assert settings.api_key is None


def test_arguments_go_before_variables_and_variables_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnemos.toml").write_text('path = "file.mnemos"\nmodel = "file"\nembedder = "file"\n')
    monkeypatch.setenv("MNEMOS_MODEL", "variable")
    monkeypatch.setenv("MNEMOS_EMBEDDER", "variable")
    settings = Settings(embedder="argument")
    assert (settings.path, settings.model, settings.embedder) == (Path("file.mnemos"), "variable", "argument")


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text('model = "other"\n')
    monkeypatch.setenv("MNEMOS_CONFIG", str(tmp_path / "other.toml"))
    assert Settings().model == "other"


def test_an_unknown_name_in_the_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "mnemos.toml").write_text('embeder = "auto"\n')
    with pytest.raises(InvalidInput, match="embeder"):
        Settings()


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnemos.toml").write_text("path = = 3")
    with pytest.raises(InvalidInput, match="configuration file"):
        Settings()


def test_the_key_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNEMOS_API_KEY", "sk-canary-canary")
    settings = Settings()
    assert "canary" not in repr(settings)
    assert "canary" not in settings.model_dump_json()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "sk-canary-canary"
