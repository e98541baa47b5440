#include <fmt/format.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <set>

#include "tests/worker/checkpoint/fault_file_system.h"
#include "tests/worker/checkpoint/test_state.h"
#include "worker/checkpoint/checkpoint.h"

// state_sha256 is what its format says, and shows nothing of storage, order or threads.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 71;

std::string Sha256(const std::string& bytes) {
  std::string digest(32, '\0');
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha256(), nullptr);
  return digest;
}

template <typename T>
std::string Raw(T x) {
  return std::string(reinterpret_cast<const char*>(&x), sizeof(x));
}

// The digest written down as plainly as the format describes it.
std::string Plain(const State& state) {
  std::vector<StateTensor> tensors = state.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::string all = "filigree-state-1\n";
  for (const StateTensor& t : tensors) {
    const int64_t n = Elements(t.shape);
    all += Raw<uint64_t>(t.name.size()) + t.name + Raw<uint64_t>(t.shape.size());
    for (const int64_t dim : t.shape) all += Raw<uint64_t>(dim);
    for (const float* values : {t.weight, t.m, t.v}) {
      std::string entries;
      for (int64_t i = 0; values != nullptr && i < n; ++i) {
        const auto bits = std::bit_cast<uint32_t>(values[i]);
        if (bits != 0) entries += Raw<uint64_t>(i) + Raw<uint32_t>(bits);
      }
      all += Sha256(entries);
    }
    std::string kept;
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) {
      const bool keeps = t.kept == nullptr || (t.kept[i / 64] >> (i % 64) & 1) != 0;
      if (keeps) kept += Raw<uint64_t>(i);
      count += keeps;
    }
    all += Sha256(count == n ? "all" : kept);
  }
  all += Raw<uint64_t>(state.step) + Raw<uint64_t>(state.position) + Raw<uint64_t>(state.seed);
  std::string hex;
  for (const char c : Sha256(all)) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return hex;
}

TEST(StateSha256Test, IsWhatTheFormatSays) {
  TestState state(kSeed);
  EXPECT_EQ(StateSha256(state.state(), 1), Plain(state.state()));
}

TEST(StateSha256Test, ThreadsOrderAndStorageDoNotShow) {
  TestState state(kSeed);
  const std::string digest = StateSha256(state.state(), 1);
  EXPECT_EQ(StateSha256(state.state(), 3), digest);

  FaultFileSystem files;
  ASSERT_TRUE(files.CreateFolder("run").ok());
  auto saved = Save(files, "run", state.state(), 1);
  auto loaded = Checkpoint::Load(files, saved->path);
  ASSERT_TRUE(loaded.ok());
  for (const int threads : {1, 2}) EXPECT_EQ(*StateSha256(*loaded, threads), digest);

  State turned = state.state();
  std::reverse(turned.tensors.begin(), turned.tensors.end());
  for (StateTensor& t : turned.tensors) {
    if (t.name == "full.weight") t.kept = nullptr;  // everything is kept, with or without a bitmap
  }
  EXPECT_EQ(StateSha256(turned, 2), digest);
  // Texts and extras describe the state, they are not part of it.
  turned.texts.clear();
  EXPECT_EQ(StateSha256(turned, 2), digest);
}

TEST(StateSha256Test, MomentsThatAreAbsentAreZeros) {
  TestState state(kSeed);
  State& with = state.state();
  std::vector<float> zeros(240, 0.0f);
  const std::string digest = StateSha256(with, 1);
  for (StateTensor& t : with.tensors) {
    if (t.m == nullptr) t.m = t.v = zeros.data();
  }
  EXPECT_EQ(StateSha256(with, 1), digest);
}

TEST(StateSha256Test, EveryPartOfTheStateShows) {
  std::set<std::string> digests;
  const auto add = [&](auto change) {
    TestState state(kSeed);
    change(state);
    digests.insert(StateSha256(state.state(), 2));
  };
  add([](TestState&) {});
  add([](TestState& s) { s.state().step++; });
  add([](TestState& s) { s.state().position++; });
  add([](TestState& s) { s.state().seed++; });
  add([](TestState& s) { s.state().tensors[0].name = "wtf.weight"; });
  add([](TestState& s) { s.state().tensors[0].shape = {5, 7}; });
  add([](TestState& s) { s.tensors()[0].weight[3] += 1; });
  add([](TestState& s) { s.tensors()[0].m[3] = 17; });
  add([](TestState& s) { s.tensors()[0].v[3] = 17; });
  add([](TestState& s) { std::swap(s.state().tensors[0].m, s.state().tensors[0].v); });
  add([](TestState& s) { s.tensors()[1].kept[2] ^= 2; });
  add([](TestState& s) { s.tensors()[3].weight[0] = -0.0f; });
  add([](TestState& s) { s.tensors()[3].weight[0] = 0.0f; });
  EXPECT_EQ(digests.size(), 13u);
}

}  // namespace
}  // namespace filigree::checkpoint
