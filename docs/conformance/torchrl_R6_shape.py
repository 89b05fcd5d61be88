# Cases: R6.shape
# Expected: an observation of one number, where all others have three, raises.
# Comes: it is stored three times.
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), batch_size=1)
buffer.extend(TensorDict({"observation": torch.tensor([[1.0, 2.0, 3.0]])}, [1]))
buffer.extend(TensorDict({"observation": torch.tensor([[33.0]])}, [1]))
print(buffer[:]["observation"])
