"""What is in packaging/ for machines of others: read by the schemas of those who read it there, and true of this
timbre."""
import pathlib
import re
import shutil
import subprocess

import compose_spec
import kubernetes_validate
import pytest
import yaml
from shared import Redis, Worker, front, need_redis
from support import TIMBRE, Server, data_uri, wav

PACKAGING = pathlib.Path(__file__).parents[2] / "packaging"


def documents(name):
    return list(yaml.safe_load_all((PACKAGING / name).read_text()))


@pytest.fixture(scope="module")
def settings():
    """name → default, of server and worker."""
    found = {}
    need_redis()
    for command in (["serve"], ["worker", "--queue", "redis://127.0.0.1:1"]):
        shown = subprocess.run([TIMBRE, *command, "--print-config"], capture_output=True, text=True, check=True)
        found.update(re.findall(r"^([a-z-]+) = (.*?)(?: #.*)?$", shown.stdout, re.MULTILINE))
    return found


def check_variables(names, settings):
    for name in names:
        assert name.removeprefix("TIMBRE_").lower().replace("_", "-") in settings, name


# ---- compose

@pytest.mark.parametrize("name", ["compose.yaml", "compose.workers.yaml"])
def test_compose(name, settings):
    (document,) = documents(name)
    compose_spec.ComposeSpecification(**document)
    for service in document["services"].values():
        check_variables((variable for variable in service.get("environment", {})), settings)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in document["volumes"], volume
        for needed in service.get("depends_on", []):
            assert needed in document["services"]
        if service.get("image") == "timbre":
            assert int(service["stop_grace_period"].removesuffix("s")) > int(settings["drain-grace"])
            assert (PACKAGING / service.get("build", {"dockerfile": "packaging/Dockerfile"})["dockerfile"]
                    .removeprefix("packaging/")).exists()
            assert all(port.endswith(":8077") for port in service.get("ports", []))


# ---- the image

def test_image_description(settings):
    """The image has no ffmpeg unless it is asked for, the settings are the server's, and so is the page for more."""
    text = (PACKAGING / "Dockerfile").read_text()
    check_variables(re.findall(r"\b(TIMBRE_[A-Z_]+)=", text), settings)
    assert re.search(r"^ARG FFMPEG=$", text, re.MULTILINE)
    assert not re.search(r"\bffmpeg\b", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    assert "--build-arg FFMPEG=ffmpeg" in (PACKAGING.parent / "docs/deployment.md").read_text()
    arguments = next(iter(documents("compose.yaml")))["services"]["timbre"]["build"]["args"]
    assert arguments == {"FFMPEG": ""}
    # What is opened while it runs is copied by name.
    packed = re.search(r"image-root /root-of-image (.*)$", text, re.MULTILINE).group(1)
    opened = set()
    for source in (PACKAGING.parent / "src").rglob("*.c"):
        opened |= set(re.findall(r'dlopen\("([^"]+)"', source.read_text()))
    assert opened and all(f"/{name}" in packed for name in opened), (opened, packed)
    assert {"timbre", "timbre-serve"} <= set(packed.split())


def test_image_root(tmp_path):
    """A program is copied with all that it loads, its links, and its package's notice, and runs there."""
    if not shutil.which("dpkg-query") or not shutil.which("ldconfig", path="/usr/sbin:/sbin"):
        pytest.skip("no Debian")
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run([PACKAGING / "image-root", root, "sh"], check=True,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
    assert (root / "bin/sh").is_symlink() and (root / "bin/sh").resolve().is_file()
    assert (root / "var/lib/dpkg/status.d/dash").read_text().startswith("Package: dash\n")
    assert (root / "usr/share/doc/dash/copyright").is_file()
    assert not (root / "usr/bin/ffmpeg").exists()
    loader = next(path for path in root.rglob("ld-linux*") if path.is_file())  # lib64 or lib
    library = next(root.rglob("libc.so.6"))
    told = subprocess.run([loader, "--library-path", library.parent, root / "bin/sh", "-c", "echo here"],
                          capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "here\n"), told


# ---- Kubernetes

def test_kubernetes(settings):
    found = {}
    for document in documents("kubernetes/timbre.yaml"):
        kubernetes_validate.validate(document, "1.34", strict=True)
        found[document["kind"], document["metadata"]["name"]] = document
    check_variables(found["ConfigMap", "timbre"]["data"], settings)
    service = found["Service", "timbre"]["spec"]
    with Server() as server:
        for name in ("timbre-serve", "timbre-worker"):
            spec = found["Deployment", name]["spec"]
            pod = spec["template"]["spec"]
            (container,) = pod["containers"]
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
            assert pod["terminationGracePeriodSeconds"] > int(settings["drain-grace"])
            assert {mount["name"] for mount in container["volumeMounts"]} == {at["name"] for at in pod["volumes"]}
            check_variables((variable["name"] for variable in container.get("env", [])), settings)
            assert container["envFrom"] == [{"configMapRef": {"name": "timbre"}}]
            assert container["args"] in (["serve"], ["worker"])
            (port,) = container["ports"]
            assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
            for probe in ("readinessProbe", "livenessProbe"):
                assert container[probe]["httpGet"]["port"] == port["name"]
                assert server.get(container[probe]["httpGet"]["path"]).status == 200
            if container["args"] == ["serve"]:
                assert service["selector"].items() <= spec["template"]["metadata"]["labels"].items()
                assert service["ports"][0]["targetPort"] == port["name"]


def test_keda(tmp_path):
    """The scaler counts on streams and a group that are there, of a deployment that is there."""
    need_redis()
    authentication, scaled = documents("kubernetes/keda.yaml")
    assert (authentication["kind"], scaled["kind"]) == ("TriggerAuthentication", "ScaledObject")
    names = [at["metadata"]["name"] for at in documents("kubernetes/timbre.yaml") if at["kind"] == "Deployment"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in names
    assert scaled["spec"]["minReplicaCount"] <= scaled["spec"]["maxReplicaCount"]
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    with Redis() as redis, front(redis.url, "--blobs", blobs) as server:
        with Worker(redis.url, "--blobs", blobs, "--port", "0"):
            job = server.job([{"text": "Hi.", "ref_audio": data_uri(wav(1.0))}])
            assert server.wait_job(job)["done"] == 1
            assert server.clone("Hi.").status == 200
            for trigger in scaled["spec"]["triggers"]:
                assert trigger["type"] == "redis-streams"
                assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
                data = trigger["metadata"]
                assert ("lagCount" in data) != ("pendingEntriesCount" in data)
                assert data["consumerGroup"] in redis.cli("xinfo", "groups", data["stream"]).split(), data


# ---- systemd

def test_units(tmp_path):
    """systemd reads every line of them."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    paths = []
    for source in (PACKAGING / "systemd").iterdir():
        path = tmp_path / source.name.removesuffix(".in")
        path.write_text(source.read_text().replace("@bindir@/timbre", TIMBRE))
        paths.append(path)
    assert len(paths) == 3
    told = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, ""), told
