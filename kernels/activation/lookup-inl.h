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
    low_ = hn::IndicesFromVec(D(), hn::And(bits, hn::Set(du, 7)));
    bit3_ = hn::BitCast(D(), hn::ShiftLeft<28>(bits));
    bit4_ = hn::BitCast(D(), hn::ShiftLeft<27>(bits));
  }
  HWY_INLINE V operator()(const float* table) const {
    return hn::IfNegativeThenElse(bit4_, Half(table + 16), Half(table));
  }

 private:
  HWY_INLINE V Half(const float* table) const {
    const auto first = hn::TableLookupLanes(hn::Load(D(), table), low_);
    return hn::IfNegativeThenElse(bit3_, hn::TableLookupLanes(hn::Load(D(), table + 8), low_), first);
  }
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

 private:
  hn::Vec<hn::RebindToUnsigned<D>> index_;
};
#endif

}  // namespace HWY_NAMESPACE
}  // namespace filigree::kernels
HWY_AFTER_NAMESPACE();

#endif  // FILIGREE_KERNELS_ACTIVATION_LOOKUP_INL_H_
