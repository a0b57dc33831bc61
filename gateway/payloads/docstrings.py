"""What stands below the fields of a request's model, for its schema.

Pydantic can do this itself, but as the models are made: the gateway would read its own source at every start.
"""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise

from pydantic import BaseModel


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields, those it inherits too, by the names under which they travel."""
    docs: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            docs.update(_own_docs(each))
    return {field.alias or name: docs[name] for name, field in model.model_fields.items() if name in docs}


def _own_docs(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    for field, below in pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)
            case _:
                pass
