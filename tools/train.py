#!/usr/bin/env python3
"""The same as `lomar train`, with or without an activated environment."""

import door

door.run('train')
