# Cases: S6
# Expected: loading 400 MB takes about as much. Comes: twice that and more.
import tempfile
from pathlib import Path

import cpprb
import numpy as np


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(name))


path = tempfile.mkdtemp() + "/buffer.npz"
fields = {"obs": {"shape": 4096, "dtype": np.uint8}}
buffer = cpprb.ReplayBuffer(100_000, fields)
buffer.add(obs=np.ones((100_000, 4096), np.uint8))
buffer.save_transitions(path)
del buffer
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forgets the largest so far
other = cpprb.ReplayBuffer(100_000, fields)
other.load_transitions(path)
print(resident("VmRSS") - before, "MB when loaded,", resident("VmHWM") - before, "MB at the most")
