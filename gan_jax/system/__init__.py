"""The machine: devices, processes, memory, caches, signals."""
