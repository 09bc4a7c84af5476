// Every environment variable that Pumice reads: name, default, help. `pumice doctor` prints this table.
// A variable is read once, at first use; a value that cannot be understood throws UsageError naming it.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace pumice::flags {

int64_t threads();           // PUMICE_THREADS: compute threads; 0 = one per core
std::string isa();           // PUMICE_ISA: forces portable, avx2 or avx512; empty = the best the machine has
int64_t debug();             // PUMICE_DEBUG: 1 ops, 2 + shapes and time, 3 + value statistics, 4 + synchronise each kernel
bool profile();              // PUMICE_PROFILE: per-op table at the end of a command
int64_t memory_limit_mib();  // PUMICE_MEMORY_LIMIT: MiB the allocator may hold; 0 = no limit
std::string simt_order();    // PUMICE_SIMT_ORDER: in which order emulated CUDA threads run: ascending, descending, random
bool cuda_graphs();          // PUMICE_CUDA_GRAPHS: training steps of a shape that has been seen are replayed on CUDA
std::string cublaslt();      // PUMICE_CUBLASLT: file of the library, or off; empty = looked for where there is a card
std::string cudnn();         // PUMICE_CUDNN: on, or file of the library; empty or off = not used
std::string sentencepiece();  // PUMICE_SENTENCEPIECE: the plug-in file for SentencePiece models; empty = looked for beside the program

struct Flag {
  const char* name;
  const char* fallback;
  const char* help;
};
std::span<const Flag> all();
std::string value_of(const Flag& flag);  // the value in force, as text

}  // namespace pumice::flags
