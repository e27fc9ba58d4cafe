"""The position of a parser in its tokens: newlines count only where they end something."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from ci_buildx.hcl.source import HclError, SourceRange
from ci_buildx.hcl.syntax import Expression
from ci_buildx.hcl.tokens import Token, TokenKind

_DEEPEST = 200
"""Maximum nesting of expressions: each level takes ten calls of Python's stack."""


class TokenReader:
    """Reads tokens one after the other, without comments."""

    def __init__(self, tokens: Sequence[Token], *, newlines: bool) -> None:
        self._tokens = tokens
        self._at = 0
        self._newlines = [newlines]
        self._depth = 0

    def _find(self) -> tuple[Token, int]:
        at = self._at
        while at < len(self._tokens):
            token = self._tokens[at]
            at += 1
            if token.kind is TokenKind.COMMENT:
                if self._newlines[-1] and token.text.endswith("\n"):
                    return token._replace(kind=TokenKind.NEWLINE), at
                continue
            if token.kind is TokenKind.NEWLINE and not self._newlines[-1]:
                continue
            return token, at
        return self._tokens[-1], at

    def peek(self) -> Token:
        """Return the next token."""
        return self._find()[0]

    def take(self) -> Token:
        """Return the next token and go behind it."""
        token, self._at = self._find()
        return token

    def accept(self, *kinds: TokenKind) -> Token | None:
        """Take the next token if it is of one of the kinds."""
        return self.take() if self.peek().kind in kinds else None

    def accept_word(self, word: str) -> Token | None:
        """Take the next token if it is a keyword."""
        token = self.peek()
        return self.take() if token.kind is TokenKind.IDENTIFIER and token.text == word else None

    @property
    def last(self) -> SourceRange:
        """Where the token is that was taken last."""
        return self._tokens[max(0, min(self._at, len(self._tokens)) - 1)].where

    @contextmanager
    def nest(self, *, newlines: bool) -> Iterator[None]:
        """Change within the block whether newlines count. Raises HclError if blocks are nested too deeply."""
        self._newlines.append(newlines)
        with self.descend():
            yield
        self._newlines.pop()

    def refuse_depth(self) -> HclError:
        """Return the error of expressions that are nested too deeply, at the place that was reached."""
        return HclError("Invalid expression", "Expressions are nested too deeply.", self.peek().where)

    @contextmanager
    def descend(self) -> Iterator[None]:
        """Count one level of nesting within the block. Raises HclError at a depth that would exhaust the stack."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.refuse_depth()
        yield
        self._depth -= 1


ParseExpression: TypeAlias = Callable[[TokenReader], Expression]
"""Parses an expression: what contains expressions and is part of one gets the parser."""
