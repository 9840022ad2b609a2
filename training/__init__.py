"""How the embedded model is made: text, synthetic speech, training, export, evaluation.

Run as ``python -m training``; see docs/howto/train-a-model.md. Nothing in ``streamasr`` imports this.
"""
