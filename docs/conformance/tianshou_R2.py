# Cases: R2
# Expected: a priority for a step that was overwritten meanwhile changes nothing: all are drawn
# alike.
# Comes: the step that now lies there gets it, and is drawn nearly always.
import numpy as np
from tianshou.data import Batch, PrioritizedReplayBuffer


def step(t):
    return Batch(obs=t, act=0, rew=1.0, terminated=False, truncated=False, done=False, info={})


buffer = PrioritizedReplayBuffer(4, alpha=1.0, beta=0.0)
for t in range(4):
    buffer.add(step(t))
_, indices = buffer.sample(1)
for t in range(4, 8):
    buffer.add(step(t))
buffer.update_weight(indices, np.array([50.0]))
print(np.bincount(buffer.sample(10_000)[0].obs)[4:] / 10_000)
