# Cases: R5.prioritized
# Expected: the indexes of a batch stay as they are.
# Comes: the next call of sample writes over them.
import cpprb
import numpy as np

buffer = cpprb.PrioritizedReplayBuffer(100, {"obs": {}})
buffer.add(obs=np.arange(100))
batch = buffer.sample(5)
print(batch["indexes"], batch["obs"].ravel())  # the same numbers
buffer.sample(5)
print(batch["indexes"], batch["obs"].ravel())  # no longer
