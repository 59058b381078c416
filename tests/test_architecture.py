"""The house's rule, read from one table: imports go strictly downward, and each third-party library has its homes."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Floor by module (a package's name stands for all of it). ``parts`` of one floor that may not import each other are separate names.
FLOORS: dict[str, int] = {
    # 0: words
    "bus.errors": 0,
    "bus.steady": 0,
    "bus.receipt": 0,
    "bus.delivery": 0,
    "bus.retry": 0,
    "bus.ids": 0,
    "bus.points": 0,
    "bus.plain": 0,
    "bus.quotas": 0,
    "bus.lexical": 0,
    "bus.notify": 0,
    "bus.beginning": 0,
    "bus.memo": 0,
    "bus.merkle": 0,
    "bus.folding": 0,
    "bus.durable": 0,
    "bus.regular": 0,
    "bus.sitefiles": 1,
    "bus.datadir": 1,
    # 1: tools over words
    "bus.xmlio": 1,
    "bus.mending": 1,
    "bus.ocsp": 1,
    "bus.certfiles": 1,
    "bus.names": 1,
    "bus.lists": 1,
    "bus.answers": 1,
    "bus.revocation": 1,
    "bus.trust": 1,
    "bus.pkcs11": 1,
    "bus.keyfiles": 1,
    "bus.methods": 1,
    "bus.signer": 1,
    "bus.keys": 1,
    "bus.pki": 1,
    "bus.log": 1,
    "bus.outlet": 1,
    "bus.ownership": 1,
    "bus.lock": 1,
    "bus.metrics": 1,
    "bus.tally": 1,
    "bus.conditions": 1,
    "bus.organisations": 1,
    "bus.octets": 1,
    "bus.offload": 1,
    "bus.outside": 1,
    "bus.sources": 1,
    "bus.amqp": 1,
    "bus.upgrade": 1,
    "bus.roles": 1,
    # 2: tools over tools
    "bus.resolver": 2,
    "bus.hollow": 2,
    "bus.message": 2,
    "bus.schemas": 2,
    "bus.schema_errors": 2,
    "bus.mime": 2,
    "bus.xop": 2,
    "bus.soap": 2,
    "bus.vxp": 2,
    "bus.signature": 2,
    "bus.edxml": 2,
    "bus.pdf": 2,
    "bus.xpath": 2,
    "bus.options": 2,
    "bus.breaker": 2,
    "bus.checkpoint": 2,
    "bus.asic": 2,
    # 3: the contracts between parts
    "bus.exchange": 3,
    "bus.endpoint": 3,
    "bus.site": 3,
    "bus.views": 3,
    # 4: parts; they never import each other
    "bus.steps": 4,
    "bus.store": 4,
    "bus.wakeup": 4,
    "bus.evidence": 4,
    "adapters": 4,
    # 5 to 7: what puts parts together
    "bus.route": 5,
    "bus.lanes": 5,
    "bus.ourselves": 5,
    "bus.audit_checkpoints": 5,
    "bus.proofs": 5,
    "bus.reconciling": 5,
    "bus.config": 6,
    "bus.audit": 6,
    "bus.node": 6,
    "bus.workers": 6,
    "bus.engine": 6,
    "bus.generation": 6,
    "bus.continuity": 6,
    "bus.housekeeping": 6,
    "bus.mailboxes": 6,
    "bus.responders": 6,
    "bus.refusals": 6,
    "bus.checkpointing": 6,
    "bus.stamping": 4,
    "bus.timestamps": 2,
    "bus.watch": 6,
    "bus.arriving": 6,
    "bus.http": 6,
    "bus.listeners": 6,
    "bus.health": 6,
    "bus.operators": 6,
    "bus.scaffold": 6,
    "bus.daemon": 7,
    "bus.cli.screen": 7,
    "sandbox": 8,
    "bus.cli": 9,
    "bus.__main__": 10,
}
#: Floors on which a module may import its own floor's other modules (tools build on tools).
OPEN_FLOORS = {0, 1, 2, 3, 6, 7, 8}
#: Third-party distribution -> the modules at home with it.
HOMES: dict[str, set[str]] = {
    "aiohttp": {"adapters", "bus.resolver", "bus.responders", "bus.stamping", "sandbox"},
    "alembic": {"bus.store"},
    "amqp": {"bus.amqp", "adapters"},
    "asn1crypto": {"bus.certfiles", "bus.names", "bus.timestamps", "bus.pdf", "bus.trust"},
    "cryptography": {
        "bus.answers",
        "bus.audit",
        "bus.audit_checkpoints",
        "bus.certfiles",
        "bus.evidence",
        "bus.keyfiles",
        "bus.keys",
        "bus.lists",
        "bus.methods",
        "bus.names",
        "bus.ocsp",
        "bus.pdf",
        "bus.pkcs11",
        "bus.pki",
        "bus.proofs",
        "bus.responders",
        "bus.revocation",
        "bus.signature",
        "bus.signer",
        "bus.steps",
        "bus.timestamps",
        "bus.trust",
        "sandbox",
    },
    "httptools": {"bus.http"},
    "kombu": {"bus.amqp", "bus.wakeup"},
    "lxml": {
        "bus.xmlio",
        "bus.mending",
        "bus.hollow",
        "bus.message",
        "bus.schemas",
        "bus.schema_errors",
        "bus.roles",
        "bus.soap",
        "bus.xop",
        "bus.xpath",
        "bus.views",
        "bus.signature",
        "bus.edxml",
        "bus.evidence",
        "bus.checkpoint",
        "bus.proofs",
        "bus.steps",
        "bus.route",
        "bus.config",
        "adapters",
        "sandbox",
    },
    "orjson": {"bus.log", "bus.health", "bus.store", "bus.vxp", "adapters", "bus.cli", "bus.cli.screen", "bus.audit_checkpoints", "sandbox"}
    | {"bus.proofs", "bus.outlet"},
    "pkcs11": {"bus.pkcs11"},
    "prometheus_client": {"bus.metrics"},
    "psycopg": {"bus.store"},
    "pybase64": {
        "bus.octets",
        "bus.edxml",
        "bus.soap",
        "bus.xop",
        "bus.mime",
        "bus.signature",
        "bus.vxp",
        "adapters",
        "bus.evidence",
        "sandbox",
    },
    "pydantic": {"bus.config", "bus.steps", "bus.options", "bus.xpath", "adapters"},
    "pyhanko": {"bus.pdf"},
    "pyhanko_certvalidator": {"bus.pdf", "bus.trust"},
    "rfc3161_client": {"bus.timestamps"},
    "rich": {"bus.cli", "bus.cli.screen", "sandbox"},
    "sqlalchemy": {"bus.store"},
    "structlog": {
        "bus.log",
        "bus.listeners",
        "bus.engine",
        "bus.lanes",
        "bus.housekeeping",
        "bus.responders",
        "bus.refusals",
        "bus.checkpointing",
        "bus.watch",
        "bus.http",
        "bus.conditions",
        "bus.tally",
        "bus.daemon",
        "bus.store",
        "bus.wakeup",
        "bus.workers",
        "adapters",
    },
    "typer": {"bus.cli", "bus.cli.screen"},
    "uvicorn": {"bus.http", "bus.daemon", "bus.listeners"},
    "uvloop": {"bus.daemon"},
    "xmlsec": {"bus.signature"},
    "xmlschema": {"bus.schema_errors"},
    "yaml": {"bus.config", "bus.scaffold"},
}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in ("bus", "adapters", "sandbox"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from bus import log` imports bus.log; `from bus.log import configure` imports bus.log.
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "(relative)"


def _home(name: str) -> str:
    """The longest entry of FLOORS that ``name`` lies in, or ""."""
    parts = name.split(".")
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in FLOORS), "")


def test_imports_go_downward() -> None:
    """Every import of ours points to a lower floor (or stays within its own part, or on an open floor)."""
    faults = []
    for name, path in _modules():
        home = _home(name)
        if name == "bus":
            continue
        if not home:
            faults.append(f"{path.relative_to(ROOT)}:1: {name} stands on no floor; give it one in FLOORS")
            continue
        for line, imported in _imports(path):
            if imported == "(relative)":
                faults.append(f"{path.relative_to(ROOT)}:{line}: imports are absolute")
                continue
            target = _home(imported)
            if not target or target == home:
                continue
            upward = FLOORS[target] > FLOORS[home] or (FLOORS[target] == FLOORS[home] and FLOORS[home] not in OPEN_FLOORS)
            if upward or (target == "adapters" and home.startswith("bus.")):
                faults.append(f"{path.relative_to(ROOT)}:{line}: {home} (floor {FLOORS[home]}) imports {target} (floor {FLOORS[target]})")
    assert faults == []


def test_steps_and_adapters_never_import_their_siblings() -> None:
    """One component, one file: a step knows no other step, an adapter no other adapter."""
    faults = []
    for name, path in _modules():
        family = next((family for family in ("bus.steps", "adapters") if name.startswith(family + ".")), None)
        if family:
            component = ".".join(name.split(".")[: family.count(".") + 2])
            for line, other in _imports(path):
                if other.startswith(f"{family}.") and not f"{other}.".startswith(f"{component}."):
                    faults.append(f"{path.relative_to(ROOT)}:{line}: {name} imports {other}")
    assert faults == []


def test_third_party_libraries_stay_at_home() -> None:
    """A dependency is used in the modules that own it, and every dependency has an entry in HOMES."""
    faults = []
    for name, path in _modules():
        for line, imported in _imports(path):
            top = imported.split(".", 1)[0]
            if top in {"bus", "adapters", "sandbox", "setuptools"} or top in sys.stdlib_module_names or imported == "(relative)":
                continue
            if _home(name) not in HOMES.get(top, set()):
                faults.append(f"{path.relative_to(ROOT)}:{line}: {name} imports {top}, whose homes are {sorted(HOMES.get(top, []))}")
    assert faults == []


def test_no_file_and_no_function_outgrows_the_house() -> None:
    """No file over 450 lines, no function over 60."""
    faults = []
    for _, path in _modules():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 450:
            faults.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno and node.end_lineno - node.lineno + 1 > 60:
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines")
    assert faults == []
