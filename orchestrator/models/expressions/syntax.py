"""Reads CEL source into a tree, and says which names it reads. Evaluates nothing.

Left out of CEL, since JSON has none of them: bytes, unsigned integers, messages.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.errors import ExpressionError, did_you_mean
from orchestrator.models.expressions.functions import FUNCTIONS

MAX_SOURCE = 8192
MAX_NESTING = 40
MAX_CHAIN = 100
_INT_LIMIT = 2**63
_TOO_LONG = f"longer than {MAX_SOURCE} characters; split it over several nodes"
ROOTS = ("inputs", "nodes", "run", "item", "index", "secrets", "vars")
TYPE_NAMES = ("int", "double", "string", "bool", "list", "map", "null_type")
MACROS = {"map": (2, 3), "filter": (2, 2), "all": (2, 2), "exists": (2, 2), "exists_one": (2, 2)}
_CONSTANTS = {"true": True, "false": False, "null": None}
_LEVELS = (
    ("or", ("||",)),
    ("and", ("&&",)),
    ("compare", ("==", "!=", "<", "<=", ">", ">=", "in")),
    ("arith", ("+", "-")),
    ("arith", ("*", "/", "%")),
)
_TOKEN = re.compile(
    r"""(?P<space>(?:\s+|//[^\n]*)+)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<int>0[xX][0-9a-fA-F]+|\d+)
      | (?P<text>[rR]?(?:\"\"\"(?:[^\\]|\\.)*?\"\"\"|'''(?:[^\\]|\\.)*?'''
                 |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)


class Reference(NamedTuple):
    """A name an expression reads: ("nodes", "fetch"); name None: the whole root."""

    root: str
    name: str | None


class Token(NamedTuple):
    kind: str
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed expression; `top` is nested tuples, read by `expression_program` only."""

    top: tuple[Any, ...]
    references: frozenset[Reference]
    #: Where the source ended: its length, or where `}}` stands in a template.
    end: int = field(compare=False)


def tokens(source: str, start: int = 0, *, template: bool = False) -> tuple[list[Token], int]:
    """The tokens from `start`, and where they end: at `}}` outside any `{`, for a template."""
    found: list[Token] = []
    at, depth, size = start, 0, len(source)
    while at < size:
        if template and not depth and source.startswith("}}", at):
            return found, at
        if at - start > MAX_SOURCE:
            raise ExpressionError(_TOO_LONG)
        match = _TOKEN.match(source, at)
        if match is None:
            raise ExpressionError(f"character {at + 1}: cannot read {source[at : at + 12]!r}")
        kind, text = match.lastgroup or "", match.group()
        if kind != "space":
            found.append(Token(kind, text, at))
            depth += (text == "{") - (text == "}") if kind == "sign" else 0
        at = match.end()
    if template:
        raise ExpressionError(f"character {start - 1}: `{{{{` has no closing `}}}}`")
    return found, at


def parse(source: str, start: int = 0, *, template: bool = False) -> Tree:
    """The tree of `source`, or of its part from `start` up to `}}`.

    Raises ExpressionError with the character (from 1) and the remedy; so do a source over
    8,192 characters and nesting over 40.
    """
    if len(source) - start > MAX_SOURCE and not template:
        raise ExpressionError(_TOO_LONG)
    read, end = tokens(source, start, template=template)
    parser = _Parser(read, end)
    try:
        top = parser.expression()
    except RecursionError:
        raise ExpressionError("nested too deeply; split it over several nodes") from None
    if parser.no < len(read):
        raise parser.unexpected()
    return Tree(top, frozenset(parser.references), end)


def _text(token: Token) -> str:
    raw = token.text
    if raw[0] in "rR":
        return raw[4:-3] if raw[1:4] in ('"""', "'''") else raw[2:-1]
    try:
        # Python reads CEL's escapes alike, but for `\?`, `\`` and named characters.
        value = ast.literal_eval(re.sub(r"\\([?`])", r"\1", raw)) if "\\" in raw else None
    except (SyntaxError, ValueError):
        raise ExpressionError(f"character {token.at + 1}: bad escape in {raw[:40]}") from None
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            half = f"bad escape in {raw[:40]}: write the character, or \\U and eight digits"
            raise ExpressionError(f"character {token.at + 1}: {half}")
        return value
    return raw[3:-3] if raw[:3] in ('"""', "'''") else raw[1:-1]


class _Parser:
    def __init__(self, read: list[Token], end: int) -> None:
        self.tokens = read
        self.no = 0
        self.end = end
        self.nesting = 0
        #: The token that stands right behind an odd number of `-`.
        self.negated = -1
        self.bound: list[str] = []
        self.references: set[Reference] = set()

    def peek(self, ahead: int = 0) -> str:
        at = self.no + ahead
        if at >= len(self.tokens) or self.tokens[at].kind == "text":
            return ""
        return self.tokens[at].text

    def take(self, text: str) -> bool:
        if self.peek() == text:
            self.no += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.unexpected(f"expected `{text}`")

    def error(self, why: str, token: Token | None = None) -> ExpressionError:
        if token is None and self.no < len(self.tokens):
            token = self.tokens[self.no]
        return ExpressionError(f"character {(token.at if token else self.end) + 1}: {why}")

    def unexpected(self, why: str = "") -> ExpressionError:
        if not self.tokens:
            return ExpressionError("the expression is empty")
        if self.no >= len(self.tokens):
            return self.error("it ends too early" + (f", {why}" if why else ""))
        token = self.tokens[self.no]
        return self.error(f"did not expect {token.text[:40]!r}" + (f", {why}" if why else ""))

    def expression(self) -> tuple[Any, ...]:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.error(f"nested more than {MAX_NESTING} deep; split it over several nodes")
        top = self.level(0)
        if self.take("?"):
            yes = self.level(0)
            self.expect(":")
            top = ("cond", top, yes, self.expression())
        self.nesting -= 1
        return top

    def level(self, no: int) -> tuple[Any, ...]:
        if no == len(_LEVELS):
            return self.unary()
        kind, signs = _LEVELS[no]
        first = self.level(no + 1)
        rest: list[tuple[str, tuple[Any, ...]]] = []
        while (sign := self.peek()) in signs and sign:
            self.no += 1
            rest.append((sign, self.level(no + 1)))
        return (kind, first, rest) if rest else first

    def unary(self) -> tuple[Any, ...]:
        sign = self.peek()
        if sign not in ("!", "-"):
            return self.postfix()
        count = 0
        while self.take(sign):
            count += 1
        if count > MAX_CHAIN:
            raise self.error(f"too many `{sign}` in a row")
        self.negated = self.no if sign == "-" and count % 2 else -1
        inner = self.unary() if self.peek() in ("!", "-") else self.postfix()
        if sign == "-" and inner[0] == "lit" and type(inner[1]) in (int, float):
            value = -inner[1] if count % 2 else inner[1]
            if value != _INT_LIMIT:
                return ("lit", value)
        return ("not" if sign == "!" else "neg", inner, count)

    def postfix(self) -> tuple[Any, ...]:
        start = self.no
        top, root = self.primary()
        steps = 0
        while (sign := self.peek()) in (".", "["):
            self.no += 1
            steps += 1
            if steps > MAX_CHAIN:
                raise self.error(f"more than {MAX_CHAIN} steps in one path")
            step = self.member(top) if sign == "." else self.index(top)
            if root is not None:
                self.refer(root, step, start)
                root = None
            top = step
        if root is not None:
            self.references.add(Reference(root, None))
        return top

    def refer(self, root: str, step: tuple[Any, ...], start: int) -> None:
        name = step[2] if step[0] == "field" else None
        if step[0] == "index" and step[2][0] == "lit" and isinstance(step[2][1], str):
            name = step[2][1]
        self.references.add(Reference(root, name))
        follows = self.no + 1 < len(self.tokens) and self.tokens[self.no + 1].kind == "name"
        if root == "nodes" and step[0] == "field" and self.peek() == "-" and follows:
            first, last = self.tokens[start + 2], self.tokens[self.no + 1]
            meant = f"{first.text}-{last.text}"
            raise self.error(f'an id with `-` needs brackets: nodes["{meant}"]', first)

    def index(self, base: tuple[Any, ...]) -> tuple[Any, ...]:
        key = self.expression()
        self.expect("]")
        return ("index", base, key)

    def member(self, base: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.no >= len(self.tokens) or self.tokens[self.no].kind != "name":
            raise self.unexpected("expected a field's name")
        token = self.tokens[self.no]
        self.no += 1
        if not self.take("("):
            return ("field", base, token.text)
        if token.text in MACROS:
            return self.macro(base, token)
        return self.call(token, [base])

    def call(self, token: Token, first: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        known = FUNCTIONS.get(token.text)
        if known is None:
            near = did_you_mean(token.text, [*FUNCTIONS, *MACROS, "has"])
            raise self.error(f"there is no function `{token.text[:80]}`{near}", token)
        args = first + self.items(")")
        if not known.least <= len(args) <= known.most:
            wants = f"{known.least}" if known.least == known.most else f"{known.least} or more"
            raise self.error(f"{token.text}() takes {wants} values, not {len(args)}", token)
        return ("call", token.text, args)

    def macro(self, base: tuple[Any, ...], token: Token) -> tuple[Any, ...]:
        variable = self.peek()
        if not variable.isidentifier() or self.peek(1) != "," or variable in _CONSTANTS:
            raise self.unexpected(f"{token.text}() begins with a variable: x.{token.text}(i, …)")
        self.no += 2
        self.bound.append(variable)
        bodies = self.items(")")
        self.bound.pop()
        least, most = MACROS[token.text]
        if not least <= len(bodies) + 1 <= most:
            raise self.error(f"{token.text}() takes a variable and an expression", token)
        return ("macro", token.text, base, variable, bodies)

    def items(self, closing: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        while not self.take(closing):
            found.append(self.expression())
            if not self.take(","):
                self.expect(closing)
                break
        return found

    def entries(self) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        found: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = []
        while not self.take("}"):
            key = self.expression()
            self.expect(":")
            found.append((key, self.expression()))
            if not self.take(","):
                self.expect("}")
                break
        return found

    def primary(self) -> tuple[tuple[Any, ...], str | None]:
        if self.no >= len(self.tokens):
            raise self.unexpected()
        token = self.tokens[self.no]
        self.no += 1
        match token.kind, token.text:
            case "text", _:
                return ("lit", _text(token)), None
            case (("float" | "int"), _):
                return ("lit", self.number(token)), None
            case "name", _:
                return self.name(token)
            case _, "(":
                inner = self.expression()
                self.expect(")")
                return inner, None
            case _, "[":
                return ("list", self.items("]")), None
            case _, "{":
                return ("map", self.entries()), None
        self.no -= 1
        raise self.unexpected()

    def number(self, token: Token) -> int | float:
        text = token.text
        if token.kind == "float":
            value: int | float = float(text)
            fits = math.isfinite(value)
        else:
            base, digits = (16, text[2:]) if text[1:2] in ("x", "X") else (10, text)
            digits = digits.lstrip("0") or "0"
            # 2^63 itself has 19 digits, and is a number only with a `-` before it.
            most = _INT_LIMIT if self.no - 1 == self.negated else _INT_LIMIT - 1
            value = int(digits, base) if len(digits) <= 19 else _INT_LIMIT + 1
            fits = value <= most
        if not fits:
            raise self.error(f"{text[:24]} is out of range", token)
        return value

    def name(self, token: Token) -> tuple[tuple[Any, ...], str | None]:
        name = token.text
        if name in _CONSTANTS:
            return ("lit", _CONSTANTS[name]), None
        if self.take("("):
            return (self.has(token) if name == "has" else self.call(token, [])), None
        if name in self.bound:
            return ("local", name), None
        if name in ROOTS:
            return ("root", name), name
        if name in TYPE_NAMES:
            return ("lit", name), None
        known = [*ROOTS, *self.bound]
        near = did_you_mean(name, known) or f"; names are {', '.join(known)}"
        raise self.error(f"there is no name `{name[:80]}`{near}", token)

    def has(self, token: Token) -> tuple[Any, ...]:
        inner = self.expression()
        self.expect(")")
        if inner[0] not in ("field", "index"):
            raise self.error("has() takes a path: has(nodes.a.output.b)", token)
        return ("has", inner[1], inner[2] if inner[0] == "index" else ("lit", inner[2]))
