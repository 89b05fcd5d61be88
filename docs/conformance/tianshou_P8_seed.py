# Cases: P8.seed prioritized
# Expected: two buffers with the same random_seed draw the same.
# Comes: prioritized ones do not; they draw from NumPy's global generator.
from tianshou.data import Batch, PrioritizedReplayBuffer

for _ in range(2):
    buffer = PrioritizedReplayBuffer(100, alpha=1.0, beta=0.0, random_seed=1)
    for t in range(100):
        ends = {"terminated": False, "truncated": False, "done": False}
        buffer.add(Batch(obs=t, act=0, rew=1.0, info={}, **ends))
    print(buffer.sample(8)[1])
