"""Codecs: bytes come back, damage is noticed, and what is missing is named."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from recollect.errors import ConfigurationError, DamagedError, MissingExtraError
from recollect.stores.codecs import CODECS, codec

SIZES = (1, 7, 1000, 56448, 300_000)


def sample(size, seed=0):
    """Half of it noise, half of it all one value."""
    data = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    data[size // 2 :] = 3
    return data.tobytes()


@pytest.mark.parametrize("name", CODECS)
def test_what_was_encoded_comes_back(name):
    used = codec(name)
    assert used.name == name
    for size in SIZES:
        for data in (sample(size), bytes(size)):
            encoded = used.encode(data)
            assert type(encoded) is bytes
            assert used.decode(encoded, size) == data
    assert len(used.encode(bytes(100_000))) < 1000


@pytest.mark.parametrize("name", CODECS)
def test_what_is_damaged_is_refused(name):
    used, size = codec(name), 5000
    encoded = used.encode(sample(size))
    damaged = [b"", b"x", encoded[:-1], encoded[: len(encoded) // 2], b"\xff" * 100, bytes(100)]
    for data in damaged:
        with pytest.raises(DamagedError, match=name):
            used.decode(data, size)
    for wrong in (size - 1, size + 1):
        with pytest.raises(DamagedError, match=name):
            used.decode(encoded, wrong)


def test_a_size_that_is_claimed_is_not_allocated_unseen():
    used = codec("zstd")
    # a frame whose header says 2^60 bytes
    frame = bytes.fromhex("28b52ffd") + bytes([0xC0, 0x58]) + (1 << 60).to_bytes(8, "little")
    with pytest.raises(DamagedError, match="zstd: expected 100 bytes, got 1152921504606846976"):
        used.decode(frame, 100)


@pytest.mark.parametrize("name", CODECS)
def test_threads_share_a_codec(name):
    used, wrong = codec(name), []

    def work(seed):
        for turn in range(100):
            data = sample(3000 + seed, seed * 1000 + turn)
            if used.decode(used.encode(data), len(data)) != data:
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_each_thread_has_a_context_of_its_own():
    native = codec("zstd").native
    assert native is not None
    contexts = [native.context(), native.context()]
    alive = threading.Barrier(2)

    def work():
        contexts.append(native.context())
        alive.wait()

    thread = threading.Thread(target=work)
    thread.start()
    alive.wait()
    thread.join()
    assert contexts[0] == contexts[1] != contexts[2]


def test_an_unknown_codec_is_refused():
    with pytest.raises(ConfigurationError, match="no 'gzip'; known: 'zstd', 'lz4'"):
        codec("gzip")


@pytest.mark.parametrize(("name", "package"), [("zstd", "zstandard"), ("lz4", "lz4.block")])
def test_a_missing_package_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*recollect\[codec\]"):
        codec(name)


def test_zstd_works_without_its_address(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard.backend_cffi", None)
    used = codec("zstd")
    assert used.native is None
    assert used.decode(used.encode(sample(1000)), 1000) == sample(1000)


RESIDENT = """
import sys
import numpy as np
from recollect.stores.codecs import codec

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

encode = codec(sys.argv[1]).encode
run = np.zeros((8, 84, 84), np.uint8)
kept = [encode(run)]
before = resident()
for number in range(1, 1500):
    run[:, 10:20, number % 80] = number % 251
    kept.append(encode(run))
print(resident() - before, sum(map(len, kept)), run.nbytes * len(kept))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ["zstd", "lz4"])
def test_results_take_no_more_memory_than_they_have_bytes(name):
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, name], capture_output=True, text=True, check=True
    )
    taken, encoded, raw = map(int, done.stdout.split())
    assert taken < 2 * encoded + 3_000_000
    assert 2 * encoded + 3_000_000 < raw / 5
