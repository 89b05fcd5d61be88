# Cases: R6.shape
# Expected: an observation of one number for a space of three raises.
# Comes: it is stored three times.
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

buffer = ReplayBuffer(10, spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,)))
one = np.array([[0.5]], np.float32)
buffer.add(one, one, np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
print(buffer.sample(1).observations)  # tensor([[0.5000, 0.5000, 0.5000]])
