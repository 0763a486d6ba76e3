"""What a step costs: FLOPs, time, memory, loading."""
