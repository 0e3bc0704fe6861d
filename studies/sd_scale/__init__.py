"""Time and memory at the size of Stable Diffusion: a pipeline of its shape with random weights, scored on the CPU.

``memdet reproduce sd-scale`` writes ``results/scale/record.json`` and ``log.txt``, in about 22 minutes;
``docs/throughput.md`` shows the record, beside what ``memdet bench plan`` projects. Random weights have memorized
nothing, so it says nothing of accuracy.
"""
