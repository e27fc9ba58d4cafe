"""Commands for lasting builders, for leftovers of jobs, and for the cluster."""
