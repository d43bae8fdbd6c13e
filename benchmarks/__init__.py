"""What is measured, and against whom. Each is run as `python -m benchmarks.NAME`."""
