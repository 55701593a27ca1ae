#!/usr/bin/env python3
"""The software bill of materials of a release, SPDX 2.3 in JSON, to standard output: sbom.py VERSION COMMIT FOLDER

FOLDER holds what was made. What the wheel and the tarball bundle is read from the wheel's NOTICES.txt, what Debian
packages need from their own control files. The time is SOURCE_DATE_EPOCH: the same files give the same document.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

BUNDLED = re.compile(r"^  (\S+) (\S+) \(source (\S+) (\S+)\): (.+)$", re.M)
WEIGHTS = "DeepFilterNet3_onnx.tar.gz"
UNKNOWN = "NOASSERTION"


def identifier(*words):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words))


def package(name, version, license_=UNKNOWN, **more):
    return {
        "SPDXID": identifier("Package", name, version),
        "name": name,
        "versionInfo": version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": license_,
        "licenseDeclared": license_,
        "copyrightText": UNKNOWN,
        **more,
    }


def checksum(data):
    return [{"algorithm": "SHA256", "checksumValue": hashlib.sha256(data).hexdigest()}]


def debian_package(name, version, source, source_version):
    """A package of Debian 12 whose libraries are bundled."""
    locator = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch=amd64&distro=debian-12"
    return package(
        name,
        version,
        supplier="Organization: Debian",
        sourceInfo=f"Debian's source package {source} {source_version}",
        licenseComments="the package's copyright file is in timbre/NOTICES.txt of the wheel",
        externalRefs=[
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}
        ],
    )


def bundled(wheel):
    """What a wheel holds that is not timbre's own."""
    with zipfile.ZipFile(wheel) as archive:
        notices = archive.read("timbre/NOTICES.txt").decode()
        weights = archive.read(f"timbre/share/timbre/{WEIGHTS}")
    yield package("DeepFilterNet3", "3", "MIT OR Apache-2.0", packageFileName=WEIGHTS, checksums=checksum(weights))
    for name, version, source, source_version, _ in BUNDLED.findall(notices):
        yield debian_package(name, version, source, source_version)


def needed(deb):
    """The packages that a Debian package depends on, other than those of this release."""
    command = ["dpkg-deb", "--field", str(deb), "Depends"]
    field = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for one in filter(None, (part.strip() for part in field.split(","))):
        name, _, version = one.split("|")[0].strip().partition(" ")
        name = name.split(":")[0]
        if "timbre" not in name:
            yield package(name, version.strip("() ") or "any", supplier="Organization: Debian")


def document(version, commit, folder):
    """What was made, what it was made of, what it contains and needs."""
    sources = package("timbre", version, "Apache-2.0", sourceInfo=f"commit {commit}")
    packages = {sources["SPDXID"]: sources}
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", sources["SPDXID"])]
    wheels = sorted(folder.glob("*.whl"))
    for path in sorted(folder.iterdir()):
        if path.name == "SHA256SUMS" or path.suffix == ".json":
            continue
        made = package(path.name, version, "Apache-2.0", packageFileName=path.name,
                       checksums=checksum(path.read_bytes()))  # fmt: skip
        packages[made["SPDXID"]] = made
        relations.append((made["SPDXID"], "GENERATED_FROM", sources["SPDXID"]))
        parts, relation = [], "CONTAINS"
        if path.suffix == ".whl":
            parts = bundled(path)
        elif "-linux-" in path.name and wheels:
            parts = bundled(wheels[0])  # scripts/tarball takes it apart
        elif path.suffix == ".deb":
            parts, relation = needed(path), "DEPENDS_ON"
        for part in parts:
            packages.setdefault(part["SPDXID"], part)
            relations.append((made["SPDXID"], relation, part["SPDXID"]))
    content = {
        "packages": [packages[key] for key in sorted(packages)],
        "relationships": [
            {"spdxElementId": one, "relationshipType": relation, "relatedSpdxElement": other}
            for one, relation, other in sorted(set(relations))
        ],
    }
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    created = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    mark = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"timbre-{version}",
        "documentNamespace": f"https://timbre.example/spdx/timbre-{version}-{mark}",
        "creationInfo": {"created": created, "creators": [f"Tool: timbre-release-{version}"]},
        **content,
    }


def main(version, commit, folder):
    json.dump(document(version, commit, pathlib.Path(folder)), sys.stdout, indent=2, sort_keys=True)
    print()


main(*sys.argv[1:])
