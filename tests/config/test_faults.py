"""Every mistake in routes.yaml is found, all of them at once, each at its line and column with its cure."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bus import config
from bus.errors import ConfigurationError, Fault
from bus.keys import Keyring

Check = Callable[..., list[Fault]]

GOOD = """\
site: {organisation: 000.00.00.G14, name: Bộ Thông tin và Truyền thông}
partners:
  unit:   {codes: [000.00.01.G14], trust: trust/telecom-authority}
  office: {codes: [G22], trust: trust/government-office}
endpoints:
  documents:
    soap: {path: /soap/documents, security: {verify: wss-x509, sign: own/bus}}
  inbox:
    soap: {path: /soap/inbox, security: {verify: wss-x509, sign: own/bus}}
  exchange:
    vxp: {url: env:VXP_URL, system: 000.00.00.G14, secret: env:VXP_SECRET, partner: office, poll: 10s}
routes:
  - name: out
    from: documents
    gate:
      - authorize: {sender: From/OrganId}
      - validate: {schema: edxml/v1/document.xsd}
    choose:
      - {when: "To/OrganId = '000.00.01.G14'", to: [{inbox: To/OrganId}]}
      - {otherwise: [onward]}
    receipts: inbox
    retry: {first: 30s, factor: 2, most: 1h, give-up: 5d}
  - name: onward
    steps:
      - trace
      - transform: {stylesheet: edxml/v1/normalise.xsl}
    to: [exchange]
  - name: in
    from: exchange
    authorize: none
    because: the exchange relays everybody's letters
    to: [{inbox: To/OrganId}]
"""


def spoilt(*changes: tuple[str, str]) -> str:
    """GOOD with some texts replaced; each must be there exactly once."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_a_good_site_has_no_fault(check: Check) -> None:
    """What is right is not complained about."""
    assert check(GOOD) == []


def test_the_reference_site_is_good(check: Check, repository: Path) -> None:
    """The routes.yaml that a newcomer reads first is right."""
    assert check((repository / "routes.yaml").read_text(encoding="utf-8")) == []


def test_eight_different_mistakes_are_all_reported_at_once(check: Check) -> None:
    """One run names all eight, each with line, column and suggestion."""
    faults = check(
        spoilt(
            ("partners:", "partnres:\n  x: y\npartners:"),
            ("- transform:", "- trasnform:"),
            ("edxml/v1/document.xsd", "edxml/v1/documnt.xsd"),
            ("to: [exchange]", "to: [exchnage]"),
            ("partner: office", "partner: ofice"),
            ("first: 30s", "first: 30 seconds"),
            ("To/OrganId = '000.00.01.G14'", "To/OrganId == '000.00.01.G14'"),
            ("sign: own/bus}}\n  inbox", "sing: own/bus}}\n  inbox"),
        )
    )
    assert [str(fault).partition("; (known")[0].partition(" (known")[0] for fault in faults] == [
        "routes.yaml:2:1: unknown key 'partnres'; did you mean 'partners'?",
        "routes.yaml:9:64: unknown key 'sing'; did you mean 'sign'?",
        "routes.yaml:13:85: unknown partner 'ofice'; did you mean 'office'?",
        "routes.yaml:19:28: schema 'edxml/v1/documnt.xsd' does not exist; nearest is edxml/v1/document.xsd",
        "routes.yaml:21:16: \"To/OrganId == '000.00.01.G14'\" is not an XPath 1.0 expression that can be used here: Invalid expression",
        "routes.yaml:24:20: '30 seconds' is not a duration; write a number and one of ms, s, m, h, d, such as 30s, 1h or 5d",
        "routes.yaml:28:9: unknown step 'trasnform'; did you mean 'transform'?",
        "routes.yaml:29:10: unknown target 'exchnage'; did you mean 'exchange'?",
    ]


#: what is replaced, by what, the text that the fault points at, what it says
MISTAKES = {
    "unknown adapter": ("    vxp:", "    vpx:", "vpx:", "unknown adapter 'vpx'; did you mean 'vxp'?"),
    "unknown endpoint": ("from: documents", "from: docments", "docments", "unknown endpoint 'docments'; did you mean 'documents'?"),
    "unknown key name": (
        "sign: own/bus}}\n  inbox",
        "sign: own/bsu}}\n  inbox",
        "own/bsu",
        "unknown key 'own/bsu'; did you mean 'own/bus'?",
    ),
    "site key missing": ("Truyền thông}", "Truyền thông, key: own/seal}", "own/seal", "key 'own/seal' does not exist under certs/"),
    "unknown key in a nested block": ("give-up: 5d", "giveup: 5d", "giveup", "unknown key 'giveup'; did you mean 'give-up'?"),
    "duplicate key": (
        "receipts: inbox",
        "receipts: inbox\n    from: exchange",
        "from: exchange\n    retry",
        "duplicate key 'from'; it is already given in line 14",
    ),
    "missing key": (", name: Bộ Thông tin và Truyền thông", "", "site:", "'name' is missing: our name"),
    "missing stylesheet": (
        "normalise.xsl",
        "normalize.xsl",
        "edxml/v1/normalize",
        "stylesheet 'edxml/v1/normalize.xsl' does not exist; nearest is edxml/v1/normalise.xsl",
    ),
    "schema that is none": ("edxml/v1/document.xsd", "edxml/v1/agency.xsl", "edxml/v1/agency", "does not compile"),
    "schema outside the library": ("edxml/v1/document.xsd", "../../secret.xsd", "../../secret", "schema '../../secret.xsd' does not exist"),
    "function that XPath does not have": (
        "sender: From/OrganId",
        "sender: lower(From/OrganId)",
        "lower(",
        "is not an XPath 1.0 expression",
    ),
    "secret in the open": ("secret: env:VXP_SECRET", "secret: hunter2", "hunter2", "'secret' is a secret: write env:NAME or file:PATH"),
    "unset variable": (
        "env:VXP_SECRET",
        "env:VXP_SECERT",
        "env:VXP_SECERT",
        "VXP_SECERT is set neither in the environment nor in site.env; did you mean 'VXP_SECRET'?",
    ),
    "missing file": (
        "env:VXP_SECRET",
        "file:secrets/vxp",
        "file:secrets/vxp",
        "'file:secrets/vxp' cannot be read: No such file or directory",
    ),
    "missing trust directory": ("trust/telecom-authority", "trust/telecom", "trust/telecom", "certs/trust/telecom does not exist"),
    "not a code": ("[000.00.01.G14], trust", "[Cục Viễn thông], trust", "Cục Viễn", "is not an organisation code"),
    "a code of two partners": (
        "[G22]",
        "[G22, 000.00.01.G14]",
        "000.00.01.G14], trust: trust/gov",
        "code '000.00.01.G14' already belongs to partner 'unit'",
    ),
    "wrong type": ("factor: 2", "factor: twice", "twice", "'factor' must be a number"),
    "out of range": ("factor: 2", "factor: 0.5", "0.5", "'factor' must be at least 1"),
    "two adapters": ("    vxp:", "    soap: {path: /x}\n    vxp:", "soap: {path: /x}", "must be one adapter with its options"),
    "options that contradict": (
        "{path: /soap/inbox, ",
        "{path: /soap/inbox, url: 'https://a.example', ",
        "soap: {path: /soap/inbox",
        "give either 'path' (we serve) or 'url' (we call)",
    ),
    "target that cannot send": (
        "to: [exchange]",
        "to: [inbox]",
        "inbox]",
        "endpoint 'inbox' cannot send; write {inbox: To/OrganId} to put it into mailboxes",
    ),
    "mailbox where there is none": (
        "[{inbox: To/OrganId}]}",
        "[{exchange: To/OrganId}]}",
        "exchange: To",
        "endpoint 'exchange' has no mailboxes",
    ),
    "receipts without mailbox": ("receipts: inbox", "receipts: exchange", "exchange\n    retry", "endpoint 'exchange' has no mailboxes"),
    "otherwise not last": (
        "      - {otherwise: [onward]}",
        "      - {otherwise: [onward]}\n      - {when: Subject, to: [onward]}",
        "{when: Subject",
        "never reached: 'otherwise' stands above it",
    ),
    "branch twice": (
        "      - {otherwise: [onward]}",
        "      - {when: \"To/OrganId = '000.00.01.G14'\", to: [onward]}\n      - {otherwise: [onward]}",
        "{when: \"To/OrganId = '000.00.01.G14'\", to: [onward]}",
        "never reached: a branch above has the same 'when'",
    ),
    "branch without target": (", to: [{inbox: To/OrganId}]}\n", "}\n", '{when: "To', "a branch is {when: …, to: […]} or {otherwise: […]}"),
    "route that leads nowhere": ("    to: [exchange]\n", "", "name: onward", "route 'onward' leads nowhere"),
    "deadline without mailbox": (
        "    to: [exchange]\n",
        "    to: [exchange]\n    confirm-within: 2d\n",
        "confirm-within: 2d",
        "'confirm-within' has no effect: this route puts nothing into a mailbox",
    ),
    "lane without width": ("poll: 10s}", "poll: 10s, width: 0}", "0}\nroutes", "'width' must be at least 1"),
    "route that goes round": (
        "to: [exchange]",
        "to: [exchange, onward]",
        "onward]\n  - name: in",
        "routes go round in a circle: onward → onward",
    ),
    "route that is never reached": (
        "  - name: in\n",
        "  - {name: late, from: documents, to: [exchange]}\n  - name: in\n",
        "late",
        "'out' above takes everything from 'documents'",
    ),
    "internal route that nobody uses": (
        "otherwise: [onward]",
        "otherwise: [exchange]",
        "onward\n",
        "it has no 'from' and no route sends to it",
    ),
    "target that takes from an endpoint": (
        "otherwise: [onward]",
        "otherwise: [onward, in]",
        "in]}",
        "only a route without 'from' can be a target",
    ),
    "two routes of one name": ("name: in", "name: out", "out\n    from: exchange", "there is already a route 'out'"),
    "route named like an endpoint": ("name: onward", "name: inbox", "inbox\n    steps", "'inbox' is an endpoint's name"),
    "step after the signature": ("      - trace\n", "      - sign\n      - trace\n", "sign\n", "'sign' must be the last of 'steps'"),
    "signature at the gate": ("    gate:\n", "    gate:\n      - sign\n", "sign\n", "'sign' must be the last of 'steps'"),
    "unused endpoint": (
        "endpoints:\n",
        "endpoints:\n  spare: {soap: {path: /soap/spare, security: {verify: mtls}}}\n",
        "spare: {soap",
        "endpoint 'spare' is not used by any route",
    ),
    "step without its option": ("{stylesheet: edxml/v1/normalise.xsl}", "{}", "transform: {}", "'stylesheet' is missing"),
    "step that needs one of two": ("{sender: From/OrganId}", "{}", "authorize: {}", "'authorize' needs 'sender', 'receivers' or both"),
    "no reason": ("    because: the exchange relays everybody's letters\n", "", "authorize: none", "'authorize: none' needs its reason"),
    "blank reason": (
        "because: the exchange relays everybody's letters",
        "because: ' '",
        "authorize: none",
        "'authorize: none' needs its reason",
    ),
    "reason for nothing": ("    authorize: none\n", "", "because: the", "'because' is the reason of 'authorize: none', which is not there"),
    "authorize that is neither": ("authorize: none", "authorize: off", "off", "'authorize' must be"),
    "authorize said twice": (
        "    authorize: none\n",
        "    authorize: none\n    gate: [authorize: {sender: From/OrganId}]\n",
        "authorize: none",
        "contradicts the gate's own 'authorize'",
    ),
    "authorize where nothing comes in": (
        "  - name: onward\n",
        "  - name: onward\n    authorize: none\n    because: it is ours\n",
        "authorize: none\n    because: it is",
        "'authorize' has no effect on a route without 'from'",
    ),
    "no list": ("    to: [exchange]\n", "    to: [exchange]\n    gate: open\n", "open", "'gate' must be a list"),
    "a tag": ("name: in", "name: !python/name:os.system in", "!python", "means nothing here"),
}


def place(text: str, snippet: str) -> tuple[int, int]:
    """Line and column of a text that is there once, or of its last occurrence."""
    before = text[: text.rindex(snippet)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_found_where_it_is(check: Check, mistake: str) -> None:
    """Line, column and words of every kind of mistake."""
    old, new, snippet, words = MISTAKES[mistake]
    text = spoilt((old, new))
    assert [(fault.line, fault.column) for fault in check(text) if words in fault.text] == [place(text, snippet)]


def test_one_mistake_casts_no_shadows(check: Check) -> None:
    """A bad value brings its own fault and no others that follow from it."""
    shadowing = {"route named like an endpoint"}  # the route that leads there can no longer find it
    counts = {mistake: len(check(spoilt((old, new)))) for mistake, (old, new, _, _) in MISTAKES.items() if mistake not in shadowing}
    assert counts == dict.fromkeys(counts, 1)


def test_faults_never_show_a_secret(check: Check) -> None:
    """However wrong the rest is, a value fetched from outside is not printed."""
    secret = "s3cr3t-value-of-the-environment"
    environment = {"VXP_URL": secret, "VXP_SECRET": secret}
    assert secret not in "\n".join(map(str, check(spoilt(("poll: 10s", "pol: 10s")), environment)))


def test_a_key_that_ends_soon_is_a_warning_and_an_ended_one_a_fault(check: Check, reference: Path) -> None:
    """Thirty days ahead the operator is told; afterwards the site does not start."""
    ends = Keyring.load(reference / "certs", {}).signer("own/bus").certificate.not_valid_after_utc

    def said(at: datetime) -> list[tuple[int, bool, str]]:
        return [(fault.line, fault.warning, fault.text) for fault in check(GOOD, now=at) if "own/bus" in fault.text]

    assert said(ends - timedelta(days=31)) == []
    assert said(ends - timedelta(days=9, hours=1)) == [(7, True, f"key 'own/bus' expires {ends:%Y-%m-%d}, in 9 days")]
    assert said(ends + timedelta(days=1)) == [(7, False, f"key 'own/bus' expired on {ends:%Y-%m-%d}; replace it")]


def test_what_is_no_yaml_says_where(check: Check) -> None:
    """A syntax error is one fault at its place."""
    (fault,) = check(GOOD.replace("codes: [G22]", "codes: [G22"))
    assert (fault.line, "not YAML" in fault.text) == (4, True)


def test_a_directory_that_is_no_site_is_told_how_to_become_one(tmp_path: Path) -> None:
    """No traceback for a wrong --site."""
    (fault,) = config.check(tmp_path, environment=os.environ, clock=lambda: datetime.now(UTC))
    assert "govbus init" in fault.text


def test_start_up_refuses_what_check_reports(make: Callable[[str], Path]) -> None:
    """One code path: ``load`` raises with exactly the faults that ``check`` lists."""
    root = make(spoilt(("factor: 2", "factor: twice"), ("to: [exchange]", "to: [exchnage]")))
    arguments = {"environment": {"VXP_URL": "http://h", "VXP_SECRET": "s"}, "clock": lambda: datetime.now(UTC)}
    with pytest.raises(ConfigurationError) as caught:
        config.load(root, **arguments)  # type: ignore[arg-type]
    assert list(caught.value.faults) == config.check(root, **arguments)  # type: ignore[arg-type]


def test_a_hub_whose_letters_would_all_be_refused_is_warned_of(check: Check) -> None:
    """Sites of before have no ``authorize: none`` on what the exchange relays: every letter would be refused without a word from us."""
    (fault,) = check(spoilt(("    authorize: none\n    because: the exchange relays everybody's letters\n", "")))
    assert fault.warning
    assert "write 'authorize: none'" in fault.text
