#include "kernels/attention/attention_ref.h"

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_check.h"

namespace filigree::kernels::ref {
namespace {

std::vector<float> RowMajor(const ConstTileSeries& x, int tokens) {
  std::vector<float> out(static_cast<size_t>(tokens) * x.channels);
  for (int t = 0; t < tokens; ++t) {
    for (int c = 0; c < x.channels; ++c) out[static_cast<size_t>(t) * x.channels + c] = x.at(c, t);
  }
  return out;
}

// Entries that were not kept, and padding, become 0.
void WriteKept(const std::vector<float>& from, int tokens, const uint64_t* kept, size_t kept_stride, TileSeries to) {
  for (int t = 0; t < TilesOf(tokens) * kTileTokens; ++t) {
    for (int c = 0; c < to.channels; ++c) {
      const bool keep =
          t < tokens && (kept == nullptr || (kept[t / kTileTokens * kept_stride + c] >> (t % kTileTokens) & 1) != 0);
      to.at(c, t) = keep ? from[static_cast<size_t>(t) * to.channels + c] : 0.0f;
    }
  }
}

}  // namespace

void AttentionForward(const AttentionForwardArgs& args) {
  CheckArgs(args);
  const int tokens = args.tokens;
  const std::vector<float> q = RowMajor(args.q, tokens), k = RowMajor(args.k, tokens), v = RowMajor(args.v, tokens);
  std::vector<float> y(q.size()), max(tokens), inverse_sum(tokens);
  AttentionForwardIn<float>({tokens, args.q.channels, q.data(), k.data(), v.data(), args.sink}, y.data(), max.data(),
                            inverse_sum.data());
  WriteKept(y, tokens, nullptr, 0, args.y);
  for (int t = 0; t < TilesOf(tokens) * kTileTokens; ++t) {
    float* tile = args.stats + size_t{2} * kTileTokens * (t / kTileTokens);
    tile[t % kTileTokens] = t < tokens ? max[t] : 0.0f;
    tile[kTileTokens + t % kTileTokens] = t < tokens ? inverse_sum[t] : 0.0f;
  }
}

void AttentionBackward(const AttentionBackwardArgs& args) {
  CheckArgs(args);
  const int tokens = args.tokens;
  const std::vector<float> q = RowMajor(args.q, tokens), k = RowMajor(args.k, tokens), v = RowMajor(args.v, tokens);
  const std::vector<float> y = RowMajor(args.y, tokens), dy = RowMajor(args.dy, tokens);
  std::vector<float> dq(q.size()), dk(q.size()), dv(q.size());
  AttentionBackwardIn<float>({tokens, args.q.channels, q.data(), k.data(), v.data(), args.sink}, y.data(), dy.data(),
                             dq.data(), dk.data(), dv.data(), args.dsink);
  WriteKept(dq, tokens, args.kept_q, args.kept_stride, args.dq);
  WriteKept(dk, tokens, args.kept_k, args.kept_stride, args.dk);
  WriteKept(dv, tokens, args.kept_v, args.kept_stride, args.dv);
}

}  // namespace filigree::kernels::ref
