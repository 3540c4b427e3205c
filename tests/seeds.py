"""What tests that draw at random begin with: the same in each run, unless somebody asks for new ones."""

import os
import random


def seed(usual: int) -> int:
    """Return *usual*, or what CRONS_TEST_SEED says: a number, to see a failure again, or "new" to draw one.

    A red run that the next one cannot repeat tells nobody which change it is about.
    """
    asked = os.environ.get("CRONS_TEST_SEED", "")
    return random.randrange(10**6) if asked == "new" else int(asked or usual)
