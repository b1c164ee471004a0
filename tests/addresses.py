"""Addresses on this machine for processes that are to find each other."""

import socket


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def free_addresses(count):
    """`HOST:PORT` of as many workers."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]
