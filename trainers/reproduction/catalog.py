"""The four papers by name."""

from trainers.reproduction.dissect import DISSECT
from trainers.reproduction.lcnn import LCNN
from trainers.reproduction.pag import PAG
from trainers.reproduction.papers import Paper
from trainers.reproduction.smooth import SMOOTH

CATALOG: dict[str, Paper] = {
    paper.name: paper for paper in (LCNN, PAG, DISSECT, SMOOTH)
}
"""Every paper by the value of `--paper`."""
