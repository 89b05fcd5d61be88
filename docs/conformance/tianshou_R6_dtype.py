# Cases: R6.dtype
# Expected: 300.7, where all observations were uint8, raises. Comes: 44.
import numpy as np
from tianshou.data import Batch, ReplayBuffer

buffer = ReplayBuffer(10)
for obs in (np.array([1], np.uint8), np.array([300.7])):
    ends = {"terminated": False, "truncated": False, "done": False}
    buffer.add(Batch(obs=obs, act=0, rew=1.0, obs_next=obs, info={}, **ends))
print(buffer[np.array([1])].obs)  # [[44]]
