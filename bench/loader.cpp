// How fast pictures come from disk, decoded, resized and tokenized: images per second of the loader's one thread, without training.
//   build/bench/bench_loader 'train-{000000..000004}.tar' [size=64] [batches=50]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "pumice/data/loader.h"

int main(int argc, char** argv) {
  using namespace pumice;
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s SOURCE [SIZE] [BATCHES]\n", argv[0]);
    return 2;
  }
  try {
    const int64_t size = argc > 2 ? std::atoll(argv[2]) : 64, batches = argc > 3 ? std::atoll(argv[3]) : 50, batch = 128;
    auto source = open_pairs(argv[1]);
    std::vector<std::string> captions;
    for (int64_t i = 0; i < source->size(); ++i) { captions.push_back(source->caption(i)); }
    Tokenizer tokenizer = Tokenizer::train(captions, {});
    Loader loader(*source, tokenizer, {.batch_size = batch, .image_size = size, .prefetch = 0});
    loader.next();
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < batches; ++i) { loader.next(); }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%.0f images/s on one thread, %lld px, %lld samples\n", double(batches * batch) / seconds, static_cast<long long>(size),
                static_cast<long long>(source->size()));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
