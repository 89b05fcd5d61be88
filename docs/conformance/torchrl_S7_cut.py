# Cases: S7.cut
# Expected: loading raises where the file of observations was cut to half its length.
# Comes: it is loaded, and what is missing reads as zeros or as something else.
import tempfile
from pathlib import Path

import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

path = tempfile.mkdtemp()
buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(1000), batch_size=1)
buffer.extend(TensorDict({"observation": torch.ones(1000, 10)}, [1000]))
buffer.dumps(path)
largest = max(Path(path).rglob("*"), key=lambda file: file.is_file() and file.stat().st_size)
with largest.open("r+b") as file:
    file.truncate(20_000)
other = TensorDictReplayBuffer(storage=LazyTensorStorage(1000), batch_size=1)
other.loads(path)
print(largest.name, len(other), "rows, of these", int((other[:]["observation"] == 1).all(1).sum()))
