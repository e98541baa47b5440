#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string_view>
#include <thread>

// Does what its argument says, which a sanitizer must report: that the build looks, that suppressions do not hide
// everything, and that reports of processes are found where tests look for them.

namespace {

volatile int g_sink = 0;
volatile int g_one = 1;

void UseAfterFree() {
  int* volatile freed = new int(g_one);  // volatile: the compiler sees such a fault itself, and warns
  delete freed;
  g_sink = *freed;
}

void SignedOverflow() { g_sink = std::numeric_limits<int>::max() + g_one; }

void Leak() {
  char* volatile lost = static_cast<char*>(std::malloc(1000));
  lost[0] = 1;
  lost = nullptr;
}

void Race() {
  const auto counter = std::make_unique<int>(0);
  const auto count = [&] {
    for (int i = 0; i < 1000; ++i) ++*counter;
  };
  std::thread other(count);
  count();
  other.join();
  g_sink = *counter;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view fault = argc == 2 ? argv[1] : "";
  if (fault == "use-after-free") {
    UseAfterFree();
  } else if (fault == "overflow") {
    SignedOverflow();
  } else if (fault == "leak") {
    Leak();
  } else if (fault == "race") {
    Race();
  } else {
    std::fprintf(stderr, "usage: sanitizer_fault use-after-free|overflow|leak|race\n");
    return 2;
  }
  std::puts("nobody noticed");
  return 0;
}
