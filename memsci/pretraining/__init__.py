"""How the shipped base model is made: text from the built-in world, a tokenizer, a training run, a report."""
