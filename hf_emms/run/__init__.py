"""From options to a ranking: plans and their cost, the ranking itself, sweeps and jobs."""
