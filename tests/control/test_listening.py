"""Where the API may listen, how it is encrypted, and how many may come in."""

from __future__ import annotations

import ssl
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from console.daemon import Daemon
from control import doors
from control.address import read_address
from control.listening import SHORTEST_TOKEN, TOKEN_FILE, Listen, token_of
from control.server import ControlServer
from runtime.settings import load_settings
from tests.control.fake_steering import STATUS, FakeSteering
from tests.control.visitor import PATIENCE_S, Visitor, nobody, program, serving
from trading.errors import ConfigError


def a_certificate(folder: Path) -> Listen:
    """Files of a fresh self-signed certificate, and what listens with them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rad")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    return Listen(cert=cert_file, key=key_file)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "8.8.8.8", "2001:db8::1", "rad.example.com", "", "127.1"]
)
def test_beyond_this_machine_nothing_listens_unencrypted(
    steering: FakeSteering, tmp_path: Path, host: str
) -> None:
    """Refused before a socket is made, with what may be done instead; a name may lead anywhere."""
    server = ControlServer(steering, data_dir=tmp_path, listen=Listen(host=host))
    with pytest.raises(ConfigError, match=r"control\.cert.*ssh -L.*control\.unencrypted"):
        server.start()
    assert not server.alive
    assert read_address(tmp_path) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_this_machine_is_no_matter(host: str) -> None:
    """Nobody reads along on the loopback."""
    Listen(host=host).check()


def test_it_can_be_said_out_loud(steering: FakeSteering, tmp_path: Path) -> None:
    """Behind a proxy that encrypts, for instance."""
    with serving(steering, tmp_path, listen=Listen(host="0.0.0.0", unencrypted=True)) as server:
        assert program(server).get("/api/status").status == 200


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"host": "0.0.0.0"}, r'control\.host.*"0\.0\.0\.0" reaches beyond this machine'),
        ({"cert": "c.pem"}, r"control\.key.*is missing"),
        ({"key": "k.pem"}, r"control\.cert.*is missing"),
    ],
)
def test_the_settings_say_so_too(said: dict[str, str], fault: str) -> None:
    """`config check` finds what the server would refuse."""
    with pytest.raises(ConfigError, match=fault):
        load_settings(overrides={"control": said}, environ={})
    settings = load_settings(overrides={"control": {"cert": "c.pem", "key": "k.pem", "host": "::"}}, environ={})
    assert settings.control_file(settings.control.cert) == Path(__file__).parents[2] / "c.pem"


def by_tls(server: ControlServer, path: str) -> int:
    """Ask as a browser does that trusts the certificate; return the status."""
    assert server.address is not None
    to = urlsplit(server.address.url)
    assert to.scheme == "https"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", to.port, timeout=PATIENCE_S, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {server.address.token}"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_browsers_come_encrypted_and_the_command_line_by_its_own_door(
    steering: FakeSteering, tmp_path: Path, host: str
) -> None:
    """That one is open on this machine alone, and asks for the token as well."""
    listen = replace(a_certificate(tmp_path), host=host)
    with serving(steering, tmp_path, listen=listen) as server:
        assert by_tls(server, "/api/status") == 200
        assert Daemon(tmp_path).ask("status") == STATUS
        assert server.address is not None
        assert server.address.door.startswith("http://127.0.0.1:")
        own = Visitor(replace_url(server))
        assert own.get("/api/status").status == 401
        assert own.get("/healthz").status == 200


def replace_url(server: ControlServer) -> Any:
    """The server as one knows it who comes in by its own programs' door."""
    assert server.address is not None
    return SimpleNamespace(address=replace(server.address, url=server.address.door))


@pytest.mark.parametrize("broken", ["cert.pem", "key.pem"])
def test_a_certificate_that_cannot_be_used_is_a_clear_error(
    steering: FakeSteering, tmp_path: Path, broken: str
) -> None:
    """Not there, or no PEM."""
    listen = a_certificate(tmp_path)
    (tmp_path / broken).write_text("nonsense")
    with pytest.raises(ConfigError, match=r"control\.cert, control\.key: cannot be used"):
        ControlServer(steering, data_dir=tmp_path, listen=listen).start()
    (tmp_path / broken).unlink()
    with pytest.raises(ConfigError, match=r"control\.cert, control\.key: cannot be used \(No such file"):
        ControlServer(steering, data_dir=tmp_path, listen=listen).start()


def test_the_token_is_made_once_and_read_by_the_owner_alone(tmp_path: Path) -> None:
    """It is the same from run to run; one that others could read is theirs no more from the next start on."""
    token = token_of(tmp_path / "data")
    file = tmp_path / "data" / TOKEN_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(token) >= SHORTEST_TOKEN
    file.chmod(0o644)
    assert token_of(tmp_path / "data") == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    assert token_of(tmp_path / "data") != token


@pytest.mark.parametrize("text", ["", "short", "é" * 40, "a" * 20 + "\x00" * 20])
def test_what_is_no_token_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    """An empty file would let everybody in."""
    (tmp_path / TOKEN_FILE).write_text(text)
    with pytest.raises(ConfigError, match="delete it, and RAD makes a new one"):
        token_of(tmp_path)


def test_a_bounded_number_comes_in(
    steering: FakeSteering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is one too many is turned away at once; when one leaves there is room."""
    monkeypatch.setattr(doors, "MOST_CONNECTIONS", 8)
    with serving(steering, tmp_path) as server:
        inside = [nobody(server) for _ in range(8)]
        for visitor in inside:
            assert visitor.get("/healthz").status == 200        # and stays connected
        with pytest.raises(ConnectionError):
            nobody(server).get("/healthz")
        assert inside[0].get("/healthz").status == 200
        del visitor, inside[1:]
        while True:                                             # until the server has seen them go
            try:
                assert nobody(server).get("/healthz").status == 200
                break
            except ConnectionError:
                continue


def test_a_crowd_at_the_door_keeps_nobody_from_steering_by_hand(
    steering: FakeSteering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection counts from its first moment, not from the end of its handshake, and not for ever; RAD's own
    programs have a door of their own."""
    monkeypatch.setattr(doors, "MOST_CONNECTIONS", 4)
    for module in ("control.doors", "control.server"):
        monkeypatch.setattr(f"{module}.HANDSHAKE_S", 0.5)
    with serving(steering, tmp_path, listen=a_certificate(tmp_path)) as server:
        silent = [nobody(server).connect() for _ in range(4)]
        for connection in silent:
            connection.connect()
        with pytest.raises(OSError):  # noqa: PT011 - cut off in whichever way the system words it
            by_tls(server, "/healthz")
        assert Daemon(tmp_path).tell("flatten")["paused"]
        while True:                                             # until their time to encrypt is over
            try:
                assert by_tls(server, "/healthz") == 200
                break
            except OSError:
                continue
        for connection in silent:
            connection.close()
