"""The domain: what a turn, its journal and its conversation are. Imports the standard library and nothing else."""
