"""How the shipped base model is made: text from the built-in world, a tokenizer, a training run, a report.

::

    python -m memsci.pretraining.train checkpoints/base                                  # or: make base
    python -m memsci.pretraining.report checkpoints/base/model --card checkpoints/base   # measures it, writes its card
    cp -r checkpoints/base/model/. memsci/assets/base/                                   # ships it
"""
