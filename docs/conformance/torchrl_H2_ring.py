# Cases: H2.ring final, H2.ring episode
# Expected: goals of the same episode (hundreds), also of one that lies over the ring's end.
# Comes: steps 300 and 301 at the end of the storage get a goal of episode 2.
import torch
from tensordict import TensorDict
from torchrl.data import HERReplayBuffer, LazyTensorStorage

buffer = HERReplayBuffer(
    lambda step: torch.zeros(len(step), 1),
    her_ratio=1.0,
    strategy="final",
    achieved_goal_key=("next", "achieved_goal"),
    storage=LazyTensorStorage(8),
    batch_size=256,
)
for episode in (1, 2, 3):  # of four steps; the third one begins at place 6 + 2 of 8
    for t in range(4 if episode > 1 else 2):
        number = torch.tensor([[100.0 * episode + t]])
        step = {
            "achieved_goal": number,
            "desired_goal": -number,
            "next": {
                "achieved_goal": number + 1,
                "desired_goal": -number,
                "reward": torch.zeros(1, 1),
                "done": torch.tensor([[t == (3 if episode > 1 else 1)]]),
            },
        }
        buffer.extend(TensorDict(step, [1]))
batch = buffer.sample()
pairs = torch.cat((batch["achieved_goal"], batch["desired_goal"]), dim=1)
print(torch.unique(pairs, dim=0))  # step, goal
