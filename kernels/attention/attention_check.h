#ifndef FILIGREE_KERNELS_ATTENTION_ATTENTION_CHECK_H_
#define FILIGREE_KERNELS_ATTENTION_ATTENTION_CHECK_H_

#include "kernels/attention/attention.h"
#include "kernels/base/check.h"

// The preconditions of attention.h that a look at the arguments can decide.

namespace filigree::kernels {

inline constexpr int kMaxHeadChannels = 256;

inline void CheckArgs(const AttentionForwardArgs& a) {
  const int K = a.q.channels;
  CHECK(a.tokens >= 1, "tokens = {}", a.tokens);
  CHECK(K >= 1 && K <= kMaxHeadChannels, "{} channels a head, at most {}", K, kMaxHeadChannels);
  CHECK(a.k.channels == K && a.v.channels == K && a.y.channels == K, "channels of q {}, k {}, v {}, y {}", K,
        a.k.channels, a.v.channels, a.y.channels);
  CHECK(a.stats != nullptr);
}

inline void CheckArgs(const AttentionBackwardArgs& a) {
  const int K = a.q.channels;
  CHECK(a.tokens >= 1, "tokens = {}", a.tokens);
  CHECK(K >= 1 && K <= kMaxHeadChannels, "{} channels a head, at most {}", K, kMaxHeadChannels);
  CHECK(a.k.channels == K && a.v.channels == K && a.y.channels == K && a.dy.channels == K,
        "channels of q {}, k {}, v {}, y {}, dy {}", K, a.k.channels, a.v.channels, a.y.channels, a.dy.channels);
  CHECK(a.dq.channels == K && a.dk.channels == K && a.dv.channels == K, "channels of q {}, dq {}, dk {}, dv {}", K,
        a.dq.channels, a.dk.channels, a.dv.channels);
  CHECK(a.stats != nullptr);
  CHECK(a.sink == nullptr || a.dsink != nullptr, "a sink without a place for its gradient");
}

}  // namespace filigree::kernels

#endif  // FILIGREE_KERNELS_ATTENTION_ATTENTION_CHECK_H_
