from __future__ import annotations

import socket

import pytest

from posthorn_local.ports import LOOPBACK, choose_ports, free_ports, is_free


@pytest.fixture
def busy_port():
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_free_preferred_port_is_kept_and_a_busy_one_replaced(busy_port):
    [free] = free_ports(1)

    chosen = choose_ports({"kept": free, "moved": busy_port})

    assert chosen["kept"] == free
    assert chosen["moved"] not in {free, busy_port}
    assert is_free(chosen["moved"])


def test_a_port_bound_on_all_addresses_is_not_free():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()

        assert not is_free(listener.getsockname()[1])


def test_free_ports_are_different():
    assert len(set(free_ports(50))) == 50
