"""Forged documents are refused by the step that verifies them, or nothing of them goes on but what the partner signed."""

import time
from collections import Counter
from datetime import UTC, datetime

import documents
import pytest
from attacker import Forger
from soap_rig import Rig

from bus.errors import Rejected
from bus.exchange import Exchange
from bus.message import SENDER, Message
from bus.octets import whole
from bus.steps import verify

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_SECONDS = 2.0
#: Of all forgeries these few only may pass, as what the partner signed: they change nothing that a signature covers.
MOST_HARMLESS = 63


def proved(rig: Rig, profile: str, body: bytes) -> bytes:
    """What a route with ``verify:`` goes on with. Raises Rejected."""
    options = {"profile": profile} | ({"element": documents.PLACE} if profile == "xmldsig-by-id" else {})
    step = verify.build(verify.Options.model_validate(options), rig.site)
    message = Message("1", {SENDER: "unit"}, body)
    return whole(step(Exchange(message, message, "documents", datetime.now(UTC))).message.body)


async def test_nothing_but_what_was_signed_goes_on(guarded: Rig, forger: Forger) -> None:
    """Each forgery is refused with 5.6 or 5.7 in time; what is not refused is, octet for octet, what the partner signed."""
    counts, harmless, wrong = Counter[str](), Counter[str](), []
    right: dict[bytes, bytes] = {}
    for case in documents.documents(forger, datetime.now(UTC)):
        if case.honest not in right:
            right[case.honest] = proved(guarded, case.profile, case.honest)
        counts[case.profile] += 1
        began = time.process_time()
        try:
            went_on = proved(guarded, case.profile, case.body)
        except Rejected as refused:
            if not refused.code.startswith(("5.6", "5.7")):
                wrong.append(f"{case.profile}, {case.name}: {refused}")
        else:
            harmless[f"{case.profile}, {case.name}"] += 1
            if went_on != right[case.honest]:
                wrong.append(f"{case.profile}, {case.name}: accepted")
        if time.process_time() - began > MOST_SECONDS:
            wrong.append(f"{case.profile}, {case.name}: too slow")
    assert "\n".join(wrong) == ""
    assert sum(harmless.values()) <= MOST_HARMLESS, "\n".join(harmless)
    assert all(counts[profile] >= least for profile, least in documents.LEAST.items()), counts
