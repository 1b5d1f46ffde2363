"""docker-compose.yaml and deploy/kubernetes: no engine runs them here, but what they say fits together and the server takes it."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from podium_server.__main__ import END_SECONDS
from test_cli import PODIUM

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy/kubernetes"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES = COMPOSE["services"]
REPLICAS = [service for name, service in SERVICES.items() if name.startswith("podium-")]


def settings(command: list[str], environment: dict[str, str]) -> dict:
    """What a server that is started so makes of it."""
    assert command[:2] == ["podium", "serve"]
    variables = {**os.environ, **environment}
    shown = subprocess.run(
        [PODIUM, "serve", "--print-settings", *command[2:]], env=variables, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    return tomllib.loads(shown.stdout)


def resources() -> dict:
    found = {}
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]:
        found |= {one["kind"]: one for one in yaml.safe_load_all((KUBERNETES / name).read_text())}
    return found


def seconds(text: str) -> float:
    return float(re.fullmatch(r"(\d+)s", text)[1])


def test_compose_starts_two_replicas_that_share_everything() -> None:
    one, other = ({name: value for name, value in replica.items() if name != "ports"} for replica in REPLICAS)
    assert one == other
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:7071:7070", "127.0.0.1:7072:7070"], "on loopback: there is no access control yet"
    told = settings(one["command"], one["environment"])
    assert told["listen"].endswith(":7070")
    assert told["insecure"]
    assert seconds(one["stop_grace_period"]) > told["grace"] + END_SECONDS
    assert set(one["depends_on"]) == {"postgres", "storage"}


def test_compose_names_what_it_starts() -> None:
    replica, database, storage = REPLICAS[0], SERVICES["postgres"], SERVICES["storage"]
    url = urlsplit(replica["environment"]["PODIUM_SERVE_DATABASE"])
    made = database["environment"]
    assert (url.username, url.password, url.hostname) == (made["POSTGRES_USER"], made["POSTGRES_PASSWORD"], "postgres")
    assert url.path == f"/{made['POSTGRES_USER']}", "the image names the database like the user"
    emulator = urlsplit(replica["environment"]["STORAGE_EMULATOR_HOST"])
    started = " ".join(storage["entrypoint"])
    assert emulator.hostname == "storage"
    assert f"-port {emulator.port} " in started
    assert f"-external-url {emulator.geturl()} " in started
    bucket = urlsplit(settings(replica["command"], replica["environment"])["blobs"]).netloc
    assert f"mkdir -p /storage/{bucket} " in started
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_kubernetes_starts_what_the_settings_say() -> None:
    deployment = resources()["Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = (volume for volume in pod["volumes"] if "configMap" in volume)
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == volume["name"])
    (made,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"]
    assert volume["configMap"]["name"] == made["name"]
    environment = {
        variable["name"]: variable.get("value", "postgresql://podium:secret@postgres/podium") for variable in container["env"]
    }
    assert environment["PODIUM_SERVE_CONFIG"] == f"{mount['mountPath']}/{made['files'][0]}"
    told = settings(container["command"], {**environment, "PODIUM_SERVE_CONFIG": str(KUBERNETES / made["files"][0])})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert told["listen"] == f"0.0.0.0:{ports['grpc']}"
    assert told["metrics"] == f"0.0.0.0:{ports['metrics']}"
    assert container["readinessProbe"]["grpc"]["port"] == ports["grpc"]
    assert deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    assert told["data"] in {mount["mountPath"] for mount in container["volumeMounts"]}, "the image's own files are read-only"
    waits = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + told["grace"] + END_SECONDS


def test_kubernetes_never_goes_without_a_replica() -> None:
    found = resources()
    deployment, budget, service = found["Deployment"]["spec"], found["PodDisruptionBudget"]["spec"], found["Service"]["spec"]
    assert deployment["replicas"] > budget["minAvailable"] >= 1
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == budget["selector"]["matchLabels"] == service["selector"] == labels
    assert service["clusterIP"] == "None", "gRPC balances among addresses"
    assert deployment["template"]["spec"]["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
