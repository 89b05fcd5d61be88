# Cases: R6.dtype
# Expected: 300.7, where all observations were uint8, raises, and nothing is stored.
# Comes: it raises, but a row of whatever lay in memory is there.
import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(4), batch_size=1)
buffer.extend(TensorDict({"observation": torch.tensor([[1]], dtype=torch.uint8)}, [1]))
try:
    buffer.extend(TensorDict({"observation": torch.tensor([[300.7]])}, [1]))
except Exception as error:
    print(repr(error))
print(len(buffer), buffer[:]["observation"])
