"""Adversarial-robustness evaluation: attacks and defenses crossed, judged, recorded and ranked."""

from harness.api import run as run
from harness.api import score as score
