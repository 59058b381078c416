"""What routes.yaml may say under ``amqp:``."""

from pathlib import Path
from typing import Any

import amqp_bus
import pytest
from pydantic import ValidationError

from adapters.amqp import Adapter, Options
from bus.errors import ConfigurationError

COMMON = {"url": "amqp://unit:sesame@broker.example/bus", "partner": "unit"}
IN = COMMON | {"take": "documents"}
OUT = COMMON | {"routing-key": "documents"}


@pytest.mark.parametrize(
    "options", [IN, OUT, IN | {"answers": "receipts", "prefetch": 1}, COMMON | {"exchange": "letters", "timeout": "5s"}]
)
def test_either_direction_can_be_declared(options: dict[str, Any]) -> None:
    """In or out; the address, which holds a password, never shows."""
    assert "sesame" not in repr(Options.model_validate(options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (COMMON, "either 'take'"),
        (IN | OUT, "either 'take'"),
        (OUT | {"answers": "receipts"}, "belongs to an endpoint that takes messages in"),
        (IN | {"answers": "documents"}, "name another queue"),
        (IN | {"prefetch": 0}, "greater than or equal to 1"),
        (IN | {"url": "http://u:sesame@broker.example"}, "write amqp://"),
        (IN | {"timeout": "0s"}, "greater than"),
        (IN | {"queue": "documents"}, "Extra inputs"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(options: dict[str, Any], said: str) -> None:
    """Each mistake has its words, and none of them shows the password."""
    with pytest.raises(ValidationError, match=said) as refused:
        Options.model_validate(options)
    assert all("sesame" not in detail["msg"] for detail in refused.value.errors(include_url=False, include_input=False))


def test_an_address_in_the_open_is_a_fault_of_the_file(tmp_path: Path, certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``govbus check`` says where it stands and what to write; the password is not in the text."""
    in_the_open = amqp_bus.ROUTES.replace("url: env:BROKER, partner: unit", "url: 'amqp://u:sesame@broker.example/', partner: unit")
    monkeypatch.setattr(amqp_bus, "ROUTES", in_the_open)
    with pytest.raises(ConfigurationError, match=r"'url' is a secret: write env:NAME or file:PATH") as refused:
        amqp_bus.load(tmp_path / "site", certs, {"IN": "in", "OUT": "out", "BROKER": "amqp://h/", "ANSWERS": "answers"})
    assert "sesame" not in str(refused.value)


def test_the_adapter_is_documented_where_operators_look() -> None:
    """Every option has a description, and the adapter a docstring: ``govbus adapters`` prints them."""
    assert all(field.description for field in Options.model_fields.values())
    assert Adapter.__doc__
