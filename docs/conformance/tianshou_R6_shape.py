# Cases: R6.shape
# Expected: an observation of one number, where all others have three, raises.
# Comes: it is stored three times.
import numpy as np
from tianshou.data import Batch, ReplayBuffer

buffer = ReplayBuffer(10)
for obs in (np.array([1.0, 2.0, 3.0]), np.array([33.0])):
    ends = {"terminated": False, "truncated": False, "done": False}
    buffer.add(Batch(obs=obs, act=0, rew=1.0, obs_next=obs, info={}, **ends))
print(buffer[np.array([1])].obs)  # [[33. 33. 33.]]
