"""What only shows over hours: `python -m benchmarks.soak`."""
