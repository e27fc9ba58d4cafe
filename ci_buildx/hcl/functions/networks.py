"""Functions of IP networks (hashicorp/go-cty-funcs, ``cidr``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from ci_buildx.hcl.functions.arithmetic import read_int
from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter, ParameterError
from ci_buildx.hcl.types.values import NUMBER, STRING, HclValue, make_list, make_string

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MOST_BITS = 32
"""Maximum bits by which one call extends a prefix."""


def _parse(value: HclValue) -> _Network:
    text = value.text
    try:
        if "/" not in text:
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CallError(f"invalid CIDR expression: invalid CIDR address: {text}") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.IPv4Network((int(mapped), network.prefixlen - 96))
    return network


def _make_network(like: _Network, address: int, prefix: int) -> _Network:
    if isinstance(like, ipaddress.IPv4Network):
        return ipaddress.IPv4Network((address, prefix))
    return ipaddress.IPv6Network((address, prefix))


def _find_host(given: Sequence[HclValue]) -> HclValue:
    network, number = _parse(given[0]), read_int(given[1], 1)
    size = network.num_addresses
    if not -size <= number < size:
        raise CallError(f"prefix of {network.prefixlen} does not accommodate a host numbered {number}")
    address = int(network.network_address) + number % size
    return make_string(str(_make_network(network, address, network.max_prefixlen).network_address))


def _find_mask(given: Sequence[HclValue]) -> HclValue:
    return make_string(str(_parse(given[0]).netmask))


def _find_subnet(given: Sequence[HclValue]) -> HclValue:
    network, bits, number = _parse(given[0]), read_int(given[1], 1), read_int(given[2], 2)
    if bits > _MOST_BITS:
        raise CallError(f"may not extend prefix by more than {_MOST_BITS} bits")
    prefix = network.prefixlen + bits
    if bits < 0 or prefix > network.max_prefixlen:
        raise CallError(f"insufficient address space to extend prefix of {network.prefixlen} by {bits}")
    if not 0 <= number < 1 << bits:
        raise CallError(f"prefix extension of {bits} does not accommodate a subnet numbered {number}")
    address = int(network.network_address) + (number << (network.max_prefixlen - prefix))
    return make_string(str(_make_network(network, address, prefix)))


def _find_subnets(given: Sequence[HclValue]) -> HclValue:
    network = _parse(given[0])
    following = int(network.network_address)
    found: list[HclValue] = []
    previous: _Network | None = None
    for at, one in enumerate(given[1:], start=1):
        bits = read_int(one, at)
        if bits < 1:
            raise ParameterError(at, "must extend prefix by at least one bit")
        if bits > _MOST_BITS:
            raise ParameterError(at, f"may not extend prefix by more than {_MOST_BITS} bits")
        prefix = network.prefixlen + bits
        if prefix > network.max_prefixlen:
            kind = f"IPv{network.version}"
            reason = f"would extend prefix to {prefix} bits, which is too long for an {kind} address"
            raise ParameterError(at, reason)
        size = 1 << (network.max_prefixlen - prefix)
        begin = -(-following // size) * size
        if begin + size > int(network.network_address) + network.num_addresses:
            after = f" after {previous}" if previous else ""
            raise ParameterError(
                at, f"not enough remaining address space for a subnet with a prefix of {prefix} bits{after}"
            )
        previous = _make_network(network, begin, prefix)
        found.append(make_string(str(previous)))
        following = begin + size
    return make_list(found, STRING)


_PREFIX = Parameter("prefix", STRING)
FUNCTIONS = {
    "cidrhost": HclFunction((_PREFIX, Parameter("hostnum", NUMBER)), _find_host),
    "cidrnetmask": HclFunction((_PREFIX,), _find_mask),
    "cidrsubnet": HclFunction((_PREFIX, Parameter("newbits", NUMBER), Parameter("netnum", NUMBER)), _find_subnet),
    "cidrsubnets": HclFunction((_PREFIX,), _find_subnets, Parameter("newbits", NUMBER)),
}
