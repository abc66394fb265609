"""Member predictors: each learns from one labelled reference and votes on every query cell."""
