"""Functions that stand in for real ones: the damage that a mutant does, and the calls that a test lets fail."""

from typing import Any


def stand_in(owner: object, **others: Any) -> None:
    """Put others in the place of what a class, module or object has under these names.

    Nobody puts them back, so this is for a process that ends with its test, or an object that the test drops.

    Raises:
        AttributeError: There is nothing of that name, so that damage which does nothing is found out.
    """
    for name, other in others.items():
        getattr(owner, name)
        setattr(owner, name, other)
