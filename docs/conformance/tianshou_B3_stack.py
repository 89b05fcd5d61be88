# Cases: B3.stack
# Expected: at a truncation the newest frame of obs_next is the final observation: [2 3].
# Comes: [1 2], the observation itself (frames stacked as in Tianshou's Atari examples).
import numpy as np
from tianshou.data import Batch, ReplayBuffer

buffer = ReplayBuffer(10, stack_num=2, ignore_obs_next=True, save_only_last_obs=True)
for t in range(3):
    step = Batch(
        obs=np.array([[t - 1], [t]]),
        act=0,
        rew=1.0,
        terminated=False,
        truncated=t == 2,
        done=t == 2,
        obs_next=np.array([[t], [t + 1]]),
        info={},
    )
    buffer.add(step)
print(buffer[np.array([2])].obs_next.ravel())
