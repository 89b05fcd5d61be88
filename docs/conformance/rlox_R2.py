# Cases: R2
# Expected: a priority for a step that was overwritten meanwhile changes nothing: all are drawn
# alike.
# Comes: the step that now lies there gets it, and is drawn nearly always.
import numpy as np
import rlox

buffer = rlox.PrioritizedReplayBuffer(4, 1, 1, alpha=1.0, beta=0.0)


def push(t):
    obs = np.full(1, t, np.float32)
    buffer.push(obs, np.zeros(1, np.float32), 1.0, False, False, obs)


for t in range(4):
    push(t)
indices = buffer.sample(1, 0)["indices"]
for t in range(4, 8):
    push(t)
buffer.update_priorities(indices, np.array([50.0]))
drawn = np.concatenate([buffer.sample(4, seed)["obs"].ravel() for seed in range(1000)])
print(np.bincount(drawn.astype(int))[4:] / len(drawn))
