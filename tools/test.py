#!/usr/bin/env python3
"""The same as `lomar test`, with or without an activated environment."""

import door

door.run('test')
