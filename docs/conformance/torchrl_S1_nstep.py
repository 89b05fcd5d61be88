# Cases: S1.n-step
# Expected: steps of an open episode that still wait for their 3-step return are saved, too.
# Comes: they are lost: after loading steps 1, 2 and 3 never start a return.
import tempfile

import torch
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs.transforms import MultiStepTransform


def make():
    transform = MultiStepTransform(n_steps=3, gamma=0.5)
    return TensorDictReplayBuffer(storage=LazyTensorStorage(20), transform=transform, batch_size=1)


def steps(first, stop):
    number = torch.arange(float(first), stop)[:, None]
    no = torch.zeros_like(number, dtype=torch.bool)
    after = {"observation": number + 1, "reward": number, "done": no, "terminated": no}
    return TensorDict({"observation": number, "next": after}, [stop - first])


buffer, other, path = make(), make(), tempfile.mkdtemp()
buffer.extend(steps(0, 4))
buffer.dumps(path)
other.loads(path)
for each in (buffer, other):
    each.extend(steps(4, 10))
    print(each[:]["observation"].ravel())
