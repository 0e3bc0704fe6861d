"""What detectors cost beside the bare network, on ``tiny-sd-a`` in float32.

pytest benchmarks/throughput -n 0 --benchmark-json=out.json
"""
