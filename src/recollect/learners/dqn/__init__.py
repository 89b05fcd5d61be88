"""DQN (Mnih et al., 2015): learn the values of actions from replayed transitions.

The agent acts in an environment, every step goes into a memory, and now and then the network is
trained on transitions drawn from it:

    target = reward + discount * target_network(next_obs)[best next action]
    loss   = huber(network(obs)[action] - target)

Two things keep this stable. Replay breaks the correlation between one step and the next; and the
target network, a copy that lags behind, holds the goal still while the network moves towards it.
`replay="off"` and `target="off"` show what happens without.

What others have added since are options: which network finds the best next action (*double*, van
Hasselt et al., 2016), a head that tells a state's value from the advantages of its actions
(*dueling*, Wang et al., 2016), rewards summed over several steps (*n-step*), and replaying most
what was predicted worst (*prioritized*, Schaul et al., 2016).

`training` is the whole on one page; it puts together what learns (`learning`) and what plays
(`playing`), as the `settings` say, and reports its `progress`.
"""

from recollect.learners.dqn.learning import (
    Learner,
    make_network,
    td_error,
    weighted_huber,
)
from recollect.learners.dqn.playing import Examiner, Player, evaluate, greedy
from recollect.learners.dqn.progress import Counts, Progress, Trained
from recollect.learners.dqn.settings import DQNConfig, Seeds
from recollect.learners.dqn.training import train

__all__ = [
    "Counts",
    "DQNConfig",
    "Examiner",
    "Learner",
    "Player",
    "Progress",
    "Seeds",
    "Trained",
    "evaluate",
    "greedy",
    "make_network",
    "td_error",
    "train",
    "weighted_huber",
]
