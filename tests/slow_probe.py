"""A module that a config imports to make the first probe last 12 seconds."""

import time

from lomar.engine.probe_hook import ProbeHook

scores = ProbeHook.scores


def slow_scores(self, model):
    time.sleep(12)
    ProbeHook.scores = scores
    return scores(self, model)


ProbeHook.scores = slow_scores
