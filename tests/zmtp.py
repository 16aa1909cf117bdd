"""Peers that speak ZMTP 3.1 byte by byte, with and without CURVE, so that they can break the rules of libzmq's own.

Sources: https://rfc.zeromq.org/spec/37/ (ZMTP 3.1) and https://rfc.zeromq.org/spec/26/ (CurveZMQ). The ciphers are
those of the libsodium that is part of pyzmq's wheel.
"""

from __future__ import annotations

import ctypes
import os
import socket
from functools import cache
from pathlib import Path

import zmq
from zmq.utils import z85

from gems_actors.security.keys import ConnectingKeys

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"
MORE, LONG, COMMAND = 1, 2, 4


def frame(data: bytes, flags: int = 0) -> bytes:
    """Return a frame: flags, length, data."""
    if len(data) > 255:
        return bytes([flags | LONG]) + len(data).to_bytes(8) + data
    return bytes([flags, len(data)]) + data


def greeting(mechanism: bytes = b"NULL") -> bytes:
    """Return the greeting of a client."""
    return SIGNATURE + b"\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


def metadata(identity: bytes = b"") -> bytes:
    """Return the properties of a DEALER."""
    pairs = {b"Socket-Type": b"DEALER", b"Identity": identity}
    return b"".join(bytes([len(key)]) + key + len(value).to_bytes(4) + value for key, value in pairs.items())


def connect(address: str) -> socket.socket:
    """Return a blocking connection to an address of libzmq's, `ipc://PATH` or `tcp://HOST:PORT`."""
    scheme, _, rest = address.partition("://")
    if scheme == "ipc":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(rest)
        return connection
    host, _, port = rest.rpartition(":")
    return socket.create_connection((host, int(port)))


class RawPeer:
    """A connection after its handshake; frames are written by hand, and nothing is read unless asked for."""

    def __init__(
        self, address: str, identity: bytes = b"", keys: ConnectingKeys | None = None, timeout_s: float = 30.0
    ) -> None:
        self.socket = connect(address)
        self.socket.settimeout(timeout_s)
        self._box: _Box | None = None
        try:
            if keys is None:
                self.socket.sendall(greeting() + frame(b"\x05READY" + metadata(identity), COMMAND))
                self.receive(64)
                self.receive_frame()
            else:
                self._shake_hands(keys, identity)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes, flags: int = 0) -> None:
        """Send one part of a message."""
        self.socket.sendall(self.encode(data, flags))

    def encode(self, data: bytes, flags: int = 0) -> bytes:
        """Return the bytes of one part of a message."""
        return frame(data, flags) if self._box is None else frame(self._box.message(data, flags))

    def receive(self, count: int) -> bytes:
        """Return exactly as many bytes.

        Raises:
            ConnectionError: the other side has closed the connection.
        """
        found = b""
        while len(found) < count:
            more = self.socket.recv(count - len(found))
            if not more:
                raise ConnectionError("the connection was closed")
            found += more
        return found

    def receive_frame(self) -> bytes:
        """Return the data of the next frame, a command or a part of a message; with keys, encrypted as it came."""
        flags = self.receive(1)[0]
        return self.receive(int.from_bytes(self.receive(8 if flags & LONG else 1)))

    def is_cut(self, within_s: float = 30.0) -> bool:
        """Return whether the other side closes the connection in time; reads what is sent until then."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def _shake_hands(self, keys: ConnectingKeys, identity: bytes) -> None:
        self.socket.sendall(greeting(b"CURVE"))
        self.receive(64)
        router, public, secret = (z85.decode(key) for key in (keys.router, keys.own.public, keys.own.secret))
        short_public, short_secret = (z85.decode(key) for key in zmq.curve_keypair())
        nonce = (1).to_bytes(8)
        box = seal(bytes(64), b"CurveZMQHELLO---" + nonce, router, short_secret)
        self.socket.sendall(frame(b"\x05HELLO\x01\0" + bytes(72) + short_public + nonce + box, COMMAND))
        welcome = self.receive_frame()
        opened = unseal(welcome[24:], b"WELCOME-" + welcome[8:24], router, short_secret)
        router_short, cookie = opened[:32], opened[32:]
        vouch_nonce = os.urandom(16)
        vouch = seal(short_public + router, b"VOUCH---" + vouch_nonce, router_short, secret)
        nonce = (2).to_bytes(8)
        told = public + vouch_nonce + vouch + metadata(identity)
        box = seal(told, b"CurveZMQINITIATE" + nonce, router_short, short_secret)
        self.socket.sendall(frame(b"\x08INITIATE" + cookie + nonce + box, COMMAND))
        assert self.receive_frame().startswith(b"\x05READY")
        self._box = _Box(router_short, short_secret)


class _Box:
    """Encrypts the parts that a client sends."""

    def __init__(self, router_short: bytes, short_secret: bytes) -> None:
        self._keys = router_short, short_secret
        self._count = 2

    def message(self, data: bytes, flags: int) -> bytes:
        self._count += 1
        nonce = self._count.to_bytes(8)
        return b"\x07MESSAGE" + nonce + seal(bytes([flags]) + data, b"CurveZMQMESSAGEC" + nonce, *self._keys)


@cache
def _sodium() -> ctypes.CDLL:
    (library,) = (Path(zmq.__file__).parent.parent / "pyzmq.libs").glob("libsodium*")
    return ctypes.CDLL(str(library))


def seal(data: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    """Return `crypto_box` of the data: its authenticator, then the ciphertext."""
    sealed = ctypes.create_string_buffer(len(data) + 16)
    assert _sodium().crypto_box_easy(sealed, data, ctypes.c_ulonglong(len(data)), nonce, public, secret) == 0
    return sealed.raw


def unseal(sealed: bytes, nonce: bytes, public: bytes, secret: bytes) -> bytes:
    """Return the data of a `crypto_box`."""
    data = ctypes.create_string_buffer(len(sealed) - 16)
    assert _sodium().crypto_box_open_easy(data, sealed, ctypes.c_ulonglong(len(sealed)), nonce, public, secret) == 0
    return data.raw
