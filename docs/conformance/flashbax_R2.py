# Cases: R2
# Expected: a priority for a step that was overwritten meanwhile changes nothing: all are drawn
# alike.
# Comes: the step that now lies there gets it, and is drawn nearly always.
import flashbax
import jax
import jax.numpy as jnp

buffer = flashbax.make_prioritised_item_buffer(
    max_length=4, min_length=1, sample_batch_size=4, priority_exponent=1.0, device="cpu"
)
state = buffer.init({"step": jnp.int32(0)})
for t in range(4):
    state = buffer.add(state, {"step": jnp.int32(t)})
indices = buffer.sample(state, jax.random.PRNGKey(0)).indices[:1]
for t in range(4, 8):
    state = buffer.add(state, {"step": jnp.int32(t)})
state = buffer.set_priorities(state, indices, jnp.array([50.0]))
for seed in range(5):
    print(buffer.sample(state, jax.random.PRNGKey(seed)).experience["step"])
