"""Faults on purpose: recordings broken in order, or at random with a seed."""
