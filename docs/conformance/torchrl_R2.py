# Cases: R2
# Expected: a priority for a step that was overwritten meanwhile changes nothing: all are drawn
# alike.
# Comes: the step that now lies there gets it, and is drawn nearly always.
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.data.replay_buffers.samplers import PrioritizedSampler

sampler = PrioritizedSampler(4, alpha=1.0, beta=0.0)
buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), sampler=sampler, batch_size=1)
buffer.extend(TensorDict({"step": torch.arange(4)}, [4]))
batch = buffer.sample()
buffer.extend(TensorDict({"step": torch.arange(4, 8)}, [4]))
buffer.update_priority(batch["index"], torch.tensor([50.0]))
print(torch.bincount(buffer.sample(10_000)["step"])[4:] / 10_000)
