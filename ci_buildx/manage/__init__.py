"""Commands on lasting builders, on leftovers of jobs, and on the cluster."""
