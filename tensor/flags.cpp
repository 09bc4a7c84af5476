#include "pumice/tensor/flags.h"

#include <cstdlib>
#include <string_view>

#include "pumice/tensor/error.h"

namespace pumice::flags {
namespace {

constexpr Flag kFlags[] = {
    {"PUMICE_THREADS", "0", "compute threads; 0 = one per core"},
    {"PUMICE_ISA", "", "instruction set of CPU kernels: portable, avx2, avx512, avx512_bf16 or amx; empty = the best the machine has, of those that have been measured"},
    {"PUMICE_DEBUG", "0", "ladder: 1 prints each op, 2 + shapes and time, 3 + value statistics, 4 + synchronises each kernel"},
    {"PUMICE_PROFILE", "0", "1 prints a table of time per kernel at the end of a command"},
    {"PUMICE_MEMORY_LIMIT", "0", "MiB the allocator may hold before it reports out of memory; 0 = no limit"},
    {"PUMICE_SIMT_ORDER", "ascending", "order in which emulated CUDA threads run: ascending, descending or random"},
    {"PUMICE_SENTENCEPIECE", "", "file of the plug-in libpumice_sentencepiece.so; empty = looked for beside the program and in its library folder"},
    {"PUMICE_CUDA_GRAPHS", "1", "0 launches every kernel of a training step on CUDA, 1 replays steps of a shape that has been seen as a graph"},
    {"PUMICE_CUBLASLT", "", "file of libcublasLt.so for products on CUDA, or off for our own kernels; empty = by its usual names"},
    {"PUMICE_CUDNN", "", "on, or file of libcudnn.so, for attention on CUDA where cuDNN can compute it; empty or off = our own kernels"},
};

std::string text(int index) { return value_of(kFlags[index]); }

int64_t integer(int index, int64_t most) {
  std::string value = text(index);
  char* end = nullptr;
  long long n = std::strtoll(value.c_str(), &end, 10);
  REQUIRE(UsageError, end != value.c_str() && *end == 0 && n >= 0 && n <= most, "[flags] ", kFlags[index].name,
          " must be an integer from 0 to ", most, ", got '", value, "' (", kFlags[index].help, ")");
  return n;
}

}  // namespace

std::span<const Flag> all() { return kFlags; }

std::string value_of(const Flag& flag) {
  const char* set = std::getenv(flag.name);
  return set && *set ? set : flag.fallback;
}

int64_t threads() { static const int64_t v = integer(0, 1024); return v; }
std::string isa() { static const std::string v = text(1); return v; }
int64_t debug() { static const int64_t v = integer(2, 4); return v; }
bool profile() { static const bool v = integer(3, 1) != 0; return v; }
int64_t memory_limit_mib() { static const int64_t v = integer(4, int64_t(1) << 40); return v; }
std::string simt_order() { return text(5); }
std::string sentencepiece() { return text(6); }
std::string cublaslt() { return text(8); }
std::string cudnn() { return text(9); }
bool cuda_graphs() { return integer(7, 1) != 0; }

}  // namespace pumice::flags
