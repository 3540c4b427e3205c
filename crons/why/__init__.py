"""Why a slot ended as it did, or what will become of it: facts by a few statements, sentences from the facts alone."""

from crons.why.facts import Answer, Facts
from crons.why.gather import gather
from crons.why.sentences import answer

__all__ = ["Answer", "Facts", "answer", "gather"]
