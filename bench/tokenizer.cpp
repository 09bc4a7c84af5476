// How fast a text file is encoded, line by line on one thread: prints the best of five passes in seconds, after one to warm up, and a hash of
// all ids. bench/tokenizer_speed.py runs it beside Hugging Face tokenizers.
//   build/bench/bench_tokenizer TOKENIZER TEXT.txt
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>

#include "pumice/data/tokenizer.h"
#include "pumice/tensor/file.h"

int main(int argc, char** argv) {
  using namespace pumice;
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER TEXT.txt\n", argv[0]);
    return 2;
  }
  try {
    const Tokenizer tokenizer = Tokenizer::load(argv[1]);
    const std::string text = read_file(argv[2]);
    double best = 0;
    uint64_t hash = 0;
    for (int pass = 0; pass < 6; ++pass) {
      const auto start = std::chrono::steady_clock::now();
      hash = 0;
      for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        for (int32_t id : tokenizer.encode(std::string_view(text).substr(begin, end - begin))) { hash = hash * 1000003 + uint64_t(id); }
        begin = end + 1;
      }
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = pass < 2 ? seconds : std::min(best, seconds);  // the first pass warms up
    }
    std::printf("%.6f %llu\n", best, static_cast<unsigned long long>(hash));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
