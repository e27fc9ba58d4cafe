"""Writes random definitions that are valid, from a seed."""

from __future__ import annotations

from random import Random

_WORDS = ("alpha", "beta", "gamma", "delta")
_PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x")


class DefinitionWriter:
    """One definition. The same seed writes the same text."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._targets = [f"t{number}" for number in range(self._random.randint(2, 6))]

    def write(self) -> str:
        """Return a definition with variables, a function, groups, and targets that inherit, link and have a matrix."""
        parts = [self._write_variables(), 'function "shout" {\n  params = [s]\n  result = "${upper(s)}!"\n}\n']
        parts += [self._write_target(number) for number in range(len(self._targets))]
        parts.append(
            f'group "default" {{\n  targets = [{", ".join(map(_quote, self._pick(self._targets, least=1)))}]\n}}\n'
        )
        parts.append('target "many" {\n' + self._write_matrix() + "}\n")
        self._random.shuffle(parts)
        return "".join(parts)

    def _pick(self, values: list[str] | tuple[str, ...], *, least: int = 0) -> list[str]:
        return self._random.sample(list(values), self._random.randint(least, len(values)))

    def _write_variables(self) -> str:
        number = self._random.randint(-5, 90)
        words = ", ".join(map(_quote, self._pick(_WORDS)))
        return (
            f'variable "N" {{\n  default = {number}\n}}\n'
            f'variable "S" {{\n  default = {_quote(self._random.choice(_WORDS))}\n}}\n'
            f'variable "L" {{\n  type = list(string)\n  default = [{words}]\n}}\n'
            f'variable "M" {{\n  default = {{ a = {number}, b = S }}\n}}\n'
        )

    def _write_target(self, number: int) -> str:
        random, lines = self._random, []
        earlier = self._targets[:number]
        if earlier and random.random() < 0.5:
            lines.append(f"inherits = [{', '.join(map(_quote, self._pick(earlier)))}]")
        if random.random() < 0.8:
            arguments = (f"{name} = {self._write_expression(3)}" for name in self._pick(_WORDS))
            lines.append(f"args = {{ {', '.join(arguments)} }}")
        if random.random() < 0.5:
            tags = ", ".join(f'"reg/{word}:${{S}}-${{N}}"' for word in self._pick(_WORDS))
            lines.append(f"tags = [{tags}]")
        if random.random() < 0.4:
            lines.append("labels = { for i, v in L : v => shout(v) if i != 1 }")
        if random.random() < 0.4:
            lines.append(f"platforms = [{', '.join(map(_quote, self._pick(_PLATFORMS, least=1)[:1]))}]")
        if earlier and random.random() < 0.3:
            lines.append(f'contexts = {{ dep = "target:{random.choice(earlier)}" }}')
        if earlier and random.random() < 0.3:
            lines.append(
                f'description = join(",", [for k, v in target.{random.choice(earlier)}.args != null ? M : M : k])'
            )
        if random.random() < 0.3:
            lines.append(
                f"output = [{random.choice(('type=image,push=true', 'type=local,dest=out', 'type=docker'))!r}]".replace(
                    "'", '"'
                )
            )
        if random.random() < 0.3:
            lines.append(f"no-cache = N > {random.randint(0, 50)}")
        if random.random() < 0.3:
            lines.append('cache-from = [for v in L : "type=registry,ref=cache/${v}"]')
        if random.random() < 0.2:
            lines.append("dockerfile-inline = <<EOT\nFROM ${S}\n%{ for v in L ~}\nRUN echo ${v}\n%{ endfor ~}\nEOT\n")
        return f'target "{self._targets[number]}" {{\n' + "".join(f"  {line}\n" for line in lines) + "}\n"

    def _write_matrix(self) -> str:
        values = ", ".join(map(_quote, self._pick(_WORDS, least=1)))
        arguments = f"{{ W = w, X = {self._write_expression(2)} }}"
        return f'  name = "many-${{w}}"\n  matrix = {{ w = [{values}] }}\n  args = {arguments}\n'

    def _write_expression(self, depth: int) -> str:
        """Return an expression whose value is text or a number."""
        random = self._random
        if depth == 0:
            return random.choice(("S", "N", "M.a", "M.b", '"x"', "7", "1.5", '"${S}-${N}"', "null"))
        inner = [self._write_number(depth - 1) for _ in range(2)]
        text = self._write_text(depth - 1)
        return random.choice(
            (
                f"{inner[0]} + {inner[1]}",
                f"{inner[0]} * {inner[1]} - 3",
                f'{inner[0]} > {inner[1]} ? "yes" : "no"',
                f"max({inner[0]}, {inner[1]}, 4)",
                f"upper({text})",
                f'replace({text}, "a", "{random.choice(_WORDS)}")',
                f'"%{{ if {inner[0]} == {inner[1]} }}same%{{ else }}${{{text}}}%{{ endif }}"',
                f'format("%s/%03d/%v", {text}, N, {inner[0]})',
                "length(L)",
                'join("+", [for v in L : shout(v)])',
                "jsonencode({ l = L, m = M })",
                f"substr({text}, 0, 2)",
                f'try(L[{random.randint(0, 3)}], "none")',
                f"sha256({text})",
                'join(",", sort(concat(L, [S])))',
                f"coalesce(null, {text})",
            )
        )

    def _write_number(self, depth: int) -> str:
        random = self._random
        if depth == 0:
            return random.choice(("N", "M.a", "2", "3.25", "length(L)"))
        left, right = self._write_number(depth - 1), self._write_number(depth - 1)
        return random.choice(
            (f"({left} + {right})", f"({left} - {right})", f"({left} * {right})", f"abs_({left})")
        ).replace("abs_", "absolute")

    def _write_text(self, depth: int) -> str:
        if depth == 0:
            return self._random.choice(("S", "M.b", '"lit"', '"${N}"'))
        return self._random.choice((f'"${{{self._write_text(depth - 1)}}}-z"', f"lower({self._write_text(depth - 1)})"))


def _quote(text: str) -> str:
    return f'"{text}"'
