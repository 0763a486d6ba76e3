"""AP of every kind of detector after a short training on the embedded dataset."""
