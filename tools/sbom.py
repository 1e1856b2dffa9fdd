"""Writes what the app is made of as a CycloneDX bill of materials: `python -m tools.sbom --out FILE`.

In it are the versions of requirements.lock, and the page's libraries (vendor.json) and the bundled model with the hash
of each file, which has to be the one that is written down (vendor.sha256, SHA256SUMS). It is held against CycloneDX's
own schema before it is written, and is the same for the same files. Refuses to know licences of packages, which a lock
doesn't say, what a torch for a GPU brings, and native libraries within wheels: FFmpeg in that of av,
libheif in pillow-heif's and PDFium in pypdfium2's aren't listed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

from tools.lock import ROOT, pins
from tools.vendor import SUMS, WANTED, files_of

LOCK, MODEL = ROOT / "requirements.lock", ROOT / "assets" / "ovis-mini"
INVALID = "make sbom: what was made is no CycloneDX {version}: {error}"
UNKNOWN = "make sbom: {name} has no SHA-256 written down, or isn't as it says: see `git status`, and look at why."

Digests = Mapping[str, str]  # SHA-256 by the file's path in the repository


def project() -> dict[str, Any]:
    """What pyproject.toml says of this project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def packages(lock: Path = LOCK) -> Iterator[Component]:
    """Every version of the lock, with the machines that it is for where it isn't for all."""
    for pin in map(Requirement, pins(lock)):
        version = str(pin.specifier).removeprefix("==")
        where = [Property(name="ovis:marker", value=str(pin.marker))] if pin.marker else []
        url = PackageURL("pypi", name=pin.name, version=version)
        kind = ComponentType.LIBRARY
        yield Component(name=pin.name, version=version, type=kind, purl=url, bom_ref=str(url), properties=where)


def libraries() -> Iterator[Component]:
    """The page's, each with its files; those of tests are named as what nobody is served."""
    digests = _digests(SUMS, ROOT)
    for name, wanted in json.loads(WANTED.read_text("utf-8")).items():
        space, _, last = name.rpartition("/")
        url = PackageURL("npm", namespace=space or None, name=last, version=wanted["version"])
        yield Component(
            name=last,
            group=space or None,
            version=wanted["version"],
            type=ComponentType.LIBRARY,
            scope=ComponentScope.EXCLUDED if "folder" in wanted else ComponentScope.REQUIRED,
            purl=url,
            bom_ref=str(url),
            licenses=[LicenseFactory().make_from_string(wanted["licence"])],
            external_references=[ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(wanted["source"]))],
            components=[_file(file, digests) for file in files_of(wanted)],
        )


def model() -> Component:
    """The bundled one, with its files."""
    digests = _digests(MODEL / "SHA256SUMS", MODEL)
    about = project()
    return Component(
        name=MODEL.name,
        version=about["version"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{MODEL.name}",
        licenses=[LicenseFactory().make_from_string(about["license"])],
        components=[_file(ROOT / name, digests) for name in digests],
    )


def _digests(sums: Path, folder: Path) -> Digests:
    rows = (line.partition("  ") for line in sums.read_text("utf-8").splitlines())
    return {(folder / name).relative_to(ROOT).as_posix(): digest for digest, _, name in rows}


def _file(file: Path, digests: Digests) -> Component:
    """Raises ValueError where the file isn't the one that is written down."""
    name = file.relative_to(ROOT).as_posix()
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    if not digest or digests.get(name) != digest:
        raise ValueError(UNKNOWN.format(name=name))
    content = HashType(alg=HashAlgorithm.SHA_256, content=digest)
    return Component(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}", hashes=[content])


def bill() -> Bom:
    """All of it, and that the app needs it."""
    about, bom = project(), Bom()
    url = PackageURL("pypi", name=about["name"], version=about["version"])
    app = Component(
        name=about["name"],
        version=about["version"],
        type=ComponentType.APPLICATION,
        bom_ref=str(url),
        description=about["description"],
        licenses=[LicenseFactory().make_from_string(about["license"])],
    )
    bom.metadata.component = app
    for component in (*packages(), *libraries(), model()):
        bom.components.add(component)
    bom.register_dependency(app, bom.components)
    return bom


def written(bom: Bom) -> str:
    """As JSON, without the moment and with a number that follows from the rest. Raises ValueError where the schema
    doesn't allow it."""
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]
    content["serialNumber"] = ""
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True)).urn
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ValueError(INVALID.format(version="1.6", error=wrong))
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description="Write a bill of materials.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "ovis-app.cdx.json")
    out = parser.parse_args().out
    try:
        text = written(bill())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    print(f"wrote {out}: {len(bill().components)} components, valid as CycloneDX 1.6")
    return 0


if __name__ == "__main__":
    sys.exit(main())
