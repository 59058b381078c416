"""How many attacks there are of each kind: each kind's own test counts its cases, and this is the table of them."""

import documents
import exchanges
import framings
import packets
import pytest
import test_answers
import test_attacks
import test_packets

#: Every kind, and how many attacks of it its test demands at least.
TABLE = {
    **{f"SOAP door: {kind}": least for kind, least in test_attacks.LEAST.items()},
    **{f"socket: {kind}": least for kind, least in framings.LEAST.items()},
    **{f"VXP door: {kind}": least for kind, least in exchanges.LEAST.items()},
    **{f"document: {profile}": least for profile, least in documents.LEAST.items()},
    "edXML: attachment": test_packets.LEAST,
    "edXML: zip": len(packets.ZIPS) * len(test_packets.KINDS),
    "answer: reply": 2 * len(test_answers.ANSWERS),
    "answer: receipt": test_answers.LEAST_FORGERIES,
}


def test_the_corpus_is_as_large_as_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Five thousand attacks, and none of the kinds that are listed is missing."""
    with capsys.disabled():
        print("\n" + "\n".join(f"{kind:<28}{least:>6}" for kind, least in TABLE.items()) + f"\n{'together':<28}{sum(TABLE.values()):>6}")
    assert sum(TABLE.values()) >= 5_000
    assert set(test_attacks.LEAST) == set(test_attacks.KINDS)
    assert set(framings.LEAST) == set(framings.KINDS)
    assert set(exchanges.LEAST) == set(exchanges.KINDS)
    assert set(documents.LEAST) == set(documents.PROFILES)
