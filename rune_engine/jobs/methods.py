"""How an adapter is made where that was left open: by what its base model has. Loads no model."""

from __future__ import annotations

from base_models import BaseModelFolder, hypernetworks
from base_models.hypernetworks import DamagedHypernetworkError, ForeignHypernetworkError
from base_models.identity import is_of_family
from rune_engine.errors import BaseModelCorruptedError, InvalidInputError
from rune_engine.models import FAST_METHODS, DistillMethod, DistillParams


def has_fast_method(model: BaseModelFolder) -> bool:
    """Whether the base model has a way that trains nothing; reads no weights."""
    return not model.is_gguf and is_of_family(model.path)


def fast_method(model: BaseModelFolder) -> DistillMethod | None:
    """The way that trains nothing: its hypernetwork, the closed form, or none.

    A hypernetwork that cannot be used is passed over; `rune doctor` tells of it.
    """
    if not has_fast_method(model):
        return None
    try:
        return "hypernetwork" if hypernetworks.of_base(model.path) else "closed_form"
    except (DamagedHypernetworkError, ForeignHypernetworkError):
        return "closed_form"


def method_for(params: DistillParams, model: BaseModelFolder) -> DistillMethod:
    """What "auto" means for these parameters; every other method means itself.

    Settings of a training ask for one. A hypernetwork's rank is its own, so another rank asks for
    the closed form.
    """
    if params.method != "auto":
        return params.method
    fast = fast_method(model)
    if fast is None or params.max_steps is not None or params.learning_rate is not None:
        return "direct"
    return "closed_form" if params.rank is not None else fast


def check_method(params: DistillParams, model: BaseModelFolder) -> None:
    """Refuse a method that the base model lacks, or settings that the method has not.

    Raises:
        InvalidInputError: steps, a learning rate or a rank were given that the method has not, or
            the base model has no hypernetwork of its own.
        BaseModelCorruptedError: its hypernetwork is damaged.
    """
    if params.method in FAST_METHODS and (params.max_steps or params.learning_rate):
        raise InvalidInputError(
            f"{params.method} trains nothing, so it has no max_steps and no learning_rate.",
            next_step="Leave them out, or choose another method.",
        )
    if params.method != "hypernetwork":
        return
    if params.rank is not None:
        raise InvalidInputError(
            "A hypernetwork's adapters have one rank.",
            next_step="Leave rank out, or choose another method.",
        )
    other = "Choose the method `closed_form`, which needs none."
    try:
        found = hypernetworks.of_base(model.path)
    except ForeignHypernetworkError as error:
        raise InvalidInputError(str(error), next_step=other) from error
    except DamagedHypernetworkError as error:
        raise BaseModelCorruptedError(str(error), next_step=other) from error
    if found is None:
        raise InvalidInputError(
            f"The base model {model.id!r} has no hypernetwork.", next_step=other
        )
