"""What a run will take: memory, time, disk and traffic, before anything is built or read.

The real training step runs on tensors without memory (``shapes``), while ``meter`` adds up what it would hold
at each moment and counts its multiplications. ``ultra-train estimate`` prints the result.
"""
