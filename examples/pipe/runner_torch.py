# SPDX-License-Identifier: Apache-2.0
"""A runner for `fp8ref check --pipe` on a machine that has torch, and not fp8ref. The protocol: spec/exchange.md.

    fp8ref check scaled_mm --pipe "ssh gpu python runner_torch.py cuda"

Put your kernel in the place of `scaled_mm`.
"""

import sys

import torch

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"
READ, WRITE = sys.stdin.buffer, sys.stdout.buffer


def scaled_mm(a, b, a_scale, b_scale, bias=None, *, out_dtype, accumulate, epilogue, split_k, **_):
    """A float64 sum of E4M3 products is exact up to this K; then come the two scales."""
    if (accumulate, epilogue, bias, a.dtype, b.dtype) != ("exact", "a_b", None, *[torch.float8_e4m3fn] * 2):
        raise NotImplementedError("only E4M3, exact, a_b, without bias")
    if out_dtype == "float8_e4m3fn" or a.shape[1] > 171_196:
        raise NotImplementedError("no E4M3 output, no longer K")
    if any(s.numel() != 1 and s.shape != (len(x), 1) for s, x in ((a_scale, a), (b_scale, b))):
        raise NotImplementedError("no block scales")
    acc = (a.double() @ b.double().T).float() + 0.0
    return (a_scale.float() * (b_scale.float().reshape(1, -1) * acc)).to(getattr(torch, out_dtype))


def read_case():
    """The number of the next case and its arguments; None at the end of the input."""
    number, arguments = None, {}
    for line in iter(READ.readline, b""):
        kind, name, *rest = [*line.decode().rstrip("\n").split(" ", 2), ""]
        if kind == "end":
            return number, arguments
        if kind == "case":
            number = name
        elif kind == "tensor":
            dtype, size, _, *shape = rest[0].split()
            data = READ.read(int(size))
            READ.read(1)  # the newline after the bytes
            flat = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
            arguments[name] = flat.view(getattr(torch, dtype)).reshape([int(n) for n in shape]).to(DEVICE)
        else:
            arguments[name] = rest[0] if kind == "text" else float(rest[0])
    return None


def main() -> None:
    READ.readline()
    device = torch.cuda.get_device_name(DEVICE) if DEVICE.startswith("cuda") else DEVICE
    WRITE.write(
        f"fp8ref-pipe 1\nfunctions scaled_mm\nfact device {device}\nfact torch {torch.__version__}\nend\n".encode()
    )
    WRITE.flush()
    while (case := read_case()) is not None:
        number, arguments = case
        try:
            out = scaled_mm(**arguments)
            data = out.contiguous().reshape(-1).view(torch.uint8).cpu().numpy().tobytes()
            head = f"tensor out {str(out.dtype)[6:]} {len(data)} {out.dim()} {' '.join(map(str, out.shape))}"
            WRITE.write(f"result {number}\n{head}\n".encode() + data + b"\nend\n")
        except NotImplementedError as error:
            WRITE.write(f"unsupported {number} {error}\n".encode())
        except Exception as error:
            WRITE.write(f"error {number} {type(error).__name__}: {str(error).splitlines()[0]}\n".encode())
        WRITE.flush()


if __name__ == "__main__":
    main()
