"""How the shipped base model is made: text from the built-in world, a tokenizer, a training run, a report.

::

    python -m memsci.pretraining.train checkpoints/base-2 --start memsci/assets/base         # or: make base
    python -m memsci.pretraining.report checkpoints/base-2/model --card checkpoints/base-2   # measures it, writes its card
    cp -r checkpoints/base-2/model/. memsci/assets/base-2/                                   # ships it
"""
