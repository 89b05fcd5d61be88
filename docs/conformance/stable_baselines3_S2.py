# Cases: S2
# Expected: when saving fails (the disk is full), what was saved before can still be loaded.
# Comes: the file was overwritten in place; loading it raises.
import resource
import tempfile

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.save_util import load_from_pkl, save_to_pkl

path = tempfile.mkdtemp() + "/buffer.pkl"
buffer = ReplayBuffer(1000, spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,)))
buffer.add(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
save_to_pkl(path, buffer)
load_from_pkl(path)  # works
limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limit))  # as if the disk were full
try:
    save_to_pkl(path, buffer)
except OSError as error:
    print("saving:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    load_from_pkl(path)
except Exception as error:
    print("loading:", repr(error))  # UnpicklingError('pickle data was truncated')
