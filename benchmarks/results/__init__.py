"""The page of results: claims of the paper, commands, and measured values, from YAML and JSON."""
