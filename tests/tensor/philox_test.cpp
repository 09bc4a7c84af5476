#include "pumice/tensor/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <thread>

#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

std::vector<uint32_t> words(std::vector<uint32_t> counter, uint64_t key) {
  Random4 r = philox4x32(counter.data(), key);
  return {r.v, r.v + 4};
}

TEST(Philox, KnownAnswers) {  // kat_vectors of Random123 (Salmon et al.), philox4x32-10
  using Words = std::vector<uint32_t>;
  EXPECT_EQ(words({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words({~0u, ~0u, ~0u, ~0u}, ~0ull), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EveryPartOfTheKeyChangesTheStream) {
  std::set<uint32_t> first;
  for (RandomKey key : {RandomKey{}, RandomKey{.seed = 1}, RandomKey{.seed = 1ull << 32}, RandomKey{.step = 1},
                        RandomKey{.microbatch = 1}, RandomKey{.site = 1}}) {
    first.insert(random_bits(key, 0));
  }
  EXPECT_EQ(first.size(), 6u);
  EXPECT_NE(random_bits({}, 4ull << 32), random_bits({}, 0)) << "elements beyond 2^34 have blocks of their own";
  EXPECT_EQ(random_bits({}, 7), random4({}, 1).v[3]);
}

TEST(Philox, UnitIntervalIsHalfOpen) {
  EXPECT_EQ(to_unit(0), 0.0f);
  EXPECT_EQ(to_unit(~0u), 1.0f - 0x1p-24f);
}

struct Moments { double mean = 0, variance = 0, skew = 0, kurtosis = 0; };
Moments moments_of(const Tensor& t) {
  std::vector<double> x = t.to_vector<double>();
  Moments m;
  for (double v : x) { m.mean += v / double(x.size()); }
  for (double v : x) { m.variance += std::pow(v - m.mean, 2) / double(x.size()); }
  for (double v : x) {
    double z = (v - m.mean) / std::sqrt(m.variance);
    m.skew += std::pow(z, 3) / double(x.size());
    m.kurtosis += std::pow(z, 4) / double(x.size());
  }
  return m;
}

TEST(Random, UniformMoments) {  // 4 standard errors at n = 200,000
  Moments m = moments_of(random_uniform_tensor({200000}, -1, 3, {.seed = 7}));
  EXPECT_NEAR(m.mean, 1, 4 * std::sqrt(16.0 / 12 / 200000));
  EXPECT_NEAR(m.variance, 16.0 / 12, .02);
  EXPECT_NEAR(m.skew, 0, .02);
  EXPECT_NEAR(m.kurtosis, 1.8, .02);
}

TEST(Random, NormalMoments) {
  Moments m = moments_of(random_normal_tensor({200000}, 2, .5, {.seed = 7}));
  EXPECT_NEAR(m.mean, 2, 4 * .5 / std::sqrt(200000.0));
  EXPECT_NEAR(m.variance, .25, 4 * .25 * std::sqrt(2.0 / 200000));
  EXPECT_NEAR(m.skew, 0, 4 * std::sqrt(6.0 / 200000));
  EXPECT_NEAR(m.kurtosis, 3, 4 * std::sqrt(24.0 / 200000));
}

TEST(Random, NeighboursAreUncorrelated) {
  std::vector<double> x = random_normal_tensor({100000}, 0, 1, {.seed = 3}).to_vector<double>();
  for (int lag = 1; lag <= 4; ++lag) {
    double sum = 0;
    for (size_t i = lag; i < x.size(); ++i) { sum += x[i] * x[i - lag]; }
    EXPECT_LT(std::abs(sum / double(x.size())), 4 / std::sqrt(100000.0)) << lag;
  }
}

TEST(RandomScope, NestsAndIsPerThread) {
  EXPECT_EQ(random_key(5).seed, 0u);
  EXPECT_EQ(random_key(5).site, 5u);
  RandomScope outer({.seed = 1, .step = 2, .microbatch = 3, .site = 99});
  {
    RandomScope inner({.seed = 10});
    EXPECT_EQ(random_key(6).seed, 10u);
    EXPECT_EQ(random_key(6).step, 0u);
  }
  RandomKey key = random_key(6);
  EXPECT_EQ(key.seed, 1u);
  EXPECT_EQ(key.step, 2u);
  EXPECT_EQ(key.microbatch, 3u);
  EXPECT_EQ(key.site, 6u) << "the scope's own site is ignored";
  uint64_t other = 1;
  std::thread([&] { other = random_key(0).seed; }).join();
  EXPECT_EQ(other, 0u);
}

TEST(Random, SiteOfIsFnv1a) {  // test vectors of the FNV authors
  EXPECT_EQ(site_of(""), 0x811c9dc5u);
  EXPECT_EQ(site_of("a"), 0xe40c292cu);
  EXPECT_EQ(site_of("foobar"), 0xbf9cf968u);
}

}  // namespace
}  // namespace pumice
