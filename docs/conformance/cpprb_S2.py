# Cases: S2
# Expected: when saving fails (the disk is full), what was saved before can still be loaded.
# Comes: the file was overwritten in place; loading it raises.
import resource
import tempfile

import cpprb
import numpy as np

path = tempfile.mkdtemp() + "/buffer.npz"
buffer = cpprb.ReplayBuffer(1000, {"obs": {}})
buffer.add(obs=1)
buffer.save_transitions(path)
cpprb.ReplayBuffer(1000, {"obs": {}}).load_transitions(path)  # works
buffer.add(obs=np.random.default_rng(0).random(900))
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit))  # as if the disk were full
try:
    buffer.save_transitions(path)
except Exception as error:
    print("saving:", repr(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    cpprb.ReplayBuffer(1000, {"obs": {}}).load_transitions(path)
except Exception as error:
    print("loading:", repr(error))
