#ifndef FILIGREE_TESTS_SUPPORT_PATIENCE_H_
#define FILIGREE_TESTS_SUPPORT_PATIENCE_H_

// How long a test waits. A deadline that suits a plain build comes too early where every access to memory is checked: a
// test that means "long enough" or "late, but everybody had time to begin" writes Patience(seconds(5)) instead of
// seconds(5). Python's side is program.patience().

namespace filigree {

#if defined(__SANITIZE_THREAD__)
constexpr int kPatience = 10;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int kPatience = 4;
#else
constexpr int kPatience = 1;
#endif

template <typename Duration>
constexpr Duration Patience(Duration plain) {
  return plain * kPatience;
}

}  // namespace filigree

#endif  // FILIGREE_TESTS_SUPPORT_PATIENCE_H_
