"""The keys under ``vxp:`` in routes.yaml."""

from datetime import timedelta
from typing import Self

from pydantic import Field, SecretStr, model_validator

from bus import vxp
from bus.options import Duration, Model, OrganCode, PartnerName, PushOptions

_POSITIVE = timedelta(0)


class System(Model):
    """A system that may call this hub."""

    secret: SecretStr = Field(description="the secret it signs with: env:NAME or file:PATH")
    partner: PartnerName = Field(description="the partner whose mailbox and codes it uses")


class Options(PushOptions):
    """Either ``url`` with its account (client of a hub) or ``path`` with its systems (hub)."""

    url: str = Field("", pattern=r"^(https?://\S+|env:\w+)?$", description="client: the hub's address; /<operation> is appended")
    system: OrganCode | None = Field(None, description="client: our systemId at the hub, usually the site's organisation code")
    secret: SecretStr | None = Field(None, description="client: the secret for that systemId: env:NAME or file:PATH")
    partner: PartnerName | None = Field(None, description="client: the partner the hub's messages count as sent by; its trust/ checks TLS")
    poll: Duration = Field(timedelta(seconds=10), gt=_POSITIVE, description="client: pause between two rounds of fetching")
    timeout: Duration = Field(timedelta(seconds=60), gt=_POSITIVE, description="client: most time for one request")
    hash_file: vxp.HashForm = Field("sdk", description="client: digest of a sent file without (sdk) or with (standard) zero padding")
    service_type: str = Field("eDoc", pattern=r"^\w+$", description="client: the servicetype parameter")
    path: str = Field("", pattern=r"^(/[\w.~/-]*[\w.~-])?$", description="hub: where its operations are mounted, such as /vxp/exchange")
    systems: dict[OrganCode, System] = Field({}, description="hub: the systems that may call, by systemId")
    skew: Duration = Field(
        timedelta(hours=24),
        description="hub: how far a timestamp may be from our clock; generous, because the SDK makes one and re-uses it",
    )

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if bool(self.url) == bool(self.path):
            raise ValueError("give either 'url' (client of a hub) or 'path' (hub)")
        missing = [name for name in ("system", "secret", "partner") if getattr(self, name) is None]
        if self.url and missing:
            raise ValueError(f"a client of a hub also needs: {', '.join(missing)}")
        if self.path and not self.systems:
            raise ValueError("a hub needs at least one entry under 'systems': nobody is let in unproven")
        return self
