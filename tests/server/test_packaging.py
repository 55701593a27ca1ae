"""What is in packaging/ for machines of others: read by the schemas of those who read it there, and true of this
timbre."""
import os
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


def header(name):
    """The commands of a file's first comment."""
    lines = (PACKAGING / name).read_text().splitlines()
    return [line.removeprefix("#   ") for line in lines if line.startswith("#   ")]


def check_variables(names, settings):
    for name in names:
        assert name.removeprefix("TIMBRE_").lower().replace("_", "-") in settings, name


# ---- compose

@pytest.mark.parametrize("name", ["compose.yaml", "compose.workers.yaml"])
def test_compose(name, settings):
    (document,) = documents(name)
    compose_spec.ComposeSpecification(**document)
    commands = header(name)
    started = next(number for number, command in enumerate(commands) if command.startswith("docker compose"))
    for service in document["services"].values():
        check_variables((variable for variable in service.get("environment", {})), settings)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in document["volumes"], volume
            # Docker makes a folder of a file that is not there.
            assert not source.startswith("./") or any(
                f"> {source.replace('.', 'packaging', 1)}" in command for command in commands[:started]), volume
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

def service_links(found):
    """What Kubernetes puts into a pod's environment for each service of its namespace, unless told otherwise."""
    for kind, name in found:
        if kind == "Service":
            start = name.upper().replace("-", "_")
            yield from ((f"{start}_SERVICE_HOST", "10.0.0.1"), (f"{start}_SERVICE_PORT", "80"),
                        (f"{start}_PORT", "tcp://10.0.0.1:80"))


def check_environment(pod, container, found, port):
    """timbre starts with the environment that the pod has, the image's included."""
    image = dict(re.findall(r"\b(TIMBRE_[A-Z_]+)=(\S+)", (PACKAGING / "Dockerfile").read_text()))
    links = dict(service_links(found)) if pod.get("enableServiceLinks", True) else {}
    given = found["ConfigMap", "timbre"]["data"] | {at["name"]: at["value"] for at in container.get("env", [])}
    done = subprocess.run([TIMBRE, *container["args"], "--print-config"], capture_output=True, text=True,
                          env={**os.environ, **image, **links, **given})
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^port = {port} ", done.stdout, re.MULTILINE), done.stdout


def test_kubernetes_secret(tmp_path):
    """The commands in front of the file that make the secret's files: KEDA takes the password as it lies there."""
    made = [command for command in header("kubernetes/timbre.yaml") if not command.startswith("kubectl")]
    subprocess.run(["bash", "-euc", "\n".join(made)], cwd=tmp_path, check=True)
    assert re.fullmatch(r"[0-9a-f]{64}", (tmp_path / "queue-password").read_text())
    assert re.fullmatch(r"[0-9a-f]{64}\n", (tmp_path / "keys").read_text())


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
            annotations = spec["template"]["metadata"].get("annotations", {})
            if annotations.get("prometheus.io/scrape") == "true":
                # Whoever scrapes by this has no key.
                assert name == "timbre-worker" and annotations["prometheus.io/port"] == str(port["containerPort"])
            check_environment(pod, container, found, port["containerPort"])
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


@pytest.mark.parametrize("name", ["timbre", "timbre-worker"])
def test_lines_of_units(name):
    """What is shared can be written by others, and a GPU is a matter of lines that are there."""
    unit = (PACKAGING / f"systemd/{name}.service.in").read_text()
    assert re.search(r"^UMask=0007$", unit, re.MULTILINE)
    lines = ["ReadWritePaths=/mnt/timbre", "SupplementaryGroups=timbre-blobs", "PrivateDevices=no",
             "DeviceAllow=char-nvidia* rw", f"Environment=CUDA_CACHE_PATH=%C/{name}/nv"]
    assert all(f"#{line}\n" in unit for line in lines)
    assert f"CacheDirectory={name}\n" in unit
    page = (PACKAGING.parent / "docs/gpu.md").read_text()
    assert "PrivateDevices=no" in page and "CUDA_CACHE_PATH" in page


def test_files_of_a_shared_folder_are_the_groups(tmp_path):
    """What a server stores below --blobs, workers of other users can read and remove."""
    need_redis()
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    with Redis() as redis, front(redis.url, "--blobs", blobs, preexec_fn=lambda: os.umask(0o007)) as server:
        server.add_voice("anna", wav(2.0))
        paths = [path for path in blobs.rglob("*") if path.name != "tmp"]
        assert any(path.is_file() for path in paths)
        for path in paths:
            wanted = 0o770 if path.is_dir() else 0o660
            assert path.stat().st_mode & 0o770 == wanted, (path, oct(path.stat().st_mode))
