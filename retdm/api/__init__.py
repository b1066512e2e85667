"""What Python calls: training a run, a run's results, criteria of scores."""
