"""Deadlines: whatever the other side does, the caller is back in time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certifi
import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.deadline import Deadlines, deadline_pools
from runtime.resolving import Resolver
from tests.client.clients import BTC, a_client, an_order, listing
from tests.client.scripted_server import Asked, always, envelope, scripted_server
from tests.crowd import crowd
from trading import errors
from trading.facts import Priority

DEADLINE_S = 0.3
GRACE_S = 2.7                     # a crowded machine's; without a deadline each call here lasts longer by far
LONG_S = 20.0


@contextmanager
def in_time() -> Iterator[None]:
    """The block ends within the deadline and a grace; a bound on behaviour, no figure."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < DEADLINE_S + GRACE_S


def black_hole(ended: threading.Event) -> Callable[[Asked, socket.socket], None]:
    """Take the request and say nothing."""
    return lambda _asked, _peer: ended.wait(LONG_S) and None


def drip(text: bytes, ended: threading.Event) -> Callable[[Asked, socket.socket], None]:
    """Say *text* a byte at a time: no read ever times out."""
    def answer(_asked: Asked, peer: socket.socket) -> None:
        for byte in text:
            peer.sendall(bytes([byte]))
            if ended.wait(0.05):
                return

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "slow headers": HEAD + b"X-Slow: " + b"z" * 400,
    "slow body": HEAD + b"Content-Length: 400\r\n\r\n" + b" " * 400,
    "slow body to the end of the connection": HEAD + b"Connection: close\r\n\r\n" + b" " * 400,
    "slow chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 80,
}


@pytest.mark.parametrize("kind", [*SLOW, "black hole"])
def test_a_slow_exchange_holds_nobody(kind: str) -> None:
    """A query has learnt nothing, an order's outcome is unknown, both in time; then all goes on as before."""
    with scripted_server(always(b"")) as script:
        listing(script, {})
        with a_client(script.url, deadline_s=DEADLINE_S) as client:
            listed = script.answer
            script.answer = drip(SLOW[kind], script.ended) if kind in SLOW else black_hole(script.ended)
            with in_time(), pytest.raises(errors.ExchangeUnavailable, match="no whole answer within 0.3 s"):
                client.fetch_positions()
            with in_time(), pytest.raises(errors.OutcomeUnknown, match="no whole answer within 0.3 s"):
                client.place_order(an_order(), Priority.CRITICAL)
            script.answer = listed
            client.refresh_instruments()
            assert client.instrument(BTC).tradable


def test_a_connection_that_does_not_come_about() -> None:
    """A full backlog swallows the handshake: given up in time, and certainly not sent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        crowding = [socket.socket() for _ in range(4)]
        for one in crowding:
            one.setblocking(False)
            one.connect_ex(address)
        pools, deadlines = deadline_pools(2, ca_certs=certifi.where()), Deadlines()
        with in_time(), pytest.raises(urllib3.exceptions.ConnectTimeoutError), deadlines.limit(DEADLINE_S):
            pools.request("GET", f"http://127.0.0.1:{address[1]}/", retries=False, timeout=LONG_S)
        deadlines.stop()
        for one in crowding:
            one.close()


def test_a_tls_handshake_that_never_ends() -> None:
    """The other side drips the longest TLS record there is: no single read ever times out."""
    def drip_handshake(listener: socket.socket, ended: threading.Event) -> None:
        peer, _ = listener.accept()
        with peer:
            for byte in b"\x16\x03\x03\x3f\xff" + b"\x02" * 400:
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return
                if ended.wait(0.05):
                    return

    ended = threading.Event()
    pools, deadlines = deadline_pools(2, ca_certs=certifi.where()), Deadlines()
    with socket.create_server(("127.0.0.1", 0)) as listener, crowd(lambda: drip_handshake(listener, ended)):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            with in_time(), pytest.raises(urllib3.exceptions.HTTPError), deadlines.limit(DEADLINE_S):
                pools.request("GET", url, retries=False, timeout=LONG_S)
        finally:
            ended.set()
    deadlines.stop()


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False).sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    return paths


def test_a_dripping_answer_over_tls(tmp_path: Path) -> None:
    """Cutting from another thread works under TLS too, and its certificate is looked at."""
    certificate, key = a_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            for _ in range(2):
                peer, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(peer, server_side=True) as secure:
                    secure.recv(4096)
                    drip(SLOW["slow body"], ended)(Asked("GET", "/", {}, b""), secure)

    deadlines = Deadlines()
    with socket.create_server(("127.0.0.1", 0)) as listener, crowd(lambda: serve(listener)):
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            stranger = deadline_pools(2, ca_certs=certifi.where())
            with pytest.raises(urllib3.exceptions.SSLError), deadlines.limit(LONG_S):
                stranger.request("GET", url, retries=False, timeout=LONG_S)
            trusting = deadline_pools(2, ca_certs=str(certificate))
            with in_time(), pytest.raises(urllib3.exceptions.HTTPError), deadlines.limit(DEADLINE_S) as call:
                trusting.request("GET", url, retries=False, timeout=LONG_S)
            assert call.expired
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
    deadlines.stop()


def test_stopping_cuts_what_is_under_way() -> None:
    """A call in a black hole ends when the deadlines do, long before its own."""
    arrived = threading.Event()
    with scripted_server(always(b"")) as script:
        def swallow(_asked: Asked, _peer: socket.socket) -> None:
            arrived.set()
            script.ended.wait(LONG_S)

        script.answer = swallow
        pools, deadlines = deadline_pools(2, ca_certs=certifi.where()), Deadlines()

        def ask() -> None:
            with pytest.raises(urllib3.exceptions.HTTPError), deadlines.limit(LONG_S):
                pools.request("GET", script.url, retries=False, timeout=LONG_S)

        with crowd(ask):
            assert arrived.wait(LONG_S)
            started = time.monotonic()
            deadlines.stop()
        assert time.monotonic() - started < LONG_S / 4


def test_a_late_cut_spares_the_next_user_of_the_connection() -> None:
    """A call cut after its connection was lent to another leaves the other's answer alone."""
    with scripted_server(always(envelope("fine"))) as script:
        pools, deadlines = deadline_pools(1, ca_certs=certifi.where()), Deadlines()
        with deadlines.limit(LONG_S) as first:
            pools.request("GET", script.url, retries=False)

        def cut_the_first(_asked: Asked, peer: socket.socket) -> None:
            first.cut()                   # while the second call waits for its answer
            peer.sendall(envelope("mine"))

        script.answer = cut_the_first
        with deadlines.limit(LONG_S):
            assert pools.request("GET", script.url, retries=False).json()["data"] == "mine"
        assert script.connections == 1    # it was the same connection
        deadlines.stop()


def test_names_that_do_not_resolve_in_time() -> None:
    """The address known from before serves when the resolver hangs; a name never known fails in time."""
    hang, ended = threading.Event(), threading.Event()

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        if hang.is_set():
            ended.wait(LONG_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]

    resolver = Resolver(look_up)
    assert resolver.resolve("api.example", 443, LONG_S) == [(socket.AF_INET, "192.0.2.7")]
    hang.set()
    with in_time():
        assert resolver.resolve("api.example", 443, DEADLINE_S) == [(socket.AF_INET, "192.0.2.7")]
    with in_time(), pytest.raises(TimeoutError):
        resolver.resolve("new.example", 443, DEADLINE_S)
    ended.set()


def test_numeric_addresses_ask_nobody() -> None:
    """An address needs no resolver."""
    resolver = Resolver(lambda *_a, **_k: pytest.fail("asked the resolver"))
    assert resolver.resolve("127.0.0.1", 1, 0.1) == [(socket.AF_INET, "127.0.0.1")]
    assert resolver.resolve("::1", 1, 0.1) == [(socket.AF_INET6, "::1")]
