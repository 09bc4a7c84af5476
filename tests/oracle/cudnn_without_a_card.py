#!/usr/bin/env python3
"""Asks NVIDIA's cuDNN, on a machine without a card, how many of its kernels would compute the operation that ops/attention/attention_cudnn_cuda.cpp
describes: bf16 attention over N packed sequences.

Usage: LD_LIBRARY_PATH=STUBS cudnn_without_a_card.py [libcudnn.so.9] [include directory]
STUBS is a folder with libcuda.so.1, a link to the CUDA Toolkit's lib64/stubs/libcuda.so: cuDNN generates and compiles kernels before it asks the driver to load
them, which the stub refuses. A candidate counts as compiled when that is all that is missing."""
import ctypes
import json
import re
import sys

LIBRARY = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libcudnn.so.9")
HEADER = open((sys.argv[2] if len(sys.argv) > 2 else "/usr/local/cuda/include") + "/cudnn_graph.h").read()
TYPES = {"DATA_TYPE": ctypes.c_int, "HEUR_MODE": ctypes.c_int, "BOOLEAN": ctypes.c_bool, "BACKEND_DESCRIPTOR": ctypes.c_void_p}

# What cuDNN wants to know of a card: an H100's, with another compute capability in place of its own.
CARD = dict(maxGridSize=[2147483647, 65535, 65535], maxBlockSize=[1024, 1024, 64], regsPerBlock=65536, multiProcessorCount=132, warpSize=32,
            maxSharedMemoryPerBlock=49152, maxSharedMemoryPerBlockOptin=232448, reservedSharedMemoryPerBlock=1024, maxRegistersPerSM=65536, maxCtasPerSM=32,
            maxThreadsPerBlock=1024, maxThreadsPerSM=2048, pciDeviceId=0x2330, isTccDriver=0, supportCoopLaunch=1, smClockRateKHz=1980000,
            memClockRateKHz=2619000, l2CacheSize=52428800, deviceName="NVIDIA H100 80GB HBM3", totalGlobalMem=85029158912, cudaDeviceId=0, driverVer=13000)


def number(name):
    return int(re.search(rf"\bCUDNN_{name}\s+(?:CUDNN_DEPRECATED_ENUM\s*)?=\s*(\d+)", HEADER).group(1))


def last_error():
    text = ctypes.create_string_buffer(4000)
    LIBRARY.cudnnGetLastErrorString(text, 4000)
    return text.value.decode()


class Object:
    def __init__(self, kind):
        self.pointer = ctypes.c_void_p()
        assert LIBRARY.cudnnBackendCreateDescriptor(number(f"BACKEND_{kind}_DESCRIPTOR"), ctypes.byref(self.pointer)) == 0, last_error()

    def set(self, attribute, kind, *values):
        values = [v.pointer.value if isinstance(v, Object) else v for v in values]
        array = (TYPES.get(kind, ctypes.c_int64) * len(values))(*values)
        status = LIBRARY.cudnnBackendSetAttribute(self.pointer, number("ATTR_" + attribute), number("TYPE_" + kind), ctypes.c_int64(len(values)), array)
        assert status == 0, (attribute, status, last_error())
        return self

    def finish(self):
        status = LIBRARY.cudnnBackendFinalize(self.pointer)
        assert status == 0, (status, last_error())
        return self


def tensor(uid, kind, dimensions, strides, alignment=4, ragged=None, by_value=False):
    t = Object("TENSOR").set("TENSOR_DATA_TYPE", "DATA_TYPE", number(f"DATA_{kind}")).set("TENSOR_UNIQUE_ID", "INT64", uid)
    t.set("TENSOR_DIMENSIONS", "INT64", *dimensions).set("TENSOR_STRIDES", "INT64", *strides).set("TENSOR_BYTE_ALIGNMENT", "INT64", alignment)
    if by_value:
        t.set("TENSOR_IS_BY_VALUE", "BOOLEAN", True)
    if ragged:
        t.set("TENSOR_RAGGED_OFFSET_DESC", "BACKEND_DESCRIPTOR", ragged)
    return t.finish()


def compiled(capability, sequences=4, heads=6, longest=256, D=64):
    uid = iter(range(1, 100))
    places = lambda: tensor(next(uid), "INT32", [sequences + 1, 1, 1, 1], [1, 1, 1, 1])
    rows = lambda parts: tensor(next(uid), "BFLOAT16", [sequences, heads, longest, D], [longest * parts * heads * D, D, parts * heads * D, 1], 16, places())
    operation = Object("OPERATION_SDPA_FWD")
    one = [1, 1, 1, 1]
    lengths = lambda: tensor(next(uid), "INT32", [sequences, 1, 1, 1], one)
    stats = lambda: tensor(next(uid), "FLOAT", [sequences, heads, longest, 1], [longest * heads, 1, heads, 1], ragged=places())
    for name, value in [("QDESC", rows(3)), ("KDESC", rows(3)), ("VDESC", rows(3)), ("ODESC", rows(1)), ("STATSDESC", stats()), ("SEQ_LEN_QDESC", lengths()),
                        ("SEQ_LEN_KVDESC", lengths()), ("SCALEDESC", tensor(next(uid), "FLOAT", one, one, by_value=True))]:
        operation.set("OPERATION_SDPA_FWD_" + name, "BACKEND_DESCRIPTOR", value)
    graph = Object("OPERATIONGRAPH").set("OPERATIONGRAPH_OPS", "BACKEND_DESCRIPTOR", operation.finish()).finish()
    card, text = Object("DEVICEPROP"), json.dumps(CARD | dict(deviceVer=capability)).encode()
    status = LIBRARY.cudnnBackendSetAttribute(card.pointer, number("ATTR_DEVICEPROP_JSON_REPRESENTATION"), number("TYPE_CHAR"), ctypes.c_int64(len(text) + 1),
                                              ctypes.c_char_p(text))
    assert status == 0, last_error()
    guess = Object("ENGINEHEUR").set("ENGINEHEUR_OPERATION_GRAPH", "BACKEND_DESCRIPTOR", graph).set("ENGINEHEUR_MODE", "HEUR_MODE", number("HEUR_MODE_A"))
    guess.set("ENGINEHEUR_DEVICEPROP", "BACKEND_DESCRIPTOR", card.finish()).finish()
    configs = [Object("ENGINECFG") for _ in range(8)]
    found, array = ctypes.c_int64(), (ctypes.c_void_p * 8)(*(c.pointer.value for c in configs))
    assert LIBRARY.cudnnBackendGetAttribute(guess.pointer, number("ATTR_ENGINEHEUR_RESULTS"), number("TYPE_BACKEND_DESCRIPTOR"), ctypes.c_int64(8),
                                            ctypes.byref(found), array) == 0, last_error()
    count = 0
    for config in configs[:found.value]:
        plan = Object("EXECUTION_PLAN").set("EXECUTION_PLAN_ENGINE_CONFIG", "BACKEND_DESCRIPTOR", config)
        plan.set("EXECUTION_PLAN_DEVICEPROP", "BACKEND_DESCRIPTOR", card)
        count += LIBRARY.cudnnBackendFinalize(plan.pointer) == 0 or "cuLibraryLoadData" in last_error()
    return count


LIBRARY.cudnnGetVersion.restype = ctypes.c_size_t
print("cuDNN", LIBRARY.cudnnGetVersion())
for capability in (800, 890, 900, 1000, 1200):
    print(f"compute capability {capability / 100}: {compiled(capability)} candidates compiled")
