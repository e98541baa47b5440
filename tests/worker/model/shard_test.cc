#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/small_model.h"
#include "worker/model/arena.h"
#include "worker/model/initial_draw.h"

// The part of a model that one of several ranks holds: shapes, places in the whole, initial values.

namespace filigree::model {
namespace {

constexpr uint64_t kSeed = 42;

ModelSpec Spec(int groups) {
  ModelSpec spec = testing_support::SmallSpec();  // D 22, K 5, F 37, V 29, P 6
  spec.n_head = 4;
  spec.tensor_groups = groups;
  return spec;
}

TEST(Shard, HasTheRowsAndColumnsOfItsGroups) {
  const Registry registry(Spec(4), {1, 2});  // heads 2 and 3, neurons from 18, tokens from 14
  const auto shape = [&](const char* name) { return registry[registry.Find(name)].shape; };
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(shape("transformer.h.1.attn.c_attn.weight"), (Shape{30, 28}));
  EXPECT_EQ(shape("transformer.h.1.attn.c_attn.bias"), (Shape{30}));
  EXPECT_EQ(shape("transformer.h.1.attn.attn_imp.sink_logit"), (Shape{2}));
  EXPECT_EQ(shape("transformer.h.1.attn.c_proj.weight"), (Shape{22, 10}));
  EXPECT_EQ(shape("transformer.h.1.attn.c_proj.bias"), (Shape{22}));
  EXPECT_EQ(shape("transformer.h.1.mlp.c_fc.weight"), (Shape{19, 28}));
  EXPECT_EQ(shape("transformer.h.1.mlp.c_proj.weight"), (Shape{22, 19}));
  EXPECT_EQ(shape("lm_head.weight"), (Shape{15, 22}));
  EXPECT_EQ(shape("bigram_table"), (Shape{29, 15}));
  EXPECT_EQ(shape("transformer.wte.weight"), (Shape{29, 22}));
  const TensorInfo& c_attn = registry[registry.layer(1).c_attn];
  EXPECT_EQ(c_attn.WholeIndex(0), 10 * 28);                // q of head 2
  EXPECT_EQ(c_attn.WholeIndex(10 * 28 + 3), 30 * 28 + 3);  // its k
  EXPECT_EQ(c_attn.WholeIndex(29 * 28), 59 * 28);          // the last of v
  const TensorInfo& bigram = registry[registry.bigram()];
  EXPECT_EQ(bigram.WholeIndex(15 + 1), 29 + 14 + 1);
}

// Every entry of a shared tensor is on one rank, in ascending order; everything else is on all.
TEST(Shard, RanksHaveEveryEntryOnce) {
  for (const int size : {1, 2, 3, 4, 6}) {
    const ModelSpec spec = Spec(size == 3 || size == 6 ? 6 : 4);  // of six groups two have no head
    const Registry whole(spec);
    for (const TensorInfo& info : whole.tensors()) {
      std::vector<int> found(info.numel(), 0);
      for (int r = 0; r < size; ++r) {
        const Registry registry(spec, {r, size});
        const TensorInfo& local = registry[info.index];
        EXPECT_EQ(local.name, info.name);
        EXPECT_EQ(local.whole_numel(), info.numel());
        EXPECT_EQ(local.Whole().shape, info.shape);
        for (int64_t i = 0, before = -1; i < local.numel(); ++i) {
          const int64_t index = local.WholeIndex(i);
          ASSERT_TRUE(before < index && index < info.numel()) << info.name;
          ++found[index];
          before = index;
        }
      }
      const bool shared = size > 1 && Registry(spec, {0, size})[info.index].shared;
      EXPECT_EQ(found, std::vector<int>(info.numel(), shared ? 1 : size)) << info.name << ", " << size << " ranks";
    }
  }
}

TEST(Shard, StartsFromTheWeightsOfTheWhole) {
  const ModelSpec spec = Spec(4);
  kernels::ThreadPool pool(2);
  const Registry whole(spec);
  Arena all(whole);
  InitialiseWeights(whole, kSeed, pool, all);
  for (int r = 0; r < 4; ++r) {
    const Registry registry(spec, {r, 4});
    Arena weights(registry);
    InitialiseWeights(registry, kSeed, pool, weights);
    for (const TensorInfo& info : registry.tensors()) {
      for (int64_t i = 0; i < info.numel(); ++i) {
        ASSERT_EQ(weights.tensor(info)[i], all.tensor(whole[info.index])[info.WholeIndex(i)]) << info.name << " " << i;
      }
    }
  }
}

// The largest of the whole draw, wherever they lie; minima of units too.
TEST(Shard, DrawsItsPartOfTheLargest) {
  ModelSpec spec = Spec(4);
  spec.d_mlp = 333;
  kernels::ThreadPool pool(2);
  const Registry whole(spec);
  for (const TensorInfo& info : whole.tensors()) {
    if (info.density != Density::kWeight && info.density != Density::kEmbedding) continue;
    const int64_t candidates = info.numel() / 5, each = 2;
    const InitialDraw all = DrawLargest(info, kSeed, candidates, each, pool);
    int64_t next = 0;
    std::vector<float> values(info.numel(), 0), parts(info.numel(), 0);
    const auto place = [&](const InitialDraw& drawn, const TensorInfo& of, std::vector<float>& to) {
      const kernels::PatternView view = drawn.pattern.view();
      ASSERT_TRUE(IsSound(view) && view.rows == of.rows && view.cols == of.cols) << of.name;
      for (int r = 0; r < view.rows; ++r) {
        for (uint32_t e = view.row_offsets[r]; e < view.row_offsets[r + 1]; ++e) {
          to[of.WholeIndex(int64_t{r} * view.cols + view.col_indices[e])] = drawn.values[e];
        }
      }
      next += view.nnz();
    };
    place(all, info, values);
    next = 0;
    const Registry first(spec, {0, 2});
    for (int r = 0; r < (first[info.index].shared ? 2 : 1); ++r) {
      const Registry registry(spec, {r, 2});
      place(DrawLargest(registry[info.index], kSeed, candidates, each, pool), registry[info.index], parts);
    }
    EXPECT_EQ(next, candidates) << info.name;
    EXPECT_EQ(std::memcmp(values.data(), parts.data(), values.size() * sizeof(float)), 0) << info.name;
  }
}

}  // namespace
}  // namespace filigree::model
