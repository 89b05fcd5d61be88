# Cases: P5.memory
# Expected: with weight_norm=False weights are (p_j / p_min) ** -beta, as its source says: 1 for the
# lowest priorities there are. Comes: divided by the lowest there ever was, and alpha is forgotten.
import numpy as np
from tianshou.data import Batch, PrioritizedReplayBuffer

buffer = PrioritizedReplayBuffer(4, alpha=0.5, beta=1.0, weight_norm=False)
for t in range(4):
    ends = {"terminated": False, "truncated": False, "done": False}
    buffer.add(Batch(obs=t, act=0, rew=1.0, info={}, **ends))
for lowest in (0.01, 4.0):
    buffer.update_weight(np.arange(4), np.array([lowest, lowest, 16.0, 16.0]))
print(buffer[np.arange(4)].weight)  # [0.005 0.005 0.0025 0.0025], expected [1 1 0.5 0.5]
