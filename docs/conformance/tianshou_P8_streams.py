# Cases: P8.streams
# Expected: what is drawn of one environment tells nothing of what is drawn of the other.
# Comes: the same steps of both, since all sub-buffers have the same seed.
import numpy as np
from tianshou.data import Batch, VectorReplayBuffer

buffer = VectorReplayBuffer(2000, 2)
no = np.zeros(2, bool)
for t in range(1000):
    obs = np.array([t, t])
    buffer.add(Batch(obs=obs, act=no, rew=no, terminated=no, truncated=no, done=no, info=Batch()))
indices = buffer.sample_indices(12)
print(indices[indices < 1000], indices[indices >= 1000] - 1000)
