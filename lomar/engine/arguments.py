"""Keyword arguments of functions and classes, followed through `**kwargs`."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from torch import nn


@dataclass(frozen=True)
class Keys:
    """Names of the keys that something reads, and whether it reads no others."""

    names: frozenset[str] = frozenset()
    complete: bool = True

    def __or__(self, other: 'Keys') -> 'Keys':
        return Keys(self.names | other.names, self.complete and other.complete)


@cache
def arguments(function: Callable) -> Keys:
    """Return the arguments of a function or class, with those that `**kwargs` is passed on to."""
    if not inspect.isclass(function):
        return _own_and_passed(function, ())
    found = [vars(base).get('__init__') for base in function.__mro__ if base is not object]
    inits = [init for init in found if init is not None and init is not nn.Module.__init__]
    return _own_and_passed(inits[0], inits[1:]) if inits else Keys()


def _own_and_passed(function: Callable, above: Sequence[Callable]) -> Keys:
    """Return the arguments of a function; `above` are the `__init__` of the classes above."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a built-in
        return Keys(complete=False)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    read = Keys(frozenset(each.name for each in parameters if each.kind in named) - {'self'})
    if all(each.kind != inspect.Parameter.VAR_KEYWORD for each in parameters):
        return read
    for call in _calls_with_kwargs(function):
        if getattr(call, 'attr', '') == '__init__':  # super().__init__(**kwargs)
            read |= _own_and_passed(above[0], above[1:]) if above else Keys()
        elif isinstance(call, ast.Name) and callable(inner := function.__globals__.get(call.id)):
            read |= arguments(inner)
        else:
            read |= Keys(complete=False)
    return read


def _calls_with_kwargs(function: Callable) -> list[ast.expr | None]:
    """Return what a function calls with its `**kwargs`; None for each other use of it."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError):
        return [None]
    if not isinstance(tree, ast.FunctionDef) or not tree.args.kwarg:  # a lambda, or a wrapper
        return [None]
    name = tree.args.kwarg.arg
    called = {
        keyword.value: call.func
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg is None
    }
    uses = [each for each in ast.walk(tree) if isinstance(each, ast.Name) and each.id == name]
    return [called.get(use) for use in uses]
