#!/usr/bin/env python3
"""The same as `lomar train`, with or without an activated environment."""

from run_command import run

run('train')
