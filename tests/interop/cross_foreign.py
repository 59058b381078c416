"""Stacks behind a process that lives as long as the matrix: Java's (JDK, Santuario, WSS4J) and .NET's SignedXml on Mono."""

import base64
import os
import struct
import subprocess
import threading
from pathlib import Path
from typing import Self

from cross_stacks import Refused, Unsupported
from cross_templates import SIGNED_PROPERTIES, TOKEN, qualifying_properties, secured, x509_data
from cross_world import DOCUMENT, ENVELOPE, IDENTIFIED, IDENTIFIER, Algorithm, World
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

#: Where Debian puts its jars, and those that the packages libxml-security-java and libwss4j-java bring.
JARS = Path("/usr/share/java")
CLASS_PATH = ("xmlsec.jar", "wss4j.jar", "commons-logging.jar", "slf4j-api.jar", "slf4j-nop.jar", "commons-codec.jar")
#: Where Debian's simplesamlphp carries the library.
XMLSECLIBS = Path("/usr/share/simplesamlphp/vendor/robrichards/xmlseclibs")
_START_SECONDS, _ANSWER_SECONDS = 120, 60


class Server:
    """A child process that answers frames on its standard output; ended by closing its standard input."""

    def __init__(self, command: list[str], **environment: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env={**os.environ, **environment}, **pipes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, *fields: bytes | str) -> bytes:
        """What the work gives. Raises Refused or Unsupported with the stack's reason."""
        octets = [field.encode() if isinstance(field, str) else field for field in fields]
        frame = struct.pack(">i", len(octets)) + b"".join(struct.pack(">i", len(one)) + one for one in octets)
        # What does not answer is ended, and then found to have ended.
        limit = threading.Timer(_ANSWER_SECONDS, self._process.kill)
        limit.start()
        try:
            self._process.stdin.write(frame)
            self._process.stdin.flush()
            letter, length = struct.unpack(">ci", self._read(5))
            answer = self._read(length)
        finally:
            limit.cancel()
        if letter == b"A":
            return answer
        raise (Unsupported if letter == b"U" else Refused)(answer.decode())

    def _read(self, count: int) -> bytes:
        octets = self._process.stdout.read(count)
        if len(octets) != count:
            raise EOFError("the foreign process ended")
        return octets


def java(directory: Path) -> Server:
    """The Java stacks, compiled into ``directory`` and started."""
    path = ":".join(str(JARS / name) for name in CLASS_PATH)
    source = Path(__file__).parent / "ForeignStacks.java"
    compiling = ["javac", "-nowarn", "-d", str(directory), "-cp", path, str(source)]
    subprocess.run(compiling, check=True, capture_output=True, timeout=_START_SECONDS)
    # One processor's worth of JVM: the machine has other work.
    return Server(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", f"{directory}:{path}", "ForeignStacks"])


def mono(directory: Path) -> Server:
    """.NET's SignedXml, compiled into ``directory`` and started on Mono."""
    program = directory / "signed.exe"
    compiling = ["mcs", f"-out:{program}", "-r:System.Security.dll", str(Path(__file__).parent / "ForeignSignedXml.cs")]
    subprocess.run(compiling, check=True, capture_output=True, timeout=_START_SECONDS)
    # It makes a place for keys in the home directory.
    return Server(["mono", str(program)], HOME=str(directory))


def php() -> Server:
    """PHP's xmlseclibs, as Debian's simplesamlphp brings it."""
    return Server(["php", "-d", "display_errors=stderr", str(Path(__file__).parent / "foreign_xmlseclibs.php"), str(XMLSECLIBS)])


def version(name: str) -> str:
    """The version of a jar, which its file's other name states."""
    return next(JARS.glob(f"{name}-[0-9]*.jar")).stem.rpartition("-")[2]


class Jsr105:
    """javax.xml.crypto (JSR 105) by one provider: ``jdk`` or ``santuario``."""

    profiles = ("xmldsig", "by-id", "xades")

    def __init__(self, server: Server, provider: str, name: str) -> None:
        self._server, self._provider, self.name = server, provider, name

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        properties = qualifying_properties(identity, world) if profile == "xades" else ""
        document, uri = (IDENTIFIED, f"#{IDENTIFIER}") if profile == "by-id" else (DOCUMENT, "")
        methods = (algorithm.uri, algorithm.digest_uri)
        try:
            return self._server.ask("sign", self._provider, identity.pkcs8, identity.der, *methods, document, uri, properties)
        except Refused as error:
            raise AssertionError(f"{self.name} failed to sign with {algorithm.name}: {error}") from None

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        self._server.ask("verify", self._provider, world.identities[algorithm.key].der, signed, "")

    def verify_files(self, algorithm: Algorithm, world: World, signed: bytes, directory: Path) -> None:
        """The signature over files that lie in ``directory``."""
        self._server.ask("verify", self._provider, world.identities[algorithm.key].der, signed, f"{directory.as_uri()}/")


class Wss4j:
    """Apache WSS4J: whole envelopes, the signer named in one of the X.509 Token Profile's ways."""

    profiles = ("wss",)

    def __init__(self, server: Server, token: str) -> None:
        self._server, self.token = server, token
        self.name = f"wss4j {version('wss4j')} {token}"

    def sign(self, _profile: str, algorithm: Algorithm | None, world: World) -> bytes:
        """Without an algorithm by WSS4J's own choice."""
        identity = world.identities[algorithm.key if algorithm else "rsa"]
        return self.sign_envelope(ENVELOPE, identity.pkcs8, identity.der, algorithm)

    def sign_envelope(self, envelope: bytes, pkcs8: bytes, certificate: bytes, algorithm: Algorithm | None) -> bytes:
        """Any envelope, its Body and a new Timestamp signed; key and certificate in DER."""
        methods = (algorithm.uri, algorithm.digest_uri) if algorithm else ("", "")
        return self._server.ask("wss-sign", pkcs8, certificate, *methods, self.token, envelope)

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        self.verify_envelope(signed, world.identities[algorithm.key].der, world.authority.public_bytes(Encoding.DER))

    def log_in(self, user: str, password: str, kind: str) -> bytes:
        """The envelope with a UsernameToken; ``kind``: digest or text."""
        return self._server.ask("username", user, password, kind, ENVELOPE)

    def logged_in(self, password: str, envelope: bytes) -> str:
        """Who proves by a UsernameToken to know ``password``. Raises Refused."""
        return self._server.ask("username-verify", password, envelope).decode()

    def encrypt(self, certificate: bytes, method: str, envelope: bytes) -> bytes:
        """The envelope with its Body's content encrypted for the holder of the certificate's key (DER)."""
        return self._server.ask("encrypt", certificate, method, envelope)

    def decrypt(self, pkcs8: bytes, certificate: bytes, envelope: bytes) -> bytes:
        """The envelope as it was before it was encrypted. Raises Refused."""
        return self._server.ask("decrypt", pkcs8, certificate, envelope)

    def verify_envelope(self, envelope: bytes, certificate: bytes, authority: bytes) -> None:
        """Returns if Body and Timestamp are signed by the certificate that the authority vouches for (DER)."""
        self._server.ask("wss-verify", certificate, authority, envelope)


class SignedXml:
    """.NET's SignedXml: XML signatures, and by Ids the parts of envelopes and XAdES that its users add to it."""

    profiles = ("xmldsig", "by-id", "xades", "wss")

    def __init__(self, server: Server) -> None:
        self._server = server
        said = subprocess.run(["mono", "--version"], capture_output=True, text=True, timeout=_START_SECONDS, check=True)
        self.name = f"mono {said.stdout.split('version ')[1].split()[0]} SignedXml"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        private = identity.private
        if not isinstance(private, rsa.RSAPrivateKey):
            # Asked all the same, with the method and a key that it can read, so that the reason is its own.
            private = world.identities["rsa"].private
        document, references, held, place = DOCUMENT, " ", "", "ToTrinh"
        if profile == "by-id":
            document, references = IDENTIFIED, f"#{IDENTIFIER} "
        if profile == "xades":
            references, held = f" \n#foreign-properties {SIGNED_PROPERTIES}", qualifying_properties(identity, world)
        if profile == "wss":
            document, references, place = secured(identity, world), "#body \n#time ", "Security"
        key_info = TOKEN if profile == "wss" else x509_data(identity)
        return self._server.ask(
            "sign", _rsa_key_value(private), algorithm.uri, algorithm.digest_uri, document, references, key_info, held, place
        )

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        self._server.ask("verify", world.identities[algorithm.key].der, signed)


class Xmlseclibs:
    """PHP's xmlseclibs: whole documents, and parts of envelopes by wsu:Id."""

    profiles = ("xmldsig", "by-id", "wss")

    def __init__(self, server: Server) -> None:
        self._server = server
        changes = (XMLSECLIBS / "CHANGELOG.txt").read_text(encoding="utf-8").splitlines()
        self.name = f"xmlseclibs {next(line for line in changes if line[:1].isdigit()).split()[-1]} (php)"

    def sign(self, profile: str, algorithm: Algorithm, world: World) -> bytes:
        identity = world.identities[algorithm.key]
        document, ids, key_info, place = DOCUMENT, "", x509_data(identity), "ToTrinh"
        if profile == "by-id":
            document, ids = IDENTIFIED, IDENTIFIER
        if profile == "wss":
            document, ids, key_info, place = secured(identity, world), "body time", TOKEN, "Security"
        key = identity.key_file.read_bytes()
        return self._server.ask("sign", key, algorithm.uri, algorithm.digest_uri, document, ids, key_info, place)

    def verify(self, _profile: str, algorithm: Algorithm, world: World, signed: bytes) -> None:
        self._server.ask("verify", world.identities[algorithm.key].certificate_file.read_bytes(), signed)


def _rsa_key_value(key: rsa.RSAPrivateKey) -> str:
    """The private key as .NET reads it: XML with each number in base64, as long as the modulus or half of it."""
    numbers, size = key.private_numbers(), key.key_size // 8
    parts = {
        "Modulus": (numbers.public_numbers.n, size),
        "Exponent": (numbers.public_numbers.e, 3),
        "P": (numbers.p, size // 2),
        "Q": (numbers.q, size // 2),
        "DP": (numbers.dmp1, size // 2),
        "DQ": (numbers.dmq1, size // 2),
        "InverseQ": (numbers.iqmp, size // 2),
        "D": (numbers.d, size),
    }
    texts = (f"<{name}>{base64.b64encode(number.to_bytes(length, 'big')).decode()}</{name}>" for name, (number, length) in parts.items())
    return f"<RSAKeyValue>{''.join(texts)}</RSAKeyValue>"
