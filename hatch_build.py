"""Generates the Python code of the wire protocol when the package is built or installed for development."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "unsplit/protocol/remote/wire.proto"


class WireCode(BuildHookInterface):  # type: ignore[type-arg]
    """Runs protoc on wire.proto; what it writes is not kept in the repository and not edited."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the hook's form
        from grpc_tools import protoc

        source = Path(self.root) / "src"
        options = [f"--{kind}_out={source}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", f"-I{source}", *options, SOURCE]) != 0:
            raise RuntimeError(f"protoc could not generate code from {SOURCE}")
        stem = SOURCE.removesuffix(".proto")
        build_data["artifacts"] += [f"/src/{stem}_pb2.py", f"/src/{stem}_pb2.pyi", f"/src/{stem}_pb2_grpc.py"]
