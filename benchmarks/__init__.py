"""Measurements of the whole on audio whose truth is known: accuracy, lag, load. Not part of the package."""
