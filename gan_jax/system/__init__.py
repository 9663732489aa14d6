"""The machine: devices, processes, memory, caches and signals."""
