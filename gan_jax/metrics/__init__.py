"""Metrics that compare samples with data, `metric(real_features, fake_features) -> float`, in float64 on the host."""
