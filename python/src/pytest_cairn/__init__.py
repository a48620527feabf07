"""Tests against a real Cairn network: pytest fixtures and a typed client."""

from .client import Client, RpcError
from .network import COIN, CommandError, Network, Node, Wallet

__all__ = ["COIN", "Client", "CommandError", "Network", "Node", "RpcError", "Wallet"]
