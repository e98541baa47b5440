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

std::string ValueEntries(const OwnedTensor& t, const std::vector<float>& values) {
  const std::vector<float> whole = t.Whole(values);
  std::string entries;
  for (size_t i = 0; i < whole.size(); ++i) {
    const auto bits = std::bit_cast<uint32_t>(whole[i]);
    if (bits != 0) entries += Raw<uint64_t>(i) + Raw<uint32_t>(bits);
  }
  return entries;
}

// Indices, or "all" where they are those of every element.
std::string IndexEntries(const OwnedTensor& t, const std::vector<int64_t>& indices) {
  if (static_cast<int64_t>(indices.size()) == Elements(t.shape)) return "all";
  std::string entries;
  for (const int64_t i : indices) entries += Raw<uint64_t>(i);
  return entries;
}

// The digest written down as plainly as the format describes it.
std::string Plain(TestState& state) {
  std::vector<const OwnedTensor*> tensors;
  for (const OwnedTensor& t : state.tensors()) tensors.push_back(&t);
  std::sort(tensors.begin(), tensors.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  std::string all = "filigree-state-1\n";
  for (const OwnedTensor* t : tensors) {
    all += Raw<uint64_t>(t->name.size()) + t->name + Raw<uint64_t>(t->shape.size());
    for (const int64_t dim : t->shape) all += Raw<uint64_t>(dim);
    for (const auto* values : {&t->weight, &t->m, &t->v}) all += Sha256(ValueEntries(*t, *values));
    std::vector<int64_t> kept;
    for (size_t i = 0; i < t->weight.size(); ++i) {
      if (t->IsKept(i)) kept.push_back(t->Indices()[i]);
    }
    all += Sha256(IndexEntries(*t, kept));
    if (!t->whole()) all += Sha256(IndexEntries(*t, t->Indices()));
  }
  const State& s = state.state();
  all += Raw<uint64_t>(s.step) + Raw<uint64_t>(s.position) + Raw<uint64_t>(s.seed);
  std::string hex;
  for (const char c : Sha256(all)) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return hex;
}

TEST(StateSha256Test, IsWhatTheFormatSays) {
  TestState exact(kSeed), active(kSeed, 10, Regime::kActive);
  EXPECT_EQ(StateSha256(exact.state(), 1), Plain(exact));
  EXPECT_EQ(StateSha256(active.state(), 1), Plain(active));
}

// Digests that were written down keep their meaning: this one is of before there were candidates.
TEST(StateSha256Test, OfAStateWithoutCandidatesIsWhatItWas) {
  TestState state(kSeed);
  EXPECT_EQ(StateSha256(state.state(), 1), "7f8904148847bae0c506de7104090f0c3a6c911c876187e84ba583cc5d29b542");
}

TEST(StateSha256Test, ThreadsOrderAndStorageDoNotShow) {
  TestState state(kSeed, 10, Regime::kActive);
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
    if (t.name == "full.weight" || t.name == "x.full.weight")
      t.kept = nullptr;  // everything is kept, with or without a bitmap
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

// One of the reserve, without moments, moves by a column: nothing but the candidates tells.
void MoveACandidateWithoutValue(OwnedTensor& t) {
  for (size_t i = 0; i < t.weight.size(); ++i) {
    const int64_t index = t.Indices()[i];
    const bool last = i + 1 == t.weight.size() || t.Indices()[i + 1] > index + 1;
    if (t.IsKept(i) || !last || index % t.view.cols == t.view.cols - 1) continue;
    t.m[i] = t.v[i] = 0;
    ++t.candidates.col_indices()[i];
    return;
  }
  FAIL() << "no such candidate";
}

TEST(StateSha256Test, EveryPartOfTheStateShows) {
  std::set<std::string> digests;
  const auto add = [&](auto change) {
    TestState state(kSeed, 10, Regime::kActive);
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
  // Tensor 9 is x.csr.weight, on candidates: its values, its selection, its reserve.
  add([](TestState& s) { s.tensors()[9].weight[3] += 1; });
  add([](TestState& s) { s.tensors()[9].m[3] = 17; });
  add([](TestState& s) { s.tensors()[9].v[3] = 17; });
  add([](TestState& s) { s.tensors()[9].kept[0] ^= 2; });
  add([](TestState& s) { MoveACandidateWithoutValue(s.tensors()[9]); });
  add([](TestState& s) { s.state().tensors[9].kept = nullptr; });
  EXPECT_EQ(digests.size(), 19u);
}

}  // namespace
}  // namespace filigree::checkpoint
