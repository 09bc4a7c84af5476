// Runs a fuzz target without libFuzzer: every file of the corpus directory, then seeded mutations of them. The same inputs in every
// run, so a failure repeats.
//   fuzz_tar CORPUS [MUTATIONS]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

uint64_t state = 20260601;
uint64_t bits() {  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

using Bytes = std::vector<uint8_t>;

Bytes mutate(Bytes b, const std::vector<Bytes>& corpus) {
  for (uint64_t n = 1 + bits() % 4; n > 0; --n) {
    const size_t at = b.empty() ? 0 : bits() % b.size();
    switch (bits() % 6) {
      case 0: if (!b.empty()) { b[at] ^= uint8_t(1u << bits() % 8); } break;
      case 1: if (!b.empty()) { b[at] = uint8_t(bits()); } break;
      case 2: b.resize(at); break;
      case 3: b.insert(b.begin() + long(at), b.begin(), b.begin() + long(std::min<size_t>(b.size(), bits() % 64))); break;
      case 4: {
        const Bytes& other = corpus[bits() % corpus.size()];
        if (!other.empty()) { b.insert(b.end(), other.begin() + long(bits() % other.size()), other.end()); }
        break;
      }
      default: {
        static const uint64_t values[] = {0, 1, 0x7f, 0xff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffffull, ~0ull};
        uint64_t v = values[bits() % 8];
        for (size_t i = 0; i < 8 && at + i < b.size(); ++i) { b[at + i] = uint8_t(v >> (8 * i)); }
      }
    }
  }
  if (b.size() > (1u << 16)) { b.resize(1u << 16); }
  return b;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Bytes> corpus;
  if (argc > 1 && std::filesystem::is_directory(argv[1])) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
      std::ifstream in(entry.path(), std::ios::binary);
      corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "no corpus in %s\n", argc > 1 ? argv[1] : "(no directory given)");
    return 1;
  }
  for (const Bytes& b : corpus) { LLVMFuzzerTestOneInput(b.data(), b.size()); }
  const int mutations = argc > 2 ? std::atoi(argv[2]) : 3000;
  for (int i = 0; i < mutations; ++i) {
    Bytes b = mutate(corpus[bits() % corpus.size()], corpus);
    LLVMFuzzerTestOneInput(b.data(), b.size());
  }
  std::printf("%zu inputs, ok\n", corpus.size() + size_t(mutations));
  return 0;
}
