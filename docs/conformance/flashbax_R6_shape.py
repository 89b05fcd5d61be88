# Cases: R6.shape
# Expected: an observation of one number for three raises. Comes: it is stored three times.
import flashbax
import jax
import jax.numpy as jnp

buffer = flashbax.make_item_buffer(max_length=4, min_length=1, sample_batch_size=1)
state = buffer.init({"obs": jnp.zeros(3)})
state = buffer.add(state, {"obs": jnp.array([33.0])})
print(buffer.sample(state, jax.random.PRNGKey(0)).experience["obs"])  # [[33. 33. 33.]]
