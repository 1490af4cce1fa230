"""Compile the Triton kernels for GPUs that need not be here; print registers, shared memory and spills of each.

usage: python scripts/compile_kernels.py [--capability 80 89 90] [--group 1 16 32 64] [--batch 64 128]

Ends with an error if a kernel does not build or spills registers.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource, CompiledKernel

from xmc.ops.fan_in.impl import fused_gpu, triton_kernels
from xmc.ops.fan_in.impl.tuning import Configuration

INTEGERS = {"n_labels": "i32", "batch": "i32", "fan_in": "i32", "active": "i32", "size": "i32"}
INTEGERS |= {"key": "i64", "label_offset": "i64", "logits_stride": "i64"}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
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
    "losses": "*fp32",
}


def compile_kernel(
    capability: int, weight: str, mode: str, in_place: bool, group: int, documents: int, configuration: Configuration
) -> CompiledKernel:
    """One kernel for one GPU, as the back end would ask for it. weight: fp32 or bf16, of the features too."""
    signature = POINTERS | INTEGERS | dict.fromkeys(FLOATS, "fp32")
    signature |= {"table": f"*{weight}", "weight": f"*{weight}"}
    constants: dict[str, Any] = {"MODE": fused_gpu.MODES[mode], "IN_PLACE": in_place, "GROUPED": group > 1}
    constants |= {"L": configuration.labels, "B": documents, "K": fused_gpu.SLOTS}
    kernel = triton_kernels.stream
    ordered = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, ordered, constexprs={(kernel.arg_names.index(n),): v for n, v in constants.items()})
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": configuration.warps, "num_stages": 1}
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
    parser.add_argument("--capability", nargs="+", type=int, default=[80, 89, 90])
    parser.add_argument("--group", nargs="+", type=int, default=[1, 16, 32, 64])
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 128])
    options = parser.parse_args()
    spilled = False
    print(
        "| sm | group | B | weights | mode | in place | configuration | registers | spills | shared bytes |\n|"
        + "---|" * 10
    )
    for capability in options.capability:
        for group in options.group:
            for documents in options.batch:
                for weight in ("fp32", "bf16"):
                    for mode, in_place in (("bce", True), ("bce", False), ("squared_hinge", True), ("logits", False)):
                        for configuration in fused_gpu.configurations(group, documents, TYPES[weight]):
                            launch = (capability, weight, mode, in_place, group, documents, configuration)
                            registers, spills, shared = resources(compile_kernel(*launch))
                            cells = (capability, group, documents, weight, mode, in_place, configuration.name)
                            print("| " + " | ".join(map(str, (*cells, registers, spills, shared))) + " |", flush=True)
                            spilled |= spills > 0
    if spilled:
        sys.exit("a kernel spills registers")


if __name__ == "__main__":
    main()
