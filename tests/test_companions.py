"""What every gRPC service is expected to have beside its own: health and reflection."""

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from story import create_model, upload

SERVICE = "podium.v1.RegistryService"


def test_health_is_served_for_the_server_and_the_service(server):
    health = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", SERVICE):
        reply = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_a_stopping_server_says_so_before_it_goes(start_server):
    server = start_server()
    states = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    server.process.terminate()
    assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    states.cancel()
    server.stop()
    assert server.process.returncode == 0


def test_all_that_a_server_keeps_is_in_its_folder(start_server, tmp_path):
    data = tmp_path / "odd #%41? name" / "data"
    server = start_server(data=data)
    create_model(server.stub, "kept")
    upload(server.stub, "kept", b"bytes")
    assert len([file for file in data.glob("blobs/sha256/*/*") if file.is_file()]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["odd #%41? name"]


def test_reflection_tells_the_contract_to_those_who_have_no_stubs(server):
    described = ProtoReflectionDescriptorDatabase(server.channel)
    assert SERVICE in described.get_services()
    file = described.FindFileContainingSymbol(SERVICE)
    assert file.name == "podium/v1/registry_service.proto"
