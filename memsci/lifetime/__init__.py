"""What becomes of memories in the course of a life: operations on a mind, each a function that is given one.

A mind is a `memsci.MEGa`, which has the everyday ones as methods. Nothing here changes the base.
"""
