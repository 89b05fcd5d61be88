# Cases: B6
# Expected: next_obs of the last two 3-step returns of a truncated episode is the final observation,
# 104. Comes: 1, which was never added.
import cpprb

fields = {"obs": {}, "rew": {}, "next_obs": {}, "done": {}}
nstep = {"size": 3, "gamma": 0.5, "rew": "rew", "next": "next_obs"}
buffer = cpprb.ReplayBuffer(10, fields, Nstep=nstep)
for t in range(4):
    buffer.add(obs=100 + t, rew=1.0, next_obs=101 + t, done=0.0)
buffer.on_episode_end()
print(buffer.get_all_transitions()["next_obs"].ravel())  # [103. 104.   1.   1.]
