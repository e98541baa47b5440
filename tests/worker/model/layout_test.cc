// Layouts and what moves with them.

#include "worker/model/layout.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/base/thread_pool.h"
#include "tests/support/small_model.h"
#include "worker/model/arena.h"

namespace filigree::model {
namespace {

// Every `stride`-th position.
kernels::Pattern Strided(const TensorInfo& info, int64_t first, int64_t stride) {
  std::vector<uint64_t> bits((info.numel() + 63) / 64);
  for (int64_t i = first; i < info.numel(); i += stride) bits[i / 64] |= uint64_t{1} << (i % 64);
  return kernels::Pattern::FromDenseBitmap(static_cast<int>(info.rows), static_cast<int>(info.cols), bits.data());
}

void ExpectApart(const Layout& layout) {
  std::vector<bool> taken(layout.floats());
  int64_t elements = 0;
  for (int t = 0; t < layout.size(); ++t) {
    EXPECT_EQ(layout.offset(t) % 16, 0);
    for (int64_t i = 0; i < layout.stored(t); ++i) {
      ASSERT_LT(layout.offset(t) + i, layout.floats());
      EXPECT_FALSE(taken[layout.offset(t) + i]) << t;
      taken[layout.offset(t) + i] = true;
    }
    elements += layout.stored(t);
  }
  EXPECT_EQ(layout.stored_elements(), elements);
}

TEST(Layout, TensorsLieAlignedAndApart) {
  const Registry registry(testing_support::SmallSpec());
  Layout layout(registry.numels());
  EXPECT_EQ(layout.stored_elements(), registry.trained_elements());
  EXPECT_FALSE(layout.has_candidates());
  ExpectApart(layout);
  std::vector<Layout::Change> changes;
  for (const int t : {registry.wte(), registry.layer(1).c_fc}) changes.push_back({t, Strided(registry[t], 1, 3)});
  layout.Apply(std::move(changes));
  EXPECT_TRUE(layout.has_candidates());
  EXPECT_EQ(layout.stored(registry.wte()), (registry[registry.wte()].numel() + 1) / 3);
  EXPECT_NE(layout.version(registry.wte()), layout.version(registry.lm_head()));
  EXPECT_EQ(layout.candidates(registry.lm_head()), nullptr);
  ExpectApart(layout);
  // What is whole lies before what is on candidates: a change of sets leaves it where it is.
  for (int t = 0; t < layout.size(); ++t) {
    if (layout.candidates(t) != nullptr) continue;
    EXPECT_LT(layout.offset(t), layout.offset(registry.wte())) << t;
  }
}

// Three changes in a row: into sets, sets that shrink (in place), sets that grow (not).
TEST(Arena, ValuesMoveWithTheLayout) {
  const Registry registry(testing_support::SmallSpec());
  const auto layout = std::make_shared<Layout>(registry.numels());
  kernels::ThreadPool pool(2);
  Arena arena(layout);
  std::vector<std::vector<float>> truth(registry.size());
  for (const TensorInfo& info : registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) {
      truth[info.index].push_back(static_cast<float>(1000 * info.index + i));
      arena.tensor(info)[i] = truth[info.index].back();
    }
  }
  const std::vector<int> matrices = {registry.wte(), registry.layer(0).c_attn, registry.layer(1).mlp_c_proj};
  for (const int64_t stride : {2, 5, 3}) {
    const Layout before = *layout;
    Sources sources{std::vector<const uint32_t*>(registry.size())};
    std::vector<std::vector<uint32_t>> source(registry.size());
    std::vector<Layout::Change> changes;
    for (const int t : matrices) {
      kernels::Pattern pattern = Strided(registry[t], t % 2, stride);
      std::vector<float> next(pattern.nnz());
      for (int64_t e = 0; e < pattern.nnz(); ++e) {
        const bool fresh = e % 4 == 1;
        source[t].push_back(fresh ? kNoSource : static_cast<uint32_t>((7 * e + 3) % truth[t].size()));
        next[e] = fresh ? 0 : truth[t][source[t].back()];
      }
      truth[t] = next;
      sources.of[t] = source[t].data();
      changes.push_back({t, std::move(pattern)});
    }
    layout->Apply(std::move(changes));
    Move(before, sources, pool, arena);
    for (const TensorInfo& info : registry.tensors()) {
      ASSERT_EQ(layout->stored(info.index), static_cast<int64_t>(truth[info.index].size()));
      for (size_t i = 0; i < truth[info.index].size(); ++i) {
        ASSERT_EQ(arena.tensor(info)[i], truth[info.index][i]) << info.name << "[" << i << "], stride " << stride;
      }
    }
  }
}

}  // namespace
}  // namespace filigree::model
