"""A process's settings: defaults, then the TOML file that ANAMNESIS_<SERVICE>_CONFIG names, then the environment.

Invariant: a process that started was understood in full. A wrong value, an unknown name in the file and an unknown
ANAMNESIS_<SERVICE>_* variable each end it at once with exit code 2, all of them named on stderr, values never shown.
Only load_settings reads the file and the environment; a settings object made by hand holds what it was given.
"""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from service_kit.tls import KeyPair, TlsSettings

DELIMITER = "__"
MEBIBYTE = 1024 * 1024


class ServiceSettings(BaseSettings):
    """What every process has. A service derives from it and adds its own; nested models forbid extras likewise."""

    model_config = SettingsConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    grpc_port: int = 0
    """0 takes a free port."""
    log_level: str = "INFO"
    otlp_endpoint: str | None = None
    """OTLP over gRPC, for example http://localhost:4317. None exports nothing."""
    tls: TlsSettings | None = None
    """Mutual TLS with every other service. None speaks and listens in plaintext, for a laptop."""
    callers_file: Path | None = None
    """Who may call which RPC with TLS; None takes service_kit/grpc/callers.toml."""
    health_port: int | None = Field(default=None, ge=0, le=65535)
    """A plaintext port that serves grpc.health.v1 and nothing else, for probes that have no certificate."""
    reflection: bool | None = None
    """None offers it where there is no TLS."""
    max_message_bytes: int = Field(default=64 * MEBIBYTE, ge=1024)
    max_concurrent_calls: int = Field(default=1024, ge=1)
    drain_seconds: float = Field(default=20.0, ge=0)
    state_dir: Path = Path(".anamnesis")

    @field_validator("grpc_port")
    @classmethod
    def _is_a_port(cls, value: int) -> int:
        if not 0 <= value <= 65535:
            raise ValueError("a port lies between 0 and 65535")
        return value

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError("one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return value.upper()

    @field_validator("otlp_endpoint")
    @classmethod
    def _has_a_scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("starts with http:// or https://, for example http://localhost:4317")
        return value

    @property
    def listener_tls(self) -> KeyPair | None:
        """What the gRPC port shows; with TlsSettings, callers are asked for their certificates too."""
        return self.tls

    @property
    def offers_reflection(self) -> bool:
        return self.reflection if self.reflection is not None else self.tls is None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


S = TypeVar("S", bound=ServiceSettings)


class WrongSettings(Exception):
    """Every problem found, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_settings(cls: type[S], service: str) -> S:
    """The settings of `service` ("simulator"); ends the process with code 2 and the reasons when they are wrong."""
    try:
        return read_settings(cls, service)
    except WrongSettings as wrong:
        end_with(wrong.problems, service)


def end_with(problems: Iterable[str], service: str) -> NoReturn:
    """The end of a process whose settings cannot be followed: code 2, and each reason on stderr."""
    print(f"{service}: the settings are wrong, so it does not start:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    raise SystemExit(2)


def read_settings(cls: type[S], service: str) -> S:
    """As load_settings, but raises WrongSettings."""
    prefix = f"ANAMNESIS_{service.upper()}_"
    problems = unknown_variables(cls, prefix, os.environ)
    from_file = _read_file(os.environ.get(f"{prefix}CONFIG", ""), f"{prefix}CONFIG")
    from_environment = _read_environment(cls, prefix)
    try:
        settings = cls(**_over_defaults(cls, _merge(from_file, from_environment)))
    except ValidationError as error:
        problems += [_describe(cls, prefix, dict(problem)) for problem in error.errors(include_input=False)]
    if problems:
        raise WrongSettings(problems)
    return settings


def variable_names(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The environment variables that set a field, nested ones too."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        yield variable
        for nested in _models_in(field.annotation):
            yield from variable_names(nested, variable + DELIMITER)


def unknown_variables(cls: type[ServiceSettings], prefix: str, environment: Mapping[str, str]) -> list[str]:
    """One line for each variable under the prefix that sets nothing."""
    known = [*variable_names(cls, prefix), f"{prefix}CONFIG"]
    free = tuple(_mapping_prefixes(cls, prefix))
    problems = []
    for name in sorted(environment):
        upper = name.upper()
        if upper.startswith(prefix) and upper not in known and not (free and upper.startswith(free)):
            problems.append(f"{name}: no such setting{_near(upper, known)}")
    return problems


def _mapping_prefixes(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Below a field that is a mapping every name is allowed."""
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}{DELIMITER}"
        if typing.get_origin(field.annotation) is dict:
            yield variable
        for nested in _models_in(field.annotation):
            yield from _mapping_prefixes(nested, variable)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The nested models that the environment can reach by name: the field's own, or its alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (list, tuple, dict, set, frozenset):
        return []
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def _read_file(path: str, variable: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongSettings([f"{variable}: cannot read {path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSettings([f"{variable}: {path} is not TOML: {error}"]) from error


def _read_environment(cls: type[ServiceSettings], prefix: str) -> dict[str, Any]:
    source = EnvSettingsSource(
        cls, case_sensitive=False, env_prefix=prefix, env_nested_delimiter=DELIMITER, env_ignore_empty=True
    )
    try:
        return source()
    except SettingsError as error:
        raise WrongSettings([f"{prefix}*: {error} (lists and tables are given as JSON)"]) from error


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _over_defaults(cls: type[ServiceSettings], given: dict[str, Any]) -> dict[str, Any]:
    """A nested model that is set in part keeps the rest of this class's default, not of the model's own."""
    whole = dict(given)
    for name, value in given.items():
        field = cls.model_fields.get(name)
        if field is not None and isinstance(field.default, BaseModel) and isinstance(value, dict):
            whole[name] = _merge(field.default.model_dump(exclude_unset=True), value)
    return whole


def _describe(cls: type[ServiceSettings], prefix: str, problem: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    variable = prefix + DELIMITER.join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "extra_forbidden":
        return f"{path}: no such setting{_near(variable, list(variable_names(cls, prefix)))}"
    if not path:
        return str(problem["msg"])
    return f"{path}: {problem['msg']} (set it with {variable} or in the TOML file)"


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
