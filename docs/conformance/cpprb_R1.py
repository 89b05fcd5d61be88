# Cases: R1
# Expected: of 50 steps the newest 20 are kept, or the call is refused.
# Comes: IndexError, and 13 rows are there that nobody added.
import cpprb
import numpy as np

buffer = cpprb.ReplayBuffer(20, {"obs": {}})
buffer.add(obs=np.arange(7))
try:
    buffer.add(obs=np.arange(7, 57))
except IndexError as error:
    print(repr(error))
print(buffer.get_stored_size(), buffer.get_all_transitions()["obs"].ravel())
