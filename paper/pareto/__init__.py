"""Loads Pareto's result files and draws their figures."""

from pareto.load import load, load_samples

__all__ = ["load", "load_samples"]
