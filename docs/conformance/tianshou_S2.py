# Cases: S2
# Expected: when saving fails (the disk is full), what was saved before can still be loaded.
# Comes: the file was overwritten in place; loading it raises.
import resource
import tempfile

import numpy as np
from tianshou.data import Batch, ReplayBuffer

path = tempfile.mkdtemp() + "/buffer.hdf5"
buffer = ReplayBuffer(1000)
ends = {"terminated": False, "truncated": False, "done": False}
buffer.add(Batch(obs=np.zeros(3), act=0, rew=1.0, info={}, **ends))
buffer.save_hdf5(path)
ReplayBuffer.load_hdf5(path)  # works
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit))  # as if the disk were full
try:
    buffer.save_hdf5(path)
except Exception as error:
    print("saving:", repr(error)[:80])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    ReplayBuffer.load_hdf5(path)
except Exception as error:
    print("loading:", repr(error)[:80])
