# Cases: R6.dtype
# Expected: 300.7 in a field of uint8 raises. Comes: 44.
import cpprb
import numpy as np

buffer = cpprb.ReplayBuffer(10, {"obs": {"dtype": np.uint8}})
buffer.add(obs=300.7)
print(buffer.get_all_transitions()["obs"])
