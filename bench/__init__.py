"""Figures, each beside a peer or a bare baseline in the same run. `bench/README.md` says how each is obtained."""
