"""One file a library. Each offers some of these functions, and says why it lacks the others.

    sample_vectors(rows)   -> a call that draws 256 transitions of so many rows
    sample_nstep(rows)     -> the same as 3-step returns
    sample_frames(rows)    -> a call that draws 32 transitions of four stacked frames
    add_one(rows)          -> a call that adds one step
    add_sixteen(rows)      -> a call that adds one step of each of sixteen environments
    loop(rows)             -> a call that adds one step and draws 256

What is drawn is complete: obs, action, reward, next_obs, and how the step ended.
"""
