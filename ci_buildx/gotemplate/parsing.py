"""Parses templates (Go 1.26, ``text/template/parse/parse.go``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from ci_buildx.gotemplate.kinds import BOOLEAN, FLOAT, INTEGER, NIL, TEXT, GoValue
from ci_buildx.gotemplate.lexing import TemplateToken, TemplateTokenKind, split_template
from ci_buildx.gotemplate.syntax import (
    BranchAction,
    FieldPath,
    FunctionName,
    LiteralText,
    LoopExit,
    Operand,
    Pipeline,
    PipelineAction,
    TemplateFault,
    TemplateLiteral,
    TemplateNode,
    VariableName,
)
from ci_buildx.model.lazy import compile_lazily

DEEPEST = 100
"""Maximum nesting of actions and parentheses."""
_BRANCHES = ("if", "with", "range")
_LOOP_EXITS = ("break", "continue")
UNSUPPORTED = ("define", "template", "block", "call", "js")
"""Words of Go's language that templates here do not know."""
_KEYWORDS = (*_BRANCHES, *_LOOP_EXITS, "else", "end")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = compile_lazily(
    r"(?s)\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<o>[0-7]{3})|(?P<c>.))"
)
_LARGEST = (1 << 63) - 1


def parse_nodes(text: str, functions: Collection[str]) -> tuple[TemplateNode, ...]:
    """Parse a template that may use ``functions``. Raises TemplateFault."""
    return _TemplateParser(text, functions).parse_all()


class _TemplateParser:
    def __init__(self, text: str, functions: Collection[str]) -> None:
        self._tokens = list(split_template(text))
        self._place = 0
        self._functions = functions
        self._variables = ["$"]
        self._depth = 0
        self._loops = 0

    def parse_all(self) -> tuple[TemplateNode, ...]:
        nodes, ended = self._parse_block()
        if ended is not None:
            raise TemplateFault(f"unexpected {{{{{ended.text}}}}}", line=ended.line)
        return nodes

    def _parse_block(self) -> tuple[tuple[TemplateNode, ...], TemplateToken | None]:
        """Return the nodes up to ``else`` or ``end``, and that token; None at the end of the text."""
        nodes: list[TemplateNode] = []
        while (token := self._peek()) is not None:
            if token.kind is TemplateTokenKind.LITERAL:
                self._place += 1
                nodes.append(LiteralText(token.text))
            elif token.kind is TemplateTokenKind.WORD and token.text in ("else", "end"):
                self._place += 1
                return tuple(nodes), token
            else:
                nodes.append(self._parse_action(token))
        return tuple(nodes), None

    def _parse_action(self, token: TemplateToken) -> TemplateNode:
        word = token.text if token.kind is TemplateTokenKind.WORD else ""
        if word in _BRANCHES:
            self._place += 1
            return self._parse_branch(word, token.line)
        if word in _LOOP_EXITS and word not in self._functions:
            self._place += 1
            if not self._loops:
                raise TemplateFault(f"{{{{{word}}}}} is outside of {{{{range}}}}", line=token.line)
            self._require_end(token.line)
            return LoopExit(word)
        pipeline = self._parse_pipeline(TemplateTokenKind.END, token.line)
        return PipelineAction(pipeline)

    def _parse_branch(self, word: str, line: int) -> BranchAction:
        known = len(self._variables)
        self._deepen(line)
        pipeline = self._parse_pipeline(TemplateTokenKind.END, line, ranges=word == "range")
        self._loops += word == "range"
        then, ended = self._parse_block()
        self._loops -= word == "range"
        otherwise: tuple[TemplateNode, ...] = ()
        if ended is not None and ended.text == "else" and self._follows_word(word):
            self._place += 1
            otherwise = (self._parse_branch(word, ended.line),)  # It shares this branch's end.
        else:
            if ended is not None and ended.text == "else":
                self._require_end(ended.line)
                otherwise, ended = self._parse_block()
            if ended is None or ended.text != "end":
                raise TemplateFault(f"{{{{{word}}}}} is not closed", line=line, fix="close it with {{end}}")
            self._require_end(ended.line)
        del self._variables[known:]
        self._depth -= 1
        return BranchAction(word, pipeline, then, otherwise)

    def _follows_word(self, word: str) -> bool:
        """Return whether the same word follows ``else``, as in ``else if``."""
        after = self._peek()
        return after is not None and after.kind is TemplateTokenKind.WORD and after.text == word != "range"

    def _parse_pipeline(self, end: TemplateTokenKind, line: int, *, ranges: bool = False) -> Pipeline:
        names, assigns = self._parse_declaration(ranges)
        commands: list[tuple[Operand, ...]] = []
        while True:
            operands = tuple(self._parse_operands())
            token = self._take(line)
            if not operands:
                raise TemplateFault("a value is missing" if token.kind is end else _describe(token), line=token.line)
            if operands[0] == TemplateLiteral(NIL):
                raise TemplateFault("nil is not a command", line=token.line)
            if commands and not isinstance(operands[0], FunctionName | FieldPath | Pipeline):
                raise TemplateFault("a value is piped into one that is not a function", line=token.line)
            commands.append(operands)
            if token.kind is end:
                break
            if token.kind is not TemplateTokenKind.PIPE:
                raise TemplateFault(_describe(token), line=token.line)
        self._variables += () if assigns else names
        return Pipeline(tuple(commands), names, assigns, line)

    def _parse_declaration(self, ranges: bool) -> tuple[tuple[str, ...], bool]:
        """Return the variables that the pipeline sets, and whether they exist already."""
        names: list[str] = []
        place = self._place
        while (token := self._peek()) is not None and token.kind is TemplateTokenKind.VARIABLE:
            self._place += 1
            names.append(token.text)
            following = self._take(token.line)
            if following.kind in (TemplateTokenKind.DECLARE, TemplateTokenKind.ASSIGN):
                assigns = following.kind is TemplateTokenKind.ASSIGN
                for name in names if assigns else ():
                    self._check_variable(name, token.line)
                return tuple(names), assigns
            if not (following.kind is TemplateTokenKind.COMMA and ranges and len(names) < 2):
                break
        self._place = place
        return (), False

    def _parse_operands(self) -> Iterator[Operand]:
        first = True
        while (token := self._peek()) is not None and token.kind not in (
            TemplateTokenKind.END,
            TemplateTokenKind.PIPE,
            TemplateTokenKind.CLOSE,
            TemplateTokenKind.LITERAL,
        ):
            if not first and not token.spaced:
                raise TemplateFault(_describe(token), line=token.line)
            self._place += 1
            yield self._parse_fields(self._parse_operand(token))
            first = False

    def _parse_fields(self, operand: Operand) -> Operand:
        """Read the fields that follow an operand without white space."""
        names: list[str] = []
        while (token := self._peek()) is not None and token.kind is TemplateTokenKind.FIELD and not token.spaced:
            self._place += 1
            names.append(token.text[1:])
        if not names:
            return operand
        if isinstance(operand, FieldPath) and operand.base is None:
            return FieldPath((*operand.names, *names))
        if isinstance(operand, TemplateLiteral):
            raise TemplateFault(f"unexpected .{names[0]} after a constant", line=self._tokens[self._place - 1].line)
        return FieldPath(tuple(names), operand)

    def _parse_operand(self, token: TemplateToken) -> Operand:
        match token.kind:
            case TemplateTokenKind.DOT:
                return FieldPath(())
            case TemplateTokenKind.FIELD:
                return FieldPath((token.text[1:],))
            case TemplateTokenKind.VARIABLE:
                self._check_variable(token.text, token.line)
                return VariableName(token.text)
            case TemplateTokenKind.OPEN:
                self._deepen(token.line)
                inner = self._parse_pipeline(TemplateTokenKind.CLOSE, token.line)
                self._depth -= 1
                return inner
            case TemplateTokenKind.WORD:
                return self._parse_word(token)
            case TemplateTokenKind.NUMBER:
                return TemplateLiteral(_read_number(token))
            case TemplateTokenKind.QUOTED:
                return TemplateLiteral(GoValue(TEXT, _unescape(token)))
            case TemplateTokenKind.RAW:
                return TemplateLiteral(GoValue(TEXT, token.text[1:-1].replace("\r", "")))
            case TemplateTokenKind.CHARACTER:
                return TemplateLiteral(_read_character(token))
            case _:
                raise TemplateFault(_describe(token), line=token.line)

    def _parse_word(self, token: TemplateToken) -> Operand:
        match token.text:
            case "true" | "false":
                return TemplateLiteral(GoValue(BOOLEAN, token.text == "true"))
            case "nil":
                return TemplateLiteral(NIL)
            case word if word in self._functions:
                return FunctionName(word)
            case word if word in UNSUPPORTED:
                known = ", ".join(sorted(self._functions))
                raise TemplateFault(
                    f"{word!r} of Go's templates is not supported", line=token.line, fix=f"functions: {known}"
                )
            case word if word in _KEYWORDS:
                raise TemplateFault(f"unexpected {word!r}", line=token.line)
            case word:
                from ci_buildx.settings.names import suggest_name

                fix = suggest_name(word, sorted(self._functions))
                raise TemplateFault(f"unknown function {word!r}", line=token.line, fix=fix)

    def _check_variable(self, name: str, line: int) -> None:
        if name not in self._variables:
            raise TemplateFault(f"undefined variable {name!r}", line=line)

    def _deepen(self, line: int) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise TemplateFault("it is nested too deeply", line=line)

    def _peek(self) -> TemplateToken | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self, line: int) -> TemplateToken:
        token = self._peek()
        if token is None:
            raise TemplateFault("the action is not closed", line=line)
        self._place += 1
        return token

    def _require_end(self, line: int) -> None:
        token = self._take(line)
        if token.kind is not TemplateTokenKind.END:
            raise TemplateFault(_describe(token), line=token.line)


def _describe(token: TemplateToken) -> str:
    return "an action is empty" if token.kind is TemplateTokenKind.END else f"unexpected {token.text!r}"


def _read_number(token: TemplateToken) -> GoValue:
    """Return a constant: Go's integers with their prefixes and underscores, and decimal fractions."""
    text = token.text
    try:
        if re.fullmatch(r"[+-]?0[0-7]+", text):
            return _make_integer(int(text.replace("0", "0o", 1), 0), token)
        if re.fullmatch(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)", text):
            return _make_integer(int(text, 0), token)
        number = float(text)
    except ValueError:
        raise TemplateFault(f"{text!r} is not a number", line=token.line) from None
    if number in (float("inf"), float("-inf")):
        raise TemplateFault(f"{text!r} is too large", line=token.line)
    return GoValue(FLOAT, number)


def _make_integer(number: int, token: TemplateToken) -> GoValue:
    if not -_LARGEST - 1 <= number <= _LARGEST:
        raise TemplateFault(f"{token.text!r} is too large", line=token.line)
    return GoValue(INTEGER, number)


def _read_character(token: TemplateToken) -> GoValue:
    text = _unescape(token)
    if len(text) != 1:
        raise TemplateFault(f"{token.text} is not one character", line=token.line)
    return GoValue(INTEGER, ord(text))


def _unescape(token: TemplateToken) -> str:
    """Return a quoted text's value; the escapes are those of Go."""
    quote = token.text[0]

    def resolve(found: re.Match[str]) -> str:
        if digits := found["x"] or found["u"] or found["U"]:
            code = int(digits, 16)
        elif found["o"]:
            code = int(found["o"], 8)
        else:
            character = found["c"]
            if character not in _ESCAPES and character not in ("\\", quote):
                raise TemplateFault(f"{token.text} has an unknown escape", line=token.line)
            return _ESCAPES.get(character, character)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code > 0x7F and not (found["u"] or found["U"])):
            raise TemplateFault(f"{token.text} has an unsupported escape", line=token.line)
        return chr(code)

    return _ESCAPE.sub(resolve, token.text[1:-1])
