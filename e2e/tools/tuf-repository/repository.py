"""A TUF repository made by python-tuf, in a folder, changed step by step.

    repository.py FOLDER STEP..

FOLDER/public is what a mirror serves: versioned metadata at the top, targets with their hashes in `targets/`. FOLDER/keys holds the
private keys, which nobody protects. What the steps change is signed and written at the end: what is named by nothing yet first, roots and
timestamp last.

    create                new keys and the first versions; the root needs both of its keys, the others one
    target=NAME=FILE      FILE is what the target NAME holds from now on
    delegate=ROLE=GLOB    a role with one key, for targets of that pattern; such targets are its own from now on
    remove=NAME           the target NAME is gone
    rotate=ROLE           new keys for the role in place of the old ones; a root is signed by both
    expire=ROLE=SECONDS   a new version of the role, which expires that long from now; less than zero: expired
    renew=ROLE            a new version of the role with nothing else changed

Specification: https://theupdateframework.github.io/specification/
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROOT_KEYS = 2
LIFETIME = {"root": timedelta(days=365), "timestamp": timedelta(days=7)}


class Repository:
    def __init__(self, folder):
        self.public, self.keys = folder / "public", folder / "keys"
        self.changed, self.roots = set(), []
        if (self.public / "timestamp.json").exists():
            versions = [int(path.name.split(".")[0]) for path in self.public.glob("*.root.json")]
            self.root = self.read(f"{max(versions)}.root.json")
            self.timestamp = self.read("timestamp.json")
            self.snapshot = self.read(f"{self.timestamp.signed.snapshot_meta.version}.snapshot.json")
            self.roles = {
                file.removesuffix(".json"): self.read(f"{meta.version}.{file}")
                for file, meta in self.snapshot.signed.meta.items()
            }

    def read(self, name):
        return Metadata.from_file(str(self.public / name))

    def write(self, path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_bytes(content)
        os.replace(new, path)

    def new_key(self, generate):
        signer = generate()
        self.write(self.keys / f"{signer.public_key.keyid}.pem", signer.private_bytes)
        return signer.public_key

    def signer(self, keyid):
        return CryptoSigner(load_pem_private_key((self.keys / f"{keyid}.pem").read_bytes(), None))

    def create(self):
        self.root, self.snapshot, self.timestamp = Metadata(Root()), Metadata(Snapshot()), Metadata(Timestamp())
        self.roles = {"targets": new_targets()}
        for metadata in [self.root, self.snapshot, self.timestamp]:
            metadata.signed.version = 0
        self.root.signed.roles["root"].threshold = ROOT_KEYS
        for role in ["root", "timestamp", "snapshot", "targets"]:
            self.add_keys(role)
        self.write_root(self.root.signed.roles["root"].keyids)
        self.changed.add("targets")

    def add_keys(self, role):
        generate = CryptoSigner.generate_ed25519 if role == "root" else CryptoSigner.generate_ecdsa
        for _ in range(ROOT_KEYS if role == "root" else 1):
            self.root.signed.add_key(self.new_key(generate), role)

    def rotate(self, role):
        old_root_keys, old = list(self.root.signed.roles["root"].keyids), list(self.root.signed.roles[role].keyids)
        for keyid in old:
            self.root.signed.revoke_key(keyid, role)
        self.add_keys(role)
        self.write_root(old_root_keys + self.root.signed.roles["root"].keyids)
        self.changed |= {role} - {"root"}

    def write_root(self, keyids):
        self.set_expiry(self.root, "root")
        self.sign(self.root, keyids)
        self.roots.append((self.root.signed.version, self.root.to_bytes()))

    def set_expiry(self, metadata, role):
        metadata.signed.version += 1
        metadata.signed.expires = now() + LIFETIME.get(role, timedelta(days=30))

    def sign(self, metadata, keyids):
        metadata.signatures.clear()
        for keyid in dict.fromkeys(keyids):
            metadata.sign(self.signer(keyid), append=True)

    def delegate(self, role, pattern):
        key = self.new_key(CryptoSigner.generate_ecdsa)
        targets = self.roles["targets"].signed
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        targets.delegations.roles[role] = DelegatedRole(role, [key.keyid], 1, True, paths=[pattern])
        targets.delegations.keys[key.keyid] = key
        self.roles[role] = new_targets()
        self.changed |= {"targets", role}

    def role_of(self, target):
        delegations = self.roles["targets"].signed.delegations
        found = [name for name, _ in delegations.get_roles_for_target(target)] if delegations else []
        return (found + ["targets"])[0]

    def target(self, name, file):
        content, role = Path(file).read_bytes(), self.role_of(name)
        target = TargetFile.from_data(name, content, ["sha256"])
        self.roles[role].signed.targets[name] = target
        self.write(self.public / "targets" / target.get_prefixed_paths()[0], content)
        self.changed.add(role)

    def remove(self, name):
        role = self.role_of(name)
        del self.roles[role].signed.targets[name]
        self.changed.add(role)

    def publish(self, expiry):
        self.changed |= set(expiry)
        top = self.root.signed.roles
        delegations = self.roles["targets"].signed.delegations
        for role, metadata in self.roles.items():
            if role in self.changed:
                keyids = top[role].keyids if role == "targets" else delegations.roles[role].keyids
                content = self.renew(metadata, role, keyids, expiry)
                self.write(self.public / f"{metadata.signed.version}.{role}.json", content)
                self.snapshot.signed.meta[f"{role}.json"] = meta(metadata, content)
                self.changed.add("snapshot")
        if "snapshot" in self.changed:
            content = self.renew(self.snapshot, "snapshot", top["snapshot"].keyids, expiry)
            self.write(self.public / f"{self.snapshot.signed.version}.snapshot.json", content)
            self.timestamp.signed.snapshot_meta = meta(self.snapshot, content)
            self.changed.add("timestamp")
        if "timestamp" in self.changed:
            content = self.renew(self.timestamp, "timestamp", top["timestamp"].keyids, expiry)
        for version, root in self.roots:
            self.write(self.public / f"{version}.root.json", root)
        if "timestamp" in self.changed:
            self.write(self.public / "timestamp.json", content)

    def renew(self, metadata, role, keyids, expiry):
        self.set_expiry(metadata, role)
        if role in expiry:
            metadata.signed.expires = now() + timedelta(seconds=expiry[role])
        self.sign(metadata, keyids)
        return metadata.to_bytes()


def meta(metadata, content):
    return MetaFile.from_data(metadata.signed.version, content, ["sha256"])


def new_targets():
    metadata = Metadata(Targets())
    metadata.signed.version = 0
    return metadata


def now():
    return datetime.now(timezone.utc).replace(microsecond=0)


def main(folder, *steps):
    repository, expiry = Repository(Path(folder)), {}
    for step in steps:
        name, *arguments = step.split("=")
        match name, arguments:
            case ("create", []):
                repository.create()
            case ("target", [target, file]):
                repository.target(target, file)
            case ("delegate", [role, pattern]):
                repository.delegate(role, pattern)
            case ("remove", [target]):
                repository.remove(target)
            case ("rotate", [role]):
                repository.rotate(role)
            case ("renew", [role]):
                repository.changed.add(role)
            case ("expire", [role, seconds]):
                expiry[role] = int(seconds)
            case _:
                sys.exit(f"unknown step {step}\n{__doc__}")
    repository.publish(expiry)


if __name__ == "__main__":
    main(*sys.argv[1:])
