# Cases: R6.shape
# Expected: one number for an observation of three raises, and nothing is stored.
# Comes: it raises, but a row is there all the same, of ones that nobody added.
import cpprb

buffer = cpprb.ReplayBuffer(10, {"obs": {"shape": 3}, "rew": {}})
try:
    buffer.add(obs=[33], rew=7)
except ValueError as error:
    print(error)
print(buffer.get_stored_size(), buffer.get_all_transitions())
