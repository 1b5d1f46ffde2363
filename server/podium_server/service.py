"""RegistryService, put together from the noun modules: each RPC is the method of its name in one of them."""

from collections.abc import Iterable

import grpc
from podium.v1.registry_service_pb2 import DESCRIPTOR

from podium_server.handlers import Handler, Handlers

SERVICE = DESCRIPTOR.services_by_name["RegistryService"]


def add_service(server: grpc.aio.Server, handlers: Handlers, nouns: Iterable[object]) -> None:
    """Registers every RPC of the contract; fails if one has no method or two."""
    methods: dict[str, Handler] = {}
    nouns = list(nouns)
    for method in SERVICE.methods:
        (implementation,) = [getattr(noun, method.name) for noun in nouns if hasattr(noun, method.name)]
        methods[method.name] = handlers.wrap(method, implementation)
    server.add_registered_method_handlers(SERVICE.full_name, methods)
