"""Compile the Triton kernels for GPUs that need not be here; print registers, shared memory and spills of each.

usage: python scripts/compile_kernels.py [--capability 80 89 90 120] [--group 1 16 32 64] [--batch 64 128]
           [--mode bce squared_hinge logits gradient carry] [--part 0/1]

`carry` is the second kernel of the densified form. All that the tuner may choose takes two hours of a core; in parts:

    for i in $(seq 0 31); do python scripts/compile_kernels.py --batch 64 128 1024 --part $i/32; done

Ends with an error if a kernel does not build, spills more than a few bytes, or asks for more shared memory than the GPU
has. Each configuration is one that the tuner may choose for the batch, in tiles of as many documents as fit.
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource, CompiledKernel

from xmc.ops.fan_in.impl import fused_gpu, triton_kernels
from xmc.ops.fan_in.impl.tuning import Configuration

INTEGERS = dict.fromkeys(("n_labels", "labels", "width", "batch", "fan_in", "active", "size"), "i32")
INTEGERS |= {"key": "i64", "label_offset": "i64", "logits_stride": "i64"}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
KINDS = (("fp32", "fp32"), ("bf16", "fp32"), ("bf16", "bf16"))  # of features and weights
IN_PLACE = {"bce": (True, False), "squared_hinge": (True,), "logits": (False,), "gradient": (False,), "carry": (False,)}
FEW = 64  # bytes of spills a thread
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
Launch = tuple[int, tuple[str, str], str, bool, int, int, Configuration]


def compile_kernel(
    capability: int,
    kind: tuple[str, str],
    mode: str,
    in_place: bool,
    group: int,
    documents: int,
    configuration: Configuration,
) -> CompiledKernel:
    """One kernel for one GPU, as the back end would ask for it. kind: types of features and weights, fp32 or bf16."""
    signature = POINTERS | INTEGERS | dict.fromkeys(FLOATS, "fp32")
    signature |= {"table": f"*{kind[0]}", "weight": f"*{kind[1]}", "gradient": f"*{kind[0]}"}
    adds, warps = configuration.spread is None, configuration.warps
    constants: dict[str, Any] = {"B": documents, "K": fused_gpu.SLOTS}
    if mode == "carry":
        assert configuration.spread is not None
        kernel, warps = triton_kernels.carry, fused_gpu.SPREAD_WARPS
        constants |= {"B": min(documents, fused_gpu.SPREAD_DOCUMENTS)}
        constants |= dict(zip("LD", configuration.spread, strict=True))
    else:
        kernel = triton_kernels.stream
        constants |= {"MODE": fused_gpu.MODES[mode], "IN_PLACE": in_place, "GROUPED": group > 1, "ADDS": adds}
        constants |= {"L": configuration.labels}
        if not adds and mode != "gradient":
            signature["logits"] = f"*{kind[0]}"
    ordered = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, ordered, constexprs={(kernel.arg_names.index(n),): v for n, v in constants.items()})
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "num_stages": 1}
    )


def resources(kernel: CompiledKernel) -> tuple[int, int, int]:
    """Registers a thread, bytes of spills, bytes of shared memory."""
    ptxas = get_ptxas(kernel.metadata.target.arch).path
    (architecture,) = re.findall(r"^\.target (\w+)", kernel.asm["ptx"], flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder, "kernel.ptx")
        ptx.write_text(kernel.asm["ptx"])
        command = [ptxas, "-v", f"--gpu-name={architecture}", str(ptx), "-o", str(ptx.with_suffix(".cubin"))]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers = int(re.findall(r"Used (\d+) registers", told)[0])
    spills = sum(map(int, re.findall(r"(\d+) bytes spill", told)))
    return registers, spills, kernel.metadata.shared


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
    names = (
        "sm | group | documents | features | weights | mode | in place | configuration | registers | spills | shared"
    )
    print(f"| {names} |\n|" + "---|" * (names.count("|") + 1))
    faults = 0
    kernels = launches(options.capability, options.group, options.batch, options.mode)
    for launch in itertools.islice(kernels, part, None, parts):
        capability, kind, mode, in_place, group, documents, configuration = launch
        registers, spills, shared = resources(compile_kernel(*launch))
        cells = (capability, group, documents, *kind, mode, in_place, configuration.name, registers, spills, shared)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        faults += spills > FEW or shared > SHARED[capability] << 10
    if faults:
        sys.exit(f"{faults} kernels spill registers or exceed the shared memory")


def launches(capabilities: list[int], groups: list[int], batches: list[int], modes: list[str]) -> Iterator[Launch]:
    """What a training run or a prediction launches."""
    for capability, group, kind in itertools.product(capabilities, groups, KINDS):
        most = fused_gpu.most_documents(group, SHARED[capability] << 10)
        for documents in sorted({min(most, triton.next_power_of_2(batch)) for batch in batches}):
            for mode, in_place in ((name, how) for name in modes for how in IN_PLACE[name]):
                options = fused_gpu.configurations(group, documents, TYPES[kind[0]], carries=mode != "logits")
                for configuration in options if mode != "carry" else (one for one in options if one.spread):
                    yield capability, kind, mode, in_place, group, documents, configuration


if __name__ == "__main__":
    main()
