import subprocess

import pytest

from devcluster.images import binfmt

DEBIAN = r":qemu-arm:M::\x7f\x45:\xff\x00:/usr/libexec/qemu-binfmt/arm-binfmt-P:OPF"


def test_a_rule_gets_our_interpreter_and_upstreams_flags() -> None:
    assert binfmt.rule(f"{DEBIAN}\n", "/usr/bin/qemu-arm") == r":qemu-arm:M::\x7f\x45:\xff\x00:/usr/bin/qemu-arm:CFP"


@pytest.mark.parametrize("text", ["", "qemu-arm", ":qemu-arm:E::py::/usr/bin/python3:", f"{DEBIAN}\n{DEBIAN}"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rule for binfmt_misc"):
        binfmt.rule(text, "/usr/bin/qemu-arm")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--instal", "all"], "not defined: --instal"), (["--install"], "needs an argument"), (["x"], "not defined: x")],
)
def test_wrong_options_touch_nothing(arguments: list[str], said: str) -> None:
    command = ["sh", "-s", "--", *arguments]
    done = subprocess.run(command, input=binfmt.SCRIPT.encode(), capture_output=True, timeout=30, check=False)
    assert done.returncode == 2
    assert said in done.stderr.decode()
