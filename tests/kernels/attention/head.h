#ifndef FILIGREE_TESTS_KERNELS_ATTENTION_HEAD_H_
#define FILIGREE_TESTS_KERNELS_ATTENTION_HEAD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_ref.h"
#include "kernels/base/buffer.h"
#include "kernels/base/tile.h"
#include "tests/support/tiles.h"

// One head over one sequence with everything attention reads and writes.

namespace filigree::testing_support {

// [channels][tokens] as rows in the middle of wider tiles, so that a stride that is ignored shows.
class OwnedSeries {
 public:
  OwnedSeries(int channels, int tokens)
      : channels_(channels),
        stride_(static_cast<size_t>(channels + 3) * kernels::kTileTokens),
        data_(stride_ * kernels::TilesOf(tokens)) {}
  kernels::TileSeries series() { return {data_.data() + 2 * kernels::kTileTokens, channels_, stride_}; }
  kernels::ConstTileSeries series() const { return {data_.data() + 2 * kernels::kTileTokens, channels_, stride_}; }
  float& at(int c, int t) { return series().at(c, t); }
  float at(int c, int t) const { return series().at(c, t); }
  std::span<float> all() { return data_.span(); }
  std::span<const float> all() const { return data_.span(); }

  // [tokens][channels].
  template <typename T>
  std::vector<T> RowMajor(int tokens) const {
    std::vector<T> out;
    for (int t = 0; t < tokens; ++t) {
      for (int c = 0; c < channels_; ++c) out.push_back(at(c, t));
    }
    return out;
  }

 private:
  int channels_;
  size_t stride_;
  kernels::Buffer<float> data_;
};

struct HeadShape {
  int channels = 16, tokens = 256;
  double density = 0.25;  // of q, k and v
  float qk_size = 1;      // standard deviation of q's and k's kept entries
  bool sink = false;
  float padding = 0;  // in q, k, v and dy past the last token
};

struct Head {
  static constexpr float kSink = 0.7f;

  Head(const HeadShape& s, uint64_t seed)
      : shape(s),
        q(s.channels, s.tokens),
        k(s.channels, s.tokens),
        v(s.channels, s.tokens),
        y(s.channels, s.tokens),
        dy(s.channels, s.tokens),
        dq(s.channels, s.tokens),
        dk(s.channels, s.tokens),
        dv(s.channels, s.tokens),
        stats(size_t{128} * kernels::TilesOf(s.tokens)) {
    Rng rng(seed);
    FillSparse(q, s.qk_size, rng, kept_q);
    FillSparse(k, s.qk_size, rng, kept_k);
    FillSparse(v, 1, rng, kept_v);
    for (int t = 0; t < padded_tokens(); ++t) {
      for (int c = 0; c < s.channels; ++c) dy.at(c, t) = t < s.tokens ? rng.Normal() : s.padding;
    }
    // Outputs must be written, not added to.
    for (OwnedSeries* out : {&y, &dq, &dk, &dv}) {
      for (float& x : out->all()) x = 1e30f;
    }
  }

  int padded_tokens() const { return kernels::TilesOf(shape.tokens) * kernels::kTileTokens; }
  bool Kept(const std::vector<uint64_t>& kept, int c, int t) const {
    return (kept[static_cast<size_t>(t / kernels::kTileTokens) * kept_stride() + c] >> (t % kernels::kTileTokens) &
            1) != 0;
  }
  size_t kept_stride() const { return shape.channels + 5; }

  kernels::AttentionForwardArgs ForwardArgs(bool with_bits) {
    return {shape.tokens,
            q.series(),
            k.series(),
            v.series(),
            with_bits ? kept_k.data() : nullptr,
            with_bits ? kept_v.data() : nullptr,
            kept_stride(),
            shape.sink ? &sink : nullptr,
            y.series(),
            stats.data()};
  }
  kernels::AttentionBackwardArgs BackwardArgs(bool with_bits) {
    return {shape.tokens,
            q.series(),
            k.series(),
            v.series(),
            y.series(),
            dy.series(),
            with_bits ? kept_q.data() : nullptr,
            with_bits ? kept_k.data() : nullptr,
            with_bits ? kept_v.data() : nullptr,
            kept_stride(),
            shape.sink ? &sink : nullptr,
            stats.data(),
            dq.series(),
            dk.series(),
            dv.series(),
            shape.sink ? &dsink : nullptr};
  }
  void Run(bool with_bits = true) {
    kernels::AttentionForward(ForwardArgs(with_bits));
    kernels::AttentionBackward(BackwardArgs(with_bits));
  }

  HeadShape shape;
  OwnedSeries q, k, v, y, dy, dq, dk, dv;
  std::vector<uint64_t> kept_q, kept_k, kept_v;
  kernels::Buffer<float> stats;
  float sink = kSink, dsink = 0;

 private:
  void FillSparse(OwnedSeries& x, float size, Rng& rng, std::vector<uint64_t>& kept) {
    kept.assign(kept_stride() * kernels::TilesOf(shape.tokens), 0);
    for (int t = 0; t < padded_tokens(); ++t) {
      for (int c = 0; c < shape.channels; ++c) {
        const float value = rng.Normal() * size;
        if (rng.Uniform() >= shape.density) continue;
        x.at(c, t) = t < shape.tokens ? value : shape.padding;
        kept[static_cast<size_t>(t / kernels::kTileTokens) * kept_stride() + c] |= uint64_t{1}
                                                                                   << (t % kernels::kTileTokens);
      }
    }
  }
};

// What plain loops in T say of a head: row-major, gradients at kept entries only.
template <typename T>
struct PlainAttention {
  std::vector<T> y, dq, dk, dv;
  T dsink = 0;

  explicit PlainAttention(const Head& h, bool with_bits = true) {
    const int tokens = h.shape.tokens, K = h.shape.channels;
    const std::vector<T> q = h.q.RowMajor<T>(tokens), k = h.k.RowMajor<T>(tokens), v = h.v.RowMajor<T>(tokens);
    const std::vector<T> dy = h.dy.RowMajor<T>(tokens);
    const T sink = h.sink;
    const kernels::ref::AttentionHead<T> head{tokens, K, q.data(), k.data(), v.data(), h.shape.sink ? &sink : nullptr};
    std::vector<T> max(tokens), inverse(tokens);
    for (std::vector<T>* out : {&y, &dq, &dk, &dv}) out->resize(q.size());
    kernels::ref::AttentionForwardIn(head, y.data(), max.data(), inverse.data());
    kernels::ref::AttentionBackwardIn(head, y.data(), dy.data(), dq.data(), dk.data(), dv.data(), &dsink);
    if (!with_bits) return;
    for (int t = 0; t < tokens; ++t) {
      for (int c = 0; c < K; ++c) {
        const size_t i = static_cast<size_t>(t) * K + c;
        if (!h.Kept(h.kept_q, c, t)) dq[i] = 0;
        if (!h.Kept(h.kept_k, c, t)) dk[i] = 0;
        if (!h.Kept(h.kept_v, c, t)) dv[i] = 0;
      }
    }
  }
};

}  // namespace filigree::testing_support

#endif  // FILIGREE_TESTS_KERNELS_ATTENTION_HEAD_H_
