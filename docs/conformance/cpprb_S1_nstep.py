# Cases: S1.n-step
# Expected: steps of an open episode that still wait for their 3-step return are saved, too.
# Comes: they are lost: steps 1 and 2 never start a return after loading.
import tempfile

import cpprb

path = tempfile.mkdtemp() + "/buffer.npz"
fields = {"obs": {}, "rew": {}, "next_obs": {}, "done": {}}
nstep = {"size": 3, "gamma": 0.5, "rew": "rew", "next": "next_obs"}
buffer, other = (cpprb.ReplayBuffer(10, fields, Nstep=nstep) for _ in range(2))
for t in range(3):
    buffer.add(obs=t, rew=1.0, next_obs=t + 1, done=0.0)
buffer.save_transitions(path)
other.load_transitions(path)
for each in (buffer, other):
    for t in range(3, 6):
        each.add(obs=t, rew=1.0, next_obs=t + 1, done=0.0)
    each.on_episode_end()
    print(each.get_all_transitions()["obs"].ravel())
