"""The keys under ``amqp:`` in routes.yaml."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from bus.amqp import check_url
from bus.options import Duration, PartnerName, PushOptions

#: AMQP's short strings.
_LONGEST_NAME = 255


def _address(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    # One that was not found outside has a fault of its own.
    if not text.startswith(("env:", "file:")):
        check_url(text)
    return value


class Options(PushOptions):
    """``take`` (in) or ``exchange`` and ``routing-key`` (out)."""

    url: Annotated[SecretStr, AfterValidator(_address)] = Field(
        description="the broker: amqp://user:password@host/vhost, amqps:// for TLS, several nodes joined by ';'; env:NAME or file:PATH"
    )
    partner: PartnerName = Field(description="the partner the queue belongs to: what is taken counts as sent by it; its trust/ checks TLS")
    take: str = Field("", max_length=_LONGEST_NAME, description="in: the queue to take messages from; declared, quorum, if it is not there")
    answers: str = Field("", max_length=_LONGEST_NAME, description="in: a queue for our answers: receipts as XML, refusals as JSON")
    prefetch: int = Field(8, ge=1, le=1000, description="in: messages worked side by side; 1 keeps the queue's order strictly")
    exchange: str = Field(
        "", max_length=_LONGEST_NAME, description="out: the exchange to publish to; without it the routing-key is a queue"
    )
    routing_key: str = Field("", max_length=_LONGEST_NAME, description="out: the routing key, or the queue's name")
    timeout: Duration = Field(timedelta(seconds=30), gt=timedelta(0), description="most time for the broker to confirm one message")

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        sends = bool(self.exchange or self.routing_key)
        if bool(self.take) == sends:
            raise ValueError("give either 'take' (in) or 'exchange' and 'routing-key' (out)")
        if sends and self.answers:
            raise ValueError("'answers' belongs to an endpoint that takes messages in")
        if self.take and self.take == self.answers:
            raise ValueError("'answers' would be taken in again: name another queue")
        return self
