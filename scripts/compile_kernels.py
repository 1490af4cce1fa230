"""Compile the Triton kernels for GPUs that need not be here; print registers, shared memory and spills of each.

usage: python scripts/compile_kernels.py [--capability 80 89 90 120] [--group 1 16 32 64] [--batch 64 128]
           [--mode bce squared_hinge logits gradient carry] [--part 0/1]

`carry` is the second kernel of the densified form. All that the tuner may choose, in parts of a minute:

    for i in $(seq 0 31); do python scripts/compile_kernels.py --batch 64 128 1024 --part $i/32; done

What was compiled once is in Triton's cache, so that the same command goes on quickly where it was stopped. Launches
that take the same kernel stand there once. Ends with an error if a kernel does not build, needs more than a few bytes
of the stack, to which registers are spilled, or asks for more shared memory than the GPU has. Each configuration is one
that the tuner may choose for the batch, in tiles of as many documents as fit.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from xmc.ops.fan_in.impl import fused_gpu, triton_kernels
from xmc.ops.fan_in.impl.tuning import Configuration

INTEGERS = dict.fromkeys(("n_labels", "labels", "width", "batch", "fan_in", "active", "size"), "i32")
INTEGERS |= {"key": "i64", "label_offset": "i64", "logits_stride": "i64"}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
KINDS = (("fp32", "fp32"), ("bf16", "fp32"), ("bf16", "bf16"))  # of features and weights
IN_PLACE = {"bce": (True, False), "squared_hinge": (True,), "logits": (False,), "gradient": (False,), "carry": (False,)}
FEW = 64  # bytes of a thread's stack
SHARED = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KiB a program may have, by compute capability
FLOATS = ("scale", "lr", "decay")
POINTERS = {
    "index": "*i16",
    "bias": "*fp32",
    "starts": "*i64",
    "positive_labels": "*i64",
    "positive_documents": "*i64",
    "logits": "*fp32",
    "sums": "*i64",
    "sums_scale": "*fp32",
    "grad_weight": "*fp32",
    "grad_bias": "*fp32",
    "applies": "*i32",
    "losses": "*fp32",
    "scratch": "*fp32",
    "partial": "*fp32",
}


@dataclass(frozen=True)
class Launch:
    """A kernel for one GPU, as the back end asks for it. kind: types of features and weights, fp32 or bf16."""

    capability: int
    kind: tuple[str, str]
    mode: str
    in_place: bool
    group: int
    documents: int
    configuration: Configuration

    @property
    def carries(self) -> bool:
        return self.mode == "carry"

    @property
    def warps(self) -> int:
        return fused_gpu.SPREAD_WARPS if self.carries else self.configuration.warps

    @property
    def kernel(self) -> Any:
        return triton_kernels.carry if self.carries else triton_kernels.stream

    def constants(self) -> dict[str, Any]:
        spread = self.configuration.spread
        if self.carries:
            assert spread is not None
            documents = min(self.documents, fused_gpu.SPREAD_DOCUMENTS)
            return {"B": documents, "K": fused_gpu.SLOTS, "L": spread[0], "D": spread[1]}
        how = {"MODE": fused_gpu.MODES[self.mode], "IN_PLACE": self.in_place, "GROUPED": self.group > 1}
        tile = {"L": self.configuration.labels, "B": self.documents, "K": fused_gpu.SLOTS}
        return how | tile | {"ADDS": spread is None}

    def signature(self) -> dict[str, str]:
        types = POINTERS | INTEGERS | dict.fromkeys(FLOATS, "fp32")
        types |= {"table": f"*{self.kind[0]}", "weight": f"*{self.kind[1]}", "gradient": f"*{self.kind[0]}"}
        if self.configuration.spread is not None and self.mode != "gradient":
            types["logits"] = f"*{self.kind[0]}"
        return {name: types.get(name, "constexpr") for name in self.kernel.arg_names}

    def same(self) -> object:
        """What launches of one kernel have in common."""
        constants, signature = sorted(self.constants().items()), self.signature().items()
        return self.capability, self.carries, self.warps, *constants, *signature

    def compiled(self) -> CompiledKernel:
        names = self.kernel.arg_names
        constants = {(names.index(name),): value for name, value in self.constants().items()}
        source = ASTSource(self.kernel, self.signature(), constexprs=constants)
        options = {"num_warps": self.warps, "num_stages": 1}
        return triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options)


def resources(kernel: CompiledKernel) -> tuple[int, int, int]:
    """Registers a thread, bytes of its stack, bytes of shared memory."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(kernel.asm["cubin"])
        binary.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", binary.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.findall(rf"{what}:(\d+)", told)[0]) for what in ("REG", "STACK"))
    return registers, stack, kernel.metadata.shared


def main() -> None:
    """Compile what a training run or a prediction launches."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--capability", nargs="+", type=int, default=[80, 89, 90, 120])
    parser.add_argument("--group", nargs="+", type=int, default=[1, 16, 32, 64])
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--mode", nargs="+", choices=IN_PLACE, default=[*IN_PLACE])
    parser.add_argument("--part", default="0/1", help="i/n: of every n kernels the i-th, counted from 0")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    names = "sm | group | documents | features | weights | mode | in place | configuration | registers | stack | shared"
    print(f"| {names} |\n|" + "---|" * (names.count("|") + 1))
    faults = 0
    kernels = launches(options.capability, options.group, options.batch, options.mode)
    for one in itertools.islice(kernels, part, None, parts):
        registers, stack, shared = resources(one.compiled())
        what = (one.capability, one.group, one.documents, *one.kind, one.mode, one.in_place, one.configuration.name)
        print("| " + " | ".join(map(str, (*what, registers, stack, shared))) + " |", flush=True)
        faults += stack > FEW or shared > SHARED[one.capability] << 10
    if faults:
        sys.exit(f"{faults} kernels spill registers or exceed the shared memory")


def launches(capabilities: list[int], groups: list[int], batches: list[int], modes: list[str]) -> Iterator[Launch]:
    """What a training run or a prediction launches, each kernel once."""
    seen = set()
    for capability, group, kind in itertools.product(capabilities, groups, KINDS):
        most = fused_gpu.most_documents(group, SHARED[capability] << 10, TYPES[kind[0]])
        for documents in sorted({min(most, triton.next_power_of_2(batch)) for batch in batches}):
            for mode, in_place in ((name, how) for name in modes for how in IN_PLACE[name]):
                options = fused_gpu.configurations(group, documents, TYPES[kind[0]], carries=mode != "logits")
                for configuration in options if mode != "carry" else (one for one in options if one.spread):
                    launch = Launch(capability, kind, mode, in_place, group, documents, configuration)
                    if launch.same() not in seen:
                        seen.add(launch.same())
                        yield launch


if __name__ == "__main__":
    main()
