# Cases: R6.dtype
# Expected: 300.7 in an observation of uint8 raises. Comes: 44.
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

buffer = ReplayBuffer(10, spaces.Box(0, 255, (1,), np.uint8), spaces.Box(-1, 1, (1,)))
obs = np.array([[300.7]])
buffer.add(obs, obs, np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
print(buffer.sample(1).observations)  # tensor([[44]], dtype=torch.uint8)
