#!/usr/bin/env python3
"""The same as `lomar test`, with or without an activated environment."""

from run_command import run

run('test')
