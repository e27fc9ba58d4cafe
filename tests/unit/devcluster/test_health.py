from devcluster import health


def test_a_dns_question_is_what_rfc_1035_wants() -> None:
    assert health.dns_query("a.bc") == bytes.fromhex("6b62 0100 0001 0000 0000 0000 01 61 02 6263 00 0001 0001")


def test_a_finding_says_its_fault() -> None:
    assert str(health.Finding(part="dns", fault="")) == "dns: ok"
    assert str(health.Finding(part="dns", fault="no answer")) == "dns: no answer"
    assert str(health.Finding(part="dns", fault="", note="left out")) == "dns: left out"
