# Cases: B4.n-step, B4.n-step truncation
# Expected: done = 1 of every 3-step return that holds the termination: of steps 1, 2 and 3.
# Comes: 0 of step 1, whose window ends with it.
import cpprb

fields = {"obs": {}, "rew": {}, "next_obs": {}, "done": {}}
nstep = {"size": 3, "gamma": 0.5, "rew": "rew", "next": "next_obs"}
buffer = cpprb.ReplayBuffer(10, fields, Nstep=nstep)
for t in range(4):
    buffer.add(obs=t, rew=2.0**t, next_obs=t + 1, done=t == 3)
buffer.on_episode_end()
rows = buffer.get_all_transitions()
for t in range(4):
    print(t, "reward", rows["rew"][t], "done", rows["done"][t])
# 1 reward [6.] done [0.]: 2 + 4 / 2 + 8 / 4, up to the end
