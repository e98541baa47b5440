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

// What nobody needs does not move, and does not disturb what does: sets that shrink (in place) and grow (not).
TEST(Arena, OnlyNeededTensorsMove) {
  const Registry registry(testing_support::SmallSpec());
  kernels::ThreadPool pool(2);
  const std::vector<int> matrices = {registry.wte(), registry.layer(0).c_attn, registry.layer(1).mlp_c_proj};
  for (const int64_t next : {7, 2}) {
    const auto layout = std::make_shared<Layout>(registry.numels());
    const auto change = [&](int64_t stride) {
      std::vector<Layout::Change> changes;
      for (const int t : matrices) changes.push_back({t, Strided(registry[t], 0, stride)});
      layout->Apply(std::move(changes));
    };
    change(4);
    Arena arena(layout), all(layout);
    for (int64_t i = 0; i < arena.size(); ++i) arena.data()[i] = all.data()[i] = static_cast<float>(i + 1);
    const Layout before = *layout;
    change(next);
    std::vector<kernels::Buffer<uint32_t>> source(registry.size());
    Sources sources{std::vector<const uint32_t*>(registry.size())};
    for (const int t : matrices) {
      source[t] = SourcesOf(before.candidates(t), *layout->candidates(t));
      sources.of[t] = source[t].data();
    }
    Move(before, sources, pool, all);
    sources.needed.assign(registry.size(), true);
    sources.needed[registry.wte()] = sources.needed[registry.layer(1).ln_2] = false;
    Move(before, sources, pool, arena);
    for (const TensorInfo& info : registry.tensors()) {
      if (!sources.needed[info.index]) continue;
      const float *moved = arena.tensor(info), *expected = all.tensor(info);
      EXPECT_TRUE(std::equal(moved, moved + layout->stored(info.index), expected)) << info.name << ", stride " << next;
    }
  }
}

TEST(Arena, SourcesAreWhereThePositionsWere) {
  const Registry registry(testing_support::SmallSpec());
  const TensorInfo& info = registry[registry.wte()];
  const kernels::Pattern two = Strided(info, 0, 2), three = Strided(info, 0, 3);
  const auto position = [&](const kernels::Pattern& of, uint32_t e) {
    const kernels::PatternView view = of.view();
    const auto row = std::upper_bound(view.row_offsets, view.row_offsets + view.rows + 1, e) - view.row_offsets - 1;
    return row * view.cols + view.col_indices[e];
  };
  const kernels::PatternView before = two.view();
  const kernels::Buffer<uint32_t> among = SourcesOf(&before, three.view()), whole = SourcesOf(nullptr, three.view());
  ASSERT_EQ(static_cast<int64_t>(among.size()), three.nnz());
  int64_t old = 0;
  for (uint32_t e = 0; e < three.nnz(); ++e) {
    EXPECT_EQ(whole[e], position(three, e));
    if (among[e] == kNoSource) continue;
    ++old;
    EXPECT_EQ(position(two, among[e]), position(three, e));
  }
  int64_t both = 0;
  for (uint32_t e = 0; e < two.nnz(); ++e) {
    for (uint32_t f = 0; f < three.nnz(); ++f) both += position(two, e) == position(three, f) ? 1 : 0;
  }
  EXPECT_EQ(old, both);
  EXPECT_GT(both, 0);
}

TEST(Arena, KeepsOnlyWhatItIsAskedTo) {
  const Registry registry(testing_support::SmallSpec());
  Arena arena(registry);
  for (int64_t i = 0; i < arena.size(); ++i) arena.data()[i] = static_cast<float>(i + 1);
  std::vector<bool> kept(registry.size());
  for (int t = 0; t < registry.size(); ++t) kept[t] = t % 3 == 1;
  KeepOnly(kept, arena);
  for (const TensorInfo& info : registry.tensors()) {
    for (int64_t i = 0; i < info.numel(); ++i) {
      const float was = static_cast<float>(arena.layout().offset(info.index) + i + 1);
      ASSERT_EQ(arena.tensor(info)[i], kept[info.index] ? was : 0) << info.name;
    }
  }
}

}  // namespace
}  // namespace filigree::model
