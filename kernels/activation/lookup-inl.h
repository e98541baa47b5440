// Lookups in tables of 32 floats, for Highway: included by gelu-inl.h, compiled once per target.
#if defined(FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_
#undef FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_
#else
#define FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace filigree::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// operator(): of one table. Four: of four, given as tables and, the same numbers, as 32 rows of kRow floats each, of
// which `rows` is the place of the first four (16-byte aligned); a target takes what suits it.
//
// Which entry each lane takes: the low five bits of the index, whatever stands above them. A float to which
// kRoundToIndex was added has its rounded value there.
constexpr float kRoundToIndex = 12582912.0f;  // 1.5 * 2^23

#if HWY_TARGET == HWY_AVX2
// Four permutations of eight entries each, of which bits 3 and 4 choose as the signs they are shifted to.
template <class D, class V = hn::Vec<D>>
class Lookup {
 public:
  HWY_INLINE explicit Lookup(V index) {
    const hn::RebindToUnsigned<D> du;
    const auto bits = hn::BitCast(du, index);
    hn::Store(hn::And(bits, hn::Set(du, 31)), du, places_);
    low_ = hn::IndicesFromVec(D(), hn::And(bits, hn::Set(du, 7)));
    bit3_ = hn::BitCast(D(), hn::ShiftLeft<28>(bits));
    bit4_ = hn::BitCast(D(), hn::ShiftLeft<27>(bits));
  }
  HWY_INLINE V operator()(const float* table) const {
    return hn::IfNegativeThenElse(bit4_, Half(table + 16), Half(table));
  }
  // Rows of four, transposed: a load a lane, and two shuffles a table, where a lookup of its own takes seven.
  template <size_t kRow>
  HWY_INLINE void Four(const float (*)[32], const float* rows, V (&out)[4]) const {
    const hn::RepartitionToWide<D> pairs;
    V two[4];
    for (int i = 0; i < 4; ++i) two[i] = RowsOf<kRow>(rows, i);
    const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(D(), two[0], two[1]));
    const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(D(), two[0], two[1]));
    const auto cd_low = hn::BitCast(pairs, hn::InterleaveLower(D(), two[2], two[3]));
    const auto cd_high = hn::BitCast(pairs, hn::InterleaveUpper(D(), two[2], two[3]));
    out[0] = hn::BitCast(D(), hn::InterleaveLower(pairs, ab_low, cd_low));
    out[1] = hn::BitCast(D(), hn::InterleaveUpper(pairs, ab_low, cd_low));
    out[2] = hn::BitCast(D(), hn::InterleaveLower(pairs, ab_high, cd_high));
    out[3] = hn::BitCast(D(), hn::InterleaveUpper(pairs, ab_high, cd_high));
  }

 private:
  // Of lanes i and i + 4.
  template <size_t kRow>
  HWY_INLINE V RowsOf(const float* rows, int i) const {
    const hn::Half<D> d;
    return hn::Combine(D(), hn::Load(d, rows + kRow * places_[i + 4]), hn::Load(d, rows + kRow * places_[i]));
  }
  HWY_INLINE V Half(const float* table) const {
    const auto first = hn::TableLookupLanes(hn::Load(D(), table), low_);
    return hn::IfNegativeThenElse(bit3_, hn::TableLookupLanes(hn::Load(D(), table + 8), low_), first);
  }
  alignas(32) uint32_t places_[8];
  hn::Indices256<float> low_;
  V bit3_, bit4_;
};
#else
// One permutation of two vectors, which Highway has no name for.
template <class D, class V = hn::Vec<D>>
class Lookup {
 public:
  HWY_INLINE explicit Lookup(V index) : index_(hn::BitCast(hn::RebindToUnsigned<D>(), index)) {}
  HWY_INLINE V operator()(const float* table) const {
    return V{_mm512_permutex2var_ps(hn::Load(D(), table).raw, index_.raw, hn::Load(D(), table + 16).raw)};
  }
  template <size_t kRow>
  HWY_INLINE void Four(const float (*tables)[32], const float*, V (&out)[4]) const {
    for (int i = 0; i < 4; ++i) out[i] = (*this)(tables[i]);
  }

 private:
  hn::Vec<hn::RebindToUnsigned<D>> index_;
};
#endif

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_
