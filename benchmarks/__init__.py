"""Speed, with pytest-benchmark; correctness lives in tests."""
