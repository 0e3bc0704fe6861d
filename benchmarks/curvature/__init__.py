"""Curvature beside its peers: extreme eigenvalues, traces, products; what one run shows is compared within that run."""
