"""What routes.yaml may say under ``vxp:``."""

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.vxp import Adapter, Options

CLIENT = {"url": "https://hub.example", "system": "000.00.00.G14", "secret": "s", "partner": "government-office"}
HUB = {"path": "/vxp/exchange", "systems": {"000.00.00.G14": {"secret": "s", "partner": "ministry"}}}


@pytest.mark.parametrize("options", [CLIENT, HUB, CLIENT | {"hash-file": "standard", "poll": "1m", "service-type": "eDoc"}])
def test_either_side_can_be_declared(options: dict[str, Any]) -> None:
    """A client or a hub; secrets never show."""
    assert "'s'" not in repr(Options.model_validate(options))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either 'url'"),
        (CLIENT | HUB, "either 'url'"),
        ({"url": "https://hub.example", "system": "000.00.00.G14"}, "also needs: secret, partner"),
        ({"path": "/vxp"}, "nobody is let in unproven"),
        (CLIENT | {"hash-file": "md5"}, "'sdk' or 'standard'"),
        (CLIENT | {"poll": "0s"}, "greater than"),
        (CLIENT | {"url": "ftp://hub.example"}, "pattern"),
        (CLIENT | {"pol": "10s"}, "Extra inputs"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(options: dict[str, Any], said: str) -> None:
    """Each mistake has its words."""
    with pytest.raises(ValidationError, match=said):
        Options.model_validate(options)


def test_the_adapter_is_documented_where_operators_look() -> None:
    """Every option has a description, and the adapter a docstring: ``govbus adapters`` prints them."""
    assert all(field.description for field in Options.model_fields.values())
    assert Adapter.__doc__
