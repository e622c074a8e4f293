"""The daemon's life: installing and preparing, the loops, one producer's subscriber, and watching the schema."""
