.PHONY: install run check test bench
