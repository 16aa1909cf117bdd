"""The Kubernetes manifests against the schemas of Kubernetes, our command line and our settings; needs no cluster."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import kubernetes_validate
import pytest
import yaml

from gems_actors.app.hosting import parse_role_counts
from gems_actors.cli.commands import gems
from gems_actors.config import MeshConfig, load_config
from gems_actors.roles import BUILT_IN_ROLES

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE, GPU, GATEWAY = FOLDER / "base", FOLDER / "overlays" / "gpu", FOLDER / "components" / "gateway"
VERSION = "1.36.0"
LABELS = "app.kubernetes.io/name", "app.kubernetes.io/component"
PATCH = GPU / "generator.yaml"
MANIFESTS = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml" and path != PATCH)

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    return copy.deepcopy(_read(path))


@cache
def _read(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text()))


def validate(document: Document) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def merged(document: Any, patch: Any) -> Any:
    """Return a document patched as kustomize does, as far as our patches need: tables by key, lists by name."""
    if isinstance(document, dict) and isinstance(patch, dict):
        return {key: merged(document.get(key), patch.get(key, document.get(key))) for key in document | patch}
    if isinstance(document, list) and isinstance(patch, list) and all("name" in item for item in document + patch):
        known = {item["name"]: item for item in document}
        return list((known | {item["name"]: merged(known.get(item["name"], {}), item) for item in patch}).values())
    return patch


def base(kind: str) -> list[Document]:
    return [found for path in sorted(BASE.glob("*.yaml")) for found in documents(path) if found["kind"] == kind]


def gpu_generator() -> Document:
    (plain,) = documents(BASE / "generator.yaml")
    patched: Document = merged(plain, *documents(PATCH))
    return patched


class Pod(NamedTuple):
    """A pod as its controller creates it, and its settings."""

    name: str
    spec: Document
    container: Document
    config: MeshConfig
    parameters: Document
    """The container's arguments, parsed by the command line."""


def pod_of(controller: Document, mesh: Path) -> Pod:
    spec = controller["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    parameters = parse(container["args"])
    environment = {item["name"]: item["value"] for item in container.get("env", ()) if "value" in item}
    config = load_config(mesh, environment, parameters["overrides"])
    return Pod(controller["metadata"]["name"], spec, container, config, parameters)


def pods() -> Iterator[Pod]:
    for controller in [*base("StatefulSet"), *base("Deployment")]:
        yield pod_of(controller, BASE / "mesh.toml")
        if controller["metadata"]["name"] != "gems-generator":
            yield pod_of(controller, GPU / "mesh.toml")
    yield pod_of(gpu_generator(), GPU / "mesh.toml")


def parse(arguments: list[str]) -> Document:
    """Parse arguments with the real commands, without running them."""
    command: click.Command = gems
    context = gems.make_context("gems", [*arguments], resilient_parsing=False)
    rest = [*arguments]
    while isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command = found
        if not isinstance(command, click.Group):
            context = command.make_context(command.name, rest, parent=context)
    return context.params


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_a_manifest_is_valid(path: Path) -> None:
    assert documents(path)
    for document in documents(path):
        validate(document)


def test_a_patched_manifest_is_valid() -> None:
    generator = gpu_generator()
    validate(generator)
    (container,) = generator["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "64Gi"}
    assert {"name": "weights", "mountPath": "/weights"} in container["volumeMounts"]
    assert len(container["volumeMounts"]) == 6
    assert container["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


@pytest.mark.parametrize("wrong", [{"replica": 1}, {"replicas": "one"}, {"selector": "planner"}])
def test_a_mistake_in_a_manifest_is_found(wrong: Document) -> None:
    (deployment,) = documents(BASE / "planner.yaml")
    validate(deployment)
    deployment["spec"] |= wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(deployment)


@pytest.mark.parametrize("folder", [BASE, GPU, GATEWAY], ids=["base", "gpu", "gateway"])
def test_a_kustomization_lists_every_file_in_its_folder(folder: Path) -> None:
    (found,) = documents(folder / "kustomization.yaml")
    named = [*found["resources"], *(patch["path"] for patch in found.get("patches", ()))]
    named += [file for generator in found.get("configMapGenerator", ()) for file in generator["files"]]
    assert {path for path in named if path != "../../base"} | {"kustomization.yaml"} == {
        path.name for path in folder.iterdir()
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.slow
def test_kustomize_renders_valid_manifests() -> None:
    built = subprocess.run(["kubectl", "kustomize", GPU], capture_output=True, text=True, timeout=120, check=True)
    found: list[Document] = list(yaml.safe_load_all(built.stdout))
    assert len(found) == sum(len(documents(path)) for path in BASE.glob("*.yaml")) + 1
    for document in found:
        validate(document)
    assert "image: gems-actors" not in built.stdout  # each has a registry and a tag
    (generator,) = (one for one in found if (one["kind"], one["metadata"]["name"]) == ("Deployment", "gems-generator"))
    (theirs,) = generator["spec"]["template"]["spec"]["containers"]
    (ours,) = gpu_generator()["spec"]["template"]["spec"]["containers"]
    for part in ("env", "volumeMounts"):
        assert {item["name"]: item for item in theirs.pop(part)} == {item["name"]: item for item in ours.pop(part)}
    assert theirs | {"image": ours["image"]} == ours


def test_every_role_has_a_pod_and_a_disruption_budget() -> None:
    played = [count for pod in pods() for count in pod.parameters.get("counts", ())]
    assert parse_role_counts(MeshConfig(), {*played}) == dict.fromkeys(BUILT_IN_ROLES, 1)
    components = {name.removeprefix("gems-") for name, *_ in pods()}
    assert components == {"router", *BUILT_IN_ROLES}
    budgets = {one["spec"]["selector"]["matchLabels"][LABELS[1]] for one in base("PodDisruptionBudget")}
    assert budgets == components


def test_pods_of_roles_differ_only_in_role_and_size() -> None:
    def bare(deployment: Document) -> Document:
        left = copy.deepcopy(deployment)
        role = left["metadata"]["labels"][LABELS[1]]
        del left["spec"]["template"]["spec"]["containers"][0]["resources"]
        generic: Document = yaml.safe_load(yaml.safe_dump(left).replace(role, "ROLE"))
        return generic

    first, *others = map(bare, base("Deployment"))
    assert len(others) == 6
    assert all(other == first for other in others)


def test_a_pod_mounts_every_path_in_its_settings() -> None:
    for pod in pods():
        mounts = {mount["mountPath"]: mount["name"] for mount in pod.container["volumeMounts"]}
        assert {pod.config.data_dir, str(pod.config.runtime_path.parent)} <= mounts.keys()
        security = pod.config.security
        keys = [path for path in (security.key, security.router_key, security.allowed) if path is not None]
        assert {str(Path(path).parent) for path in keys} == {"/etc/gems-keys"} <= mounts.keys()
        assert (security.allowed is not None) == (pod.name == "gems-router")
        assert {*mounts.values()} <= {volume["name"] for volume in pod.spec["volumes"]} | {"data"}  # which is claimed


def test_a_pod_is_probed_where_it_listens_and_may_finish_its_work() -> None:
    for pod in pods():
        ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        assert pod.config.metrics.address == f"0.0.0.0:{ports['metrics']}"
        probes = [pod.container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
        assert [(probe["path"], probe["port"]) for probe in probes] == [
            ("/readyz", "metrics"),
            ("/readyz", "metrics"),
            ("/livez", "metrics"),
        ]
        assert pod.spec["terminationGracePeriodSeconds"] >= pod.config.supervisor.grace_s + 10


def test_actors_and_clients_use_the_service_of_the_router() -> None:
    router = next(pod for pod in pods() if pod.name == "gems-router")
    (service,) = (one for one in base("Service") if one["metadata"]["name"] == "gems-router")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert router.config.router.address == f"tcp://0.0.0.0:{ports['router']}"
    assert router.config.blob_addresses[-1] == f"tcp://0.0.0.0:{ports['pictures']}"
    address = f"tcp://gems-router:{ports['router']}"
    (job,) = documents(FOLDER / "bulk.yaml")
    bulk = parse(job["spec"]["template"]["spec"]["containers"][0]["args"])
    load_config(None, {}, bulk["overrides"])
    agents = [pod.parameters["router"] for pod in pods() if pod.name != "gems-router"]
    assert {*agents, bulk["router"]} == {address}


def test_selectors_match_exactly_one_pod() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in [*base("StatefulSet"), *base("Deployment")]]
    selectors = [one["spec"]["selector"] for one in base("Service")]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in [*base("StatefulSet"), *base("Deployment")]]
    for selector in selectors:
        assert sum(selector.items() <= found.items() for found in labels) == 1
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in base("HorizontalPodAutoscaler")}
    assert targets <= {one["metadata"]["name"] for one in base("Deployment")}
    for one in base("HorizontalPodAutoscaler"):
        (metric,) = one["spec"]["metrics"]
        role = metric["external"]["metric"]["selector"]["matchLabels"]["role"]
        assert one["spec"]["scaleTargetRef"]["name"] == f"gems-{role}"


def test_the_gateway_is_an_agent_whose_service_and_probes_lead_to_its_address() -> None:
    service, controller, policy = documents(GATEWAY / "gateway.yaml")
    pod = pod_of(controller, BASE / "mesh.toml")
    assert pod.parameters["counts"] == ("gateway=1",)
    assert pod.parameters["router"] == "tcp://gems-router:27960"
    ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
    assert pod.config.gateway.address == f"0.0.0.0:{ports['http']}"
    assert pod.config.gateway.hosts == (service["metadata"]["name"],)
    (token,) = (item for item in pod.container["env"] if "secretKeyRef" in item["valueFrom"])
    assert pod.config.gateway.tokens_env == token["name"]
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    labels = controller["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == labels
    assert policy["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]
    assert pod.container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    for probe in ("startupProbe", "livenessProbe"):
        assert pod.container[probe]["httpGet"]["port"] == "metrics"
    mounts = {mount["mountPath"] for mount in pod.container["volumeMounts"]}
    assert {pod.config.data_dir, str(pod.config.runtime_path.parent), "/etc/gems-keys"} <= mounts
    (claim,) = controller["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in {mount["name"] for mount in pod.container["volumeMounts"]}
    assert pod.spec["terminationGracePeriodSeconds"] >= pod.config.supervisor.grace_s + 10
