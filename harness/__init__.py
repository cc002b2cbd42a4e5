"""Adversarial-robustness evaluation: attacks and defenses crossed, judged, recorded and ranked."""
