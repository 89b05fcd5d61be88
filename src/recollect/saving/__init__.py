"""A memory that outlives its process: directories, snapshots, and how they are opened."""
