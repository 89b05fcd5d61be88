# Cases: S1.rows
# Expected: after loading, a new row takes the place of the oldest, 2. Comes: it takes that of 5.
import tempfile

import cpprb

path = tempfile.mkdtemp() + "/buffer.npz"
buffer = cpprb.ReplayBuffer(4, {"obs": {}})
for t in range(6):
    buffer.add(obs=t)  # holds 2, 3, 4 and 5
buffer.save_transitions(path)
other = cpprb.ReplayBuffer(4, {"obs": {}})
other.load_transitions(path)
for each in (buffer, other):
    each.add(obs=6)
    print(sorted(each.get_all_transitions()["obs"].ravel().tolist()))
# [3.0, 4.0, 5.0, 6.0]
# [2.0, 3.0, 5.0, 6.0]
