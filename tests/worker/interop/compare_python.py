"""Our exports read by PyTorch and safetensors, and a file of torch.save read by us.

compare_python.py INTEROP_FILES, the program of interop_files.cc. Exit code 77: this Python has no torch.
"""

import collections
import inspect
import json
import os
import subprocess
import sys
import tempfile
import zipfile

try:
    import torch
    from safetensors.torch import load_file
    from safetensors import safe_open
except ImportError as error:
    print(f"not run: {error}")
    sys.exit(1 if os.environ.get("FILIGREE_PYTHON_REQUIRED", "") not in ("", "0", "OFF") else 77)

ALLOWED_CONFIG = set(
    "block_size vocab_size n_layer n_head d_head d_model dropout bias ln_bias rms_norm residual_activation_type "
    "activation_type afrac afrac_loctypes debug_nans tied_unembed tokenizer_name grad_checkpointing d_mlp "
    "enable_bigram_table learnable_bigram_table d_pos_emb dropout_cat_pos_emb sinusoidal_cat_pos_emb "
    "enable_sparse_kernels flash sink".split()
)


def same_bits(a, b):
    return a.shape == b.shape and torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


def check(condition, what):
    if not condition:
        print("FAILED:", what)
        sys.exit(1)
    print("ok:", what)


def check_openai(folder, expected):
    config = json.load(open(f"{folder}/beeg_config.json"))
    check(set(config) <= ALLOWED_CONFIG, "beeg_config.json has only keys of the released GPTConfig")
    path = f"{folder}/final_model.pt"
    check(zipfile.ZipFile(path).testzip() is None, "every CRC of final_model.pt, by zipfile")
    state = torch.load(path, weights_only=True, map_location="cpu")
    check(isinstance(state, collections.OrderedDict), "torch.load(weights_only=True) gives an OrderedDict")
    names = set(expected) | {"final_logits_bias"}
    check(set(state) == names, "its keys are those of the model and final_logits_bias")
    check(all(same_bits(state[n], expected[n]) for n in expected), "its values are ours, bit by bit")
    check(torch.count_nonzero(state["final_logits_bias"]) == 0, "final_logits_bias is zero")
    if "mmap" in inspect.signature(torch.load).parameters:  # from PyTorch 2.1 on; Debian's is older
        mapped = torch.load(path, weights_only=True, mmap=True)
        check(all(same_bits(mapped[n], expected[n]) for n in expected), "torch.load(mmap=True) agrees")


def check_hf(folder, expected):
    prefix = "circuit_model."
    state = load_file(f"{folder}/model.safetensors")
    check(set(state) == {prefix + n for n in expected} | {prefix + "final_logits_bias"}, "keys of model.safetensors")
    check(all(same_bits(state[prefix + n], expected[n]) for n in expected), "values of model.safetensors")
    with safe_open(f"{folder}/model.safetensors", framework="pt") as file:
        check(file.metadata() == {"format": "pt"}, "its metadata says pt")
    check(json.load(open(f"{folder}/config.json"))["model_type"] == "circuitgpt", "config.json")
    json.load(open(f"{folder}/generation_config.json"))


def check_checkpoint(folder):
    """The parts of a sparse tensor make a torch CSR tensor as they are."""
    state = load_file(f"{folder}/weights.safetensors")
    name = "transformer.h.0.mlp.c_fc.weight"
    csr = torch.sparse_csr_tensor(
        state[name + ".row_offsets"], state[name + ".col_indices"], state[name + ".values"], size=(24, 19)
    )
    return name, csr.to_dense()


def write_torch(folder, config, expected):
    """A file as others write it: a module's state dict with metadata, halves, bfloat16, parameters, views."""
    os.makedirs(folder)
    state = collections.OrderedDict()
    wanted = {}
    for i, (name, value) in enumerate(sorted(expected.items())):
        if i % 5 == 0:
            value = value.to(torch.float16)
        elif i % 5 == 1:
            value = value.to(torch.bfloat16)
        elif i % 5 == 2 and value.dim() == 2:
            value = value.t().contiguous().t()  # column-major
        elif i % 5 == 3:
            value = torch.nn.Parameter(value)
        elif i % 5 == 4:
            value = torch.cat([value.flatten(), value.flatten()])[value.numel() :].view(value.shape)  # with an offset
        state[name] = value
        wanted[name] = value.detach().to(torch.float32)
    state["final_logits_bias"] = torch.zeros(config["vocab_size"])
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(state, f"{folder}/final_model.pt")
    extra = {"bigram_table_rank": None, "pfrac": 0.25, "expansion_factor": 2, "rtopk": False, "n_embd": 16}
    json.dump(config | extra, open(f"{folder}/beeg_config.json", "w"))
    return wanted


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([program, "write", work], check=True)
        expected = load_file(f"{work}/expected.safetensors")
        check_openai(f"{work}/openai", expected)
        check_hf(f"{work}/hf", expected)
        name, dense = check_checkpoint(f"{work}/saved")
        check(same_bits(dense, expected[name]), "a sparse tensor of a checkpoint is a torch CSR tensor")
        config = json.load(open(f"{work}/openai/beeg_config.json"))
        wanted = write_torch(f"{work}/torch", config, expected)
        subprocess.run([program, "read", work], check=True)
        imported = load_file(f"{work}/imported.safetensors")
        check(set(imported) == set(wanted), "an import of torch.save's file has the same tensors")
        check(all(same_bits(imported[n], wanted[n]) for n in wanted), "and the same values")


main()
