"""Splits a document into tokens. Strings and heredocs become template tokens between their quotes (HCL 2.24.0)."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from ci_buildx.hcl.source import HclError, SourceRange


class TokenKind(Enum):
    """Kind of a token; the value is its text if that is always the same."""

    END = "end of file"
    IDENTIFIER = "identifier"
    NUMBER = "number"
    NEWLINE = "newline"
    COMMENT = "comment"
    OPEN_QUOTE = "opening quote"
    CLOSE_QUOTE = "closing quote"
    OPEN_HEREDOC = "heredoc"
    CLOSE_HEREDOC = "end of heredoc"
    QUOTED = "quoted text"
    LITERAL = "text"
    OPEN_INTERPOLATION = "${"
    OPEN_DIRECTIVE = "%{"
    CLOSE_TEMPLATE = "end of template"
    OPEN_BRACE = "{"
    CLOSE_BRACE = "}"
    OPEN_BRACKET = "["
    CLOSE_BRACKET = "]"
    OPEN_PARENTHESIS = "("
    CLOSE_PARENTHESIS = ")"
    DOT = "."
    COMMA = ","
    STAR = "*"
    SLASH = "/"
    PERCENT = "%"
    PLUS = "+"
    MINUS = "-"
    EQUAL = "="
    EQUAL_TO = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    NOT = "!"
    AND = "&&"
    OR = "||"
    QUESTION = "?"
    COLON = ":"
    DOUBLE_COLON = "::"
    ELLIPSIS = "..."
    ARROW = "=>"
    INVALID = "invalid character"


class Token(NamedTuple):
    """A token, its text as written, and where it is."""

    kind: TokenKind
    text: str
    where: SourceRange


_PUNCTUATION = {
    kind.value: kind
    for kind in TokenKind
    if kind.value and not kind.value[0].isalpha() and kind.value not in ("${", "%{")
}
_SPACES = re.compile(r"[ \t]+")
_COMMENT = re.compile(r"(?:#|//)[^\n]*\n?|/\*.*?\*/", re.DOTALL)
_IDENTIFIER = re.compile(r"[^\W\d][\w-]*")
_NUMBER = re.compile(r"\d+(?:\.\d+)*(?:[eE][+-]?\d+)?")
_NEWLINE = re.compile(r"\r?\n")
_HEREDOC = re.compile(r"<<(-?)([^\W\d][\w-]*)\r?\n")
_OPERATOR = re.compile(r"\.\.\.|==|!=|<=|>=|&&|\|\||::|=>|[\[\]().,*/%+\-=<>!?:{}]")
_OPEN_TEMPLATE = re.compile(r"[$%]\{~?")
_QUOTED = re.compile(r'(?:\\[^\n\r]|\$\$\{|%%\{|[$%](?!\{)|[^$%"\\\n\r])+')
_LINE = re.compile(r"(?:\$\$\{|%%\{|[$%](?!\{)|[^$%\n])*\n?")
_OLD_SYMBOLS = {
    "&": 'did you mean boolean AND ("&&")?',
    "|": 'did you mean boolean OR ("||")?',
    "'": "use double quotes for strings",
    "`": "use a heredoc for text of several lines",
    ";": "put each argument on a line of its own",
}


def read_tokens(text: str, file: str, *, line: int = 1, column: int = 1) -> list[Token]:
    """Return the tokens of a document, without spaces and with an ``END``.

    ``line`` and ``column`` are the position of its first character. Raises HclError for characters that no token may
    contain.
    """
    scanner = _Scanner(text.removeprefix("\ufeff"), file, line, column)
    scanner.scan_code(inside=False)
    scanner.emit(TokenKind.END, 0)
    return scanner.found


def read_template_tokens(text: str, file: str, *, line: int = 1, column: int = 1) -> list[Token]:
    """Return the tokens of a template without quotes: text, interpolations, directives. Raises HclError."""
    scanner = _Scanner(text, file, line, column)
    while scanner.at < len(text):
        if match := _OPEN_TEMPLATE.match(text, scanner.at):
            scanner.open_template(match[0])
        else:
            scanner.emit_match(TokenKind.LITERAL, _LINE)
    scanner.emit(TokenKind.END, 0)
    return scanner.found


class _Scanner:
    """The text, the position in it, and the tokens so far."""

    def __init__(self, text: str, file: str, line: int, column: int) -> None:
        self.text, self.file = text, file
        self.at, self.line, self.column = 0, line, column
        self.depth = 0
        self.found: list[Token] = []

    def emit(self, kind: TokenKind, length: int) -> Token:
        """Add a token of ``length`` characters and go behind it."""
        text = self.text[self.at : self.at + length]
        start = (self.line, self.column)
        lines = text.count("\n")
        if lines:
            self.line += lines
            self.column = len(text) - text.rfind("\n")
        else:
            self.column += len(text)
        self.at += length
        token = Token(kind, text, SourceRange(self.file, *start, self.line, self.column))
        self.found.append(token)
        return token

    def emit_match(self, kind: TokenKind, pattern: re.Pattern[str]) -> bool:
        """Add the token that begins here, if there is one."""
        match = pattern.match(self.text, self.at)
        if match is None or not match[0]:
            return False
        self.emit(kind, len(match[0]))
        return True

    def fail(self, summary: str, detail: str, length: int = 1) -> HclError:
        """Return an error for the characters here."""
        where = SourceRange(self.file, self.line, self.column, self.line, self.column + length)
        return HclError(summary, detail, where)

    def scan_code(self, *, inside: bool) -> None:
        """Read tokens to the end of the text or, inside a template, behind its closing brace."""
        depth = 0
        while self.at < len(self.text):
            if match := _SPACES.match(self.text, self.at):
                self.at += len(match[0])
                self.column += len(match[0])
                continue
            if inside and not depth and self.text.startswith(("}", "~}"), self.at):
                self.emit(TokenKind.CLOSE_TEMPLATE, 1 if self.text[self.at] == "}" else 2)
                return
            depth += self.scan_token()

    def scan_token(self) -> int:
        """Read one token, or a whole string; return how it changes the depth of braces."""
        for kind, pattern in (
            (TokenKind.NUMBER, _NUMBER),
            (TokenKind.IDENTIFIER, _IDENTIFIER),
            (TokenKind.COMMENT, _COMMENT),
            (TokenKind.NEWLINE, _NEWLINE),
        ):
            if self.emit_match(kind, pattern):
                return 0
        if self.text[self.at] == '"':
            self.scan_string()
            return 0
        if match := _HEREDOC.match(self.text, self.at):
            self.scan_heredoc(match[2], len(match[0]))
            return 0
        operator = _OPERATOR.match(self.text, self.at)
        if operator is None:
            raise self.refuse_character()
        self.emit(_PUNCTUATION[operator[0]], len(operator[0]))
        return {"{": 1, "}": -1}.get(operator[0], 0)

    def refuse_character(self) -> HclError:
        """Return the error for a character that begins no token."""
        one = self.text[self.at]
        advice = _OLD_SYMBOLS.get(one, "")
        detail = f"This character is not used within the language{f'; {advice}' if advice else ''}."
        if self.text.startswith("/*", self.at):
            detail = "This comment has no end."
        return self.fail("Invalid character", detail)

    def open_template(self, opening: str) -> None:
        """Read an interpolation or a directive."""
        self.depth += 1
        if self.depth > 100:
            raise self.fail("Invalid template", "Templates are nested too deeply.")
        self.emit(TokenKind.OPEN_INTERPOLATION if opening[0] == "$" else TokenKind.OPEN_DIRECTIVE, len(opening))
        self.scan_code(inside=True)
        self.depth -= 1

    def scan_string(self) -> None:
        """Read a quoted string."""
        opening = self.emit(TokenKind.OPEN_QUOTE, 1)
        while self.at < len(self.text):
            if self.text[self.at] == '"':
                self.emit(TokenKind.CLOSE_QUOTE, 1)
                return
            if match := _OPEN_TEMPLATE.match(self.text, self.at):
                self.open_template(match[0])
            elif not self.emit_match(TokenKind.QUOTED, _QUOTED):
                break
        if self.at < len(self.text):
            detail = "Quoted strings may not be split over multiple lines. Use a heredoc, or the \\n escape."
            raise HclError("Invalid multi-line string", detail, opening.where)
        raise HclError("Unterminated template string", "No closing marker was found for the string.", opening.where)

    def scan_heredoc(self, marker: str, length: int) -> None:
        """Read a heredoc: a token for each line or part of one, to the line that holds only the marker."""
        opening = self.emit(TokenKind.OPEN_HEREDOC, length)
        at_start = True
        while self.at < len(self.text):
            if match := _OPEN_TEMPLATE.match(self.text, self.at):
                self.open_template(match[0])
                at_start = False
                continue
            line = _LINE.match(self.text, self.at)
            part = line[0] if line else ""
            if at_start and part.strip() == marker and (part.endswith("\n")):
                self.emit(TokenKind.CLOSE_HEREDOC, len(part.rstrip("\r\n")))
                return
            self.emit(TokenKind.LITERAL, len(part))
            at_start = part.endswith("\n")
        raise HclError("Unterminated template string", f'No line holds only "{marker}".', opening.where)
