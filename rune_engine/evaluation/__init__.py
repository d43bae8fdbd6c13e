"""How well the loop solves tasks: suites in HumanEval's format, and pass@k."""
