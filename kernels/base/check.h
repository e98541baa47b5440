#ifndef FILIGREE_KERNELS_BASE_CHECK_H_
#define FILIGREE_KERNELS_BASE_CHECK_H_

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

// CHECK(condition) and CHECK(condition, "format", args...): aborts with file, line and message where a contract is
// broken. For what cannot happen unless the program is wrong; bad input of users is a Status, not a CHECK.

namespace filigree::internal {

template <typename... Args>
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, fmt::format_string<Args...> format,
                              Args&&... args) {
  const std::string message = fmt::format(format, std::forward<Args>(args)...);
  std::fprintf(stderr, "%s:%d: check failed: %s %s\n", file, line, condition, message.c_str());
  std::abort();
}

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace filigree::internal

#define CHECK(condition, ...)                                                                       \
  do {                                                                                              \
    if (!(condition)) [[unlikely]]                                                                  \
      ::filigree::internal::CheckFailed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)

#endif  // FILIGREE_KERNELS_BASE_CHECK_H_
