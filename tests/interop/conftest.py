"""The world of the matrix and the foreign stacks. A stack that is not installed skips its tests; in CI it must be there."""

import os
import shutil
from collections.abc import Callable, Iterator

import cross_foreign
import cross_stacks
import cross_world
import pytest
from cross_foreign import Server
from cross_stacks import Stack
from cross_world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Keys, certificates and trust, made for this run."""
    return cross_world.made(tmp_path_factory.mktemp("cross"))


def missing(what: str) -> None:
    """The end of a test whose foreign stack is not here."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed; .ci/run installs it")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One JVM with the JDK's, Santuario's and WSS4J's signatures."""
    jars = [cross_foreign.JARS / name for name in cross_foreign.CLASS_PATH]
    if shutil.which("javac") is None or not all(jar.exists() for jar in jars):
        missing("Java with Santuario and WSS4J (packages openjdk-17-jdk-headless, libxml-security-java, libwss4j-java)")
    with cross_foreign.java(tmp_path_factory.mktemp("java")) as server:
        yield server


@pytest.fixture(scope="session")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """.NET's SignedXml on Mono."""
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        missing("Mono (packages mono-mcs, libmono-system-security4.0-cil)")
    with cross_foreign.mono(tmp_path_factory.mktemp("mono")) as server:
        yield server


@pytest.fixture(scope="session")
def php() -> Iterator[Server]:
    """PHP with xmlseclibs."""
    if shutil.which("php") is None or not cross_foreign.XMLSECLIBS.exists():
        missing("PHP with xmlseclibs (packages php-cli, php-xml, simplesamlphp)")
    with cross_foreign.php() as server:
        yield server


@pytest.fixture(scope="session")
def openssl() -> str:
    """The openssl program."""
    found = shutil.which("openssl")
    if found is None:
        missing("openssl (package openssl)")
    return found


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Callable[[str], Stack]:
    """The stack of that name, started where it needs a process; one for the session."""
    stacks: dict[str, Stack] = {}

    def get(name: str) -> Stack:
        if name not in stacks:
            program, _, token = name.partition(" ")
            stacks[name] = makers[program](token)
        return stacks[name]

    def with_java(provider: str) -> Stack:
        server = request.getfixturevalue("java")
        version = server.ask("version").decode() if provider == "jdk" else cross_foreign.version("xmlsec")
        return cross_foreign.Jsr105(server, provider, f"{provider} {version}")

    makers: dict[str, Callable[[str], Stack]] = {
        "xmlsec1": lambda _: cross_stacks.Xmlsec1(request.getfixturevalue("xmlsec1")),
        "python-xmlsec": lambda _: cross_stacks.PythonXmlsec(),
        "signxml": lambda _: cross_stacks.Signxml(),
        "openssl": lambda _: cross_stacks.Openssl(request.getfixturevalue("openssl")),
        "zeep": cross_stacks.Zeep,
        "jdk": lambda _: with_java("jdk"),
        "santuario": lambda _: with_java("santuario"),
        "mono": lambda _: cross_foreign.SignedXml(request.getfixturevalue("mono")),
        "xmlseclibs": lambda _: cross_foreign.Xmlseclibs(request.getfixturevalue("php")),
        "wss4j": lambda token: cross_foreign.Wss4j(request.getfixturevalue("java"), token),
    }
    return get
